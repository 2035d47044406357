from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire.conversation import (
    Choice,
    CustomTool,
    FunctionTool,
    Request,
    StopReason,
    TextBlock,
    Tool,
    ToolUseBlock,
)
from gatewayd.wire.converting import flat_name
from gatewayd.wire.events import BlockStart, BlockStop, Delta, StreamEvent
from gatewayd.wire.tool_names import RestoredTools, ToolNames, json_arguments


def request(*tools: Tool) -> Request:
    return Request(dialect="responses", model="m", turns=(), tools=tools)


def test_names_that_fit_stay() -> None:
    names = ToolNames(request(FunctionTool(name="f"), FunctionTool(name="g-1_A")))
    assert names.idle
    block = ToolUseBlock(call_id="1", name="f")
    assert names.restored(block) is block


@given(st.text(min_size=1, max_size=90), st.none() | st.text(min_size=1, max_size=4))
def test_every_name_comes_back(name: str, namespace: str | None) -> None:
    names = ToolNames(request(FunctionTool(name=name, namespace=namespace)))
    restored = names.restored(ToolUseBlock(call_id="1", name=flat_name(name, namespace)))
    assert (restored.name, restored.namespace) == (name, namespace)


def test_a_custom_tool_comes_back_with_its_text() -> None:
    names = ToolNames(request(CustomTool(name="patch", namespace="n")))
    block = ToolUseBlock(call_id="1", name="n__patch", arguments='{"input": "*** Begin"}')
    restored = ToolUseBlock(call_id="1", name="patch", namespace="n", kind="custom", arguments="*** Begin")
    assert names.restored(block) == restored
    choice = Choice(blocks=(TextBlock("a"), block), stop=StopReason.TOOL_USE)
    assert names.restored_choice(choice).blocks == (TextBlock("a"), restored)
    native = ToolUseBlock(call_id="1", name="n__patch", arguments="*** Begin", kind="custom")
    assert names.restored(native) == restored


def test_the_text_of_a_custom_tool_in_a_stream_comes_whole() -> None:
    tools = RestoredTools(request(CustomTool(name="patch"), FunctionTool(name="f")))
    events: list[StreamEvent] = [
        BlockStart(0, ToolUseBlock(call_id="1", name="patch")),
        Delta(0, "arguments", '{"inp'),
        Delta(0, "arguments", 'ut": "a"}'),
        BlockStop(0),
        BlockStart(1, ToolUseBlock(call_id="2", name="f")),
        Delta(1, "arguments", "{}"),
        BlockStop(1),
    ]
    assert [restored for event in events for restored in tools.feed(event)] == [
        BlockStart(0, ToolUseBlock(call_id="1", name="patch", kind="custom")),
        Delta(0, "arguments", "a"),
        BlockStop(0),
        *events[4:],
    ]
    assert RestoredTools(request()).idle


@pytest.mark.parametrize("arguments", ["", "x", "[]", '{"input": 5}', '{"input": "a", "more": "b"}', "\ud800"])
def test_arguments_that_are_not_one_text_stay_as_they_are(arguments: str) -> None:
    block = ToolUseBlock(call_id="1", name="patch", arguments=arguments)
    assert ToolNames(request(CustomTool(name="patch"))).restored(block).arguments == arguments


@pytest.mark.parametrize(
    ("arguments", "kind", "written"),
    [
        ("", "function", {}),
        (" ", "function", {}),
        ('{"a": 1.5}', "function", {"a": 1.5}),
        ('{"a"', "function", {"arguments": '{"a"'}),
        ("5", "function", {"arguments": "5"}),
        ("", "custom", {"input": ""}),
        ("{}", "custom", {"input": "{}"}),
    ],
)
def test_arguments_as_an_object(arguments: str, kind: str, written: object) -> None:
    block = ToolUseBlock(call_id="1", name="f", arguments=arguments, kind="custom" if kind == "custom" else "function")
    assert json.loads(bytes(json_arguments(block))) == written
