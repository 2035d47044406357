"""Estimated tokens: of the right size, for each kind of content."""

from __future__ import annotations

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    CustomTool,
    FileBlock,
    FunctionTool,
    ImageBlock,
    Json,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    ServerTool,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from gatewayd.wire.estimate import estimated_tokens


def estimate(*blocks: Block, tools: tuple[Tool, ...] = ()) -> int:
    return estimated_tokens(Request(dialect="messages", model="m", turns=(Turn("user", blocks),), tools=tools))


def test_texts() -> None:
    words = "The quick brown fox jumps over the lazy dog. " * 100  # 1,001 tokens of o200k
    assert 900 < estimate(TextBlock(words)) < 1300
    assert 500 < estimate(TextBlock("人工智能正在改变世界。" * 100)) < 2000
    assert estimate() == estimate(TextBlock("")) == 4


def test_every_kind_of_content_counts() -> None:
    text = "x" * 400
    blocks: list[Block] = [
        TextBlock(text), RefusalBlock(text), ThinkingBlock(text=text), FileBlock(text=text),
        FileBlock(data=text * 2), AudioBlock(data=text * 16), ImageBlock(url="https://x/y"),
        ToolUseBlock(call_id="1", name="f", arguments=text), ToolResultBlock(call_id="1", blocks=(TextBlock(text),)),
    ]  # fmt: skip
    for block in blocks:
        assert estimate(block) - estimate() >= 100, block
    assert estimate(RedactedThinkingBlock(data="x")) > estimate()


def test_tools_count() -> None:
    raw = Json(b'"%b"' % (b"x" * 398))
    tools: list[Tool] = [
        FunctionTool(name="f", parameters=raw), CustomTool(name="f", format=raw),
        ServerTool(dialect="messages", type="t", raw=raw),
    ]  # fmt: skip
    for tool in tools:
        assert 100 <= estimate(tools=(tool,)) - estimate() < 120
