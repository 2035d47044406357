from __future__ import annotations

import inspect
from typing import get_args

import msgspec
import pytest

from gatewayd.wire import blocks, conversation, events
from gatewayd.wire.conversation import Block, Request, TextBlock, ToolUseBlock, Turn
from gatewayd.wire.events import StreamEvent


def structs(*modules: object) -> list[type[msgspec.Struct]]:
    found = [member for module in modules for _, member in inspect.getmembers(module, inspect.isclass)]
    return [member for member in found if issubclass(member, msgspec.Struct)]


def test_every_object_is_immutable() -> None:
    for struct in structs(blocks, conversation, events):
        assert struct.__struct_config__.frozen, struct


def test_every_block_and_event_is_of_a_type_of_its_own() -> None:
    for union in (Block, StreamEvent):
        members = get_args(union)
        assert len(set(members)) == len(members)


def test_a_changed_copy_leaves_the_original() -> None:
    request = Request(dialect="chat", model="a", turns=(Turn("user", (TextBlock("hi"),)),))
    changed = msgspec.structs.replace(request, model="b")
    assert (request.model, changed.model) == ("a", "b")
    assert changed.turns is request.turns


def test_arguments_are_text_even_if_they_are_no_json() -> None:
    assert ToolUseBlock(call_id="1", name="f", arguments='{"a":').arguments == '{"a":'


def test_the_parts_of_the_neutral_form_need_no_other_module_of_the_package_than_each_other() -> None:
    for module in (blocks, conversation, events):
        lines = inspect.getsource(module).splitlines()
        imported = {line.split()[1] for line in lines if line.startswith("from gatewayd")}
        assert imported <= {"gatewayd.wire.blocks", "gatewayd.wire.conversation"}


def test_what_is_missing_is_not_said() -> None:
    with pytest.raises(TypeError):
        Request(dialect="chat", model="a")  # type: ignore[call-arg]
    request = Request(dialect="chat", model="a", turns=())
    assert request.tools is None
    assert request.max_tokens is None
    assert request.sampling == conversation.Sampling()
