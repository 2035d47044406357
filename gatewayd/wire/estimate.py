"""An estimate of a request's tokens, for upstreams that cannot count them. No tokenizer: each model has its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    CustomTool,
    FileBlock,
    FunctionTool,
    ImageBlock,
    RefusalBlock,
    Request,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)

_TURN: Final = 4
"""Tokens around each turn and tool."""
_IMAGE: Final = 1600
"""Anthropic's figure for an image of usual size."""
_BYTES: Final = 4
"""Of English text, and of JSON, for each token."""


def estimated_tokens(request: Request) -> int:
    """Four ASCII characters are a token, as is each two or three bytes of other scripts."""
    tokens = _blocks(request.system) + sum(map(_tool, request.tools or ()))
    return tokens + sum(_TURN + _blocks(turn.blocks) for turn in request.turns)


def _blocks(blocks: Iterable[Block]) -> int:
    return sum(map(_block, blocks))


def _block(block: Block) -> int:
    match block:
        case TextBlock(text) | RefusalBlock(text):
            return _text(text)
        case ThinkingBlock(text=text):
            return _text(text)
        case ToolUseBlock():
            return _TURN + _text(block.name) + _text(block.arguments)
        case ToolResultBlock():
            return _TURN + _blocks(block.blocks)
        case ImageBlock():
            return _IMAGE
        case FileBlock(text=text, data=data):
            return _text(text or "") + len(data or "") // (2 * _BYTES)
        case AudioBlock(data=data):
            return len(data or "") // (16 * _BYTES)
        case _:
            return _TURN


def _tool(tool: Tool) -> int:
    match tool:
        case FunctionTool():
            return _TURN + _text(tool.name) + _text(tool.description or "") + len(tool.parameters or b"") // _BYTES
        case CustomTool():
            return _TURN + _text(tool.name) + _text(tool.description or "") + len(tool.format or b"") // _BYTES
        case _:
            return _TURN + len(tool.raw) // _BYTES


def _text(text: str) -> int:
    beyond = len(text.encode("utf-8", "replace")) - len(text)
    return -(-(len(text) + 2 * beyond) // _BYTES) if text else 0
