from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidJson, InvalidRequest
from gatewayd.wire.conversation import CacheMark, Effort, Reasoning, Request, TextBlock, ToolUseBlock, Turn
from gatewayd.wire.converting import (
    BUDGETS,
    EFFORTS,
    NUMBER,
    STRING,
    DropList,
    Members,
    budget_of,
    cache_control,
    cache_mark,
    data_url,
    derived_call_id,
    effort_of,
    effort_within,
    flat_name,
    leading_system,
    split_data_url,
    thinking_mode,
    tool_names,
)


def request_with(*turns: Turn, **fields: object) -> Request:
    empty = Request(dialect="messages", model="m", turns=turns)
    return msgspec.structs.replace(empty, **fields)


def test_members_are_taken_once_and_nulls_are_missing() -> None:
    members = Members.of_body(b'{"a": "x", "b": null, "c": 1.5, "d": {"e": [1]}, "f": 1}')
    assert "a" in members
    assert "b" not in members
    assert members.take("a", STRING) == "x"
    assert members.take("a", STRING) is None
    assert members.take("b", STRING) is None
    assert members.take("c", NUMBER) == 1.5
    inner = members.members("d")
    assert inner is not None
    assert inner.value("e") == [1]
    assert {name: bytes(raw) for name, raw in members.rest().items()} == {"f": b"1"}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": 1', b'{"a": "\xff"}', b'{"\xff": 1}'])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        Members.of_body(body)


def test_what_is_wrong_is_named_by_its_path() -> None:
    reads: list[tuple[Callable[[Members], object], str]] = [
        (lambda members: members.take("a", STRING), "a"),
        (lambda members: members.members("a"), "a"),
        (lambda members: members.member_list("a"), "a"),
        (lambda members: members.items("a"), "a"),
        (lambda members: (members.member_list("b") or [])[0].take("c", STRING), "b[0].c"),
        (lambda members: members.items("d"), "d[0]"),
        (lambda members: members.value("e"), "e"),
    ]
    for read, path in reads:
        members = Members.of_body(b'{"a": 5, "b": [{"c": 5}], "d": [1], "e": 1e999}')
        with pytest.raises(InvalidRequest) as caught:
            read(members)
        assert caught.value.param == path


def test_what_cannot_be_said_is_named_once_in_the_callers_words() -> None:
    losses = DropList(request_with(names={"max_tokens": "max_output_tokens"}), drop_params=False)
    losses.drop("max_tokens", "seed", "seed")
    losses.parts("tools", ["strict"])
    assert losses.written(b"x").dropped == ("max_output_tokens", "seed", "tools.strict")
    with pytest.raises(InvalidRequest) as caught:
        losses.refuse("max_tokens", "cannot be expressed")
    assert caught.value.message == "The field 'max_output_tokens' cannot be expressed."
    assert caught.value.param == "max_output_tokens"


def test_what_is_below_a_field_is_named_as_the_caller_calls_the_field() -> None:
    names = {"messages": "input", "messages.thinking": "input.reasoning"}
    losses = DropList(request_with(names=names), drop_params=False)
    losses.drop("messages.phase", "messages.thinking", "tools.web_search", "messages")
    assert losses.written(b"").dropped == ("input.phase", "input.reasoning", "tools.web_search", "input")


def test_with_drop_params_nothing_is_refused() -> None:
    losses = DropList(request_with(), drop_params=True)
    losses.refuse("top_k", "cannot be expressed")
    assert losses.written(b"").dropped == ("top_k",)


def test_unknown_fields_are_dropped_and_binding_ones_are_refused() -> None:
    extra = {"new": msgspec.Raw(b"1"), "audio": msgspec.Raw(b"{}")}
    request = request_with(extra=extra, binding=frozenset({"audio"}))
    with pytest.raises(InvalidRequest) as caught:
        DropList(request, drop_params=False).extra("the Anthropic API")
    assert caught.value.message == "The field 'audio' cannot be expressed in the Anthropic API."
    losses = DropList(request, drop_params=True)
    losses.extra("the Anthropic API")
    assert losses.written(b"").dropped == ("new", "audio")


def test_system_turns_at_the_start_join_the_system_blocks() -> None:
    system, user = Turn("system", (TextBlock("b"),)), Turn("user", (TextBlock("c"),))
    request = request_with(system, Turn("developer", (TextBlock("d"),)), user, system, system=(TextBlock("a"),))
    blocks, turns = leading_system(request)
    assert blocks == (TextBlock("a"), TextBlock("b"), TextBlock("d"))
    assert turns == (user, system)
    assert leading_system(request_with(system)) == ((TextBlock("b"),), ())


def test_names_of_tools_are_found_by_the_ids_of_their_calls() -> None:
    assert tool_names(request_with(Turn("assistant", (ToolUseBlock(call_id="1", name="f"),)))) == {"1": "f"}


@pytest.mark.parametrize("effort", [effort for effort in EFFORTS if effort != "minimal"])
def test_an_effort_survives_as_a_budget(effort: Effort) -> None:
    budget = budget_of(Reasoning(effort=effort))
    assert budget == BUDGETS[effort]
    assert effort_of(Reasoning(budget=budget)) == (effort if effort != "none" else "low")


def test_budgets_between_two_efforts() -> None:
    assert effort_of(Reasoning(budget=1)) == "low"
    assert effort_of(Reasoning(budget=4000)) == "medium"
    assert effort_of(Reasoning(budget=99999)) == "max"
    assert effort_of(Reasoning()) is None
    assert budget_of(Reasoning()) is None
    assert budget_of(Reasoning(budget=5, effort="low")) == 5


@pytest.mark.parametrize(
    ("effort", "found"),
    [("minimal", "low"), ("low", "low"), ("medium", "low"), ("high", "high"), ("max", "high"), ("none", "low")],
)
def test_the_nearest_effort_that_is_allowed(effort: Effort, found: Effort) -> None:
    assert effort_within(effort, ("low", "high")) == found


def test_thinking_keeps_what_is_new() -> None:
    reasoning = thinking_mode("enabled", None, {"budget_tokens": 5, "display": "omitted", "new": 1})
    assert (reasoning.budget, reasoning.display) == (5, "omitted")
    assert {name: bytes(raw) for name, raw in reasoning.extra.items()} == {"new": b"1"}
    with pytest.raises(InvalidRequest):
        thinking_mode("adaptive", None, {"display": 5})


@pytest.mark.parametrize("mark", [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h", "scope": "global"}])
def test_cache_marks(mark: dict[str, str]) -> None:
    read = cache_mark(mark, "system[0]")
    assert isinstance(read, CacheMark)
    assert json.loads(msgspec.json.encode(cache_control(read))) == mark


def test_a_cache_mark_of_another_type() -> None:
    with pytest.raises(InvalidRequest) as caught:
        cache_mark({"type": "forever"}, "system[0]")
    assert caught.value.param == "system[0].cache_control"


@given(st.binary().map(lambda data: data.hex()))
def test_data_urls(data: str) -> None:
    assert split_data_url(data_url(data, "image/png")) == ("image/png", data)


@pytest.mark.parametrize("url", ["https://a/b", "data:,hello", "data:text/plain,hello", "data:image/png;base64", ""])
def test_urls_without_base64(url: str) -> None:
    assert split_data_url(url) is None


def test_data_urls_with_parameters() -> None:
    assert split_data_url("DATA:Text/Plain;charset=utf-8;BASE64,eA==") == ("text/plain", "eA==")
    assert split_data_url("data:;base64,eA==") == ("text/plain", "eA==")


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_flat_names_are_names_of_tools(name: str, namespace: str) -> None:
    flat = flat_name(name, namespace)
    assert 0 < len(flat) <= 64
    assert flat.isascii()
    assert flat.replace("_", "").replace("-", "").isalnum() or not flat.strip("_-")
    assert flat == flat_name(name, namespace)


def test_long_flat_names_differ() -> None:
    names = {flat_name(f"{'x' * 70}{number}", "n") for number in range(50)} | {
        flat_name("a.b", "n"),
        flat_name("a,b", "n"),
    }
    assert len(names) == 52


def test_ids_for_calls_without_one() -> None:
    assert derived_call_id("chatcmpl-1a", 0) == "call_1a_0"
    assert derived_call_id("chatcmpl-1a", 1) != derived_call_id("chatcmpl-1a", 0) != derived_call_id("chatcmpl-1b", 0)
