"""What is kept for `store` and `previous_response_id`, and for how long."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from gatewayd.errors import InvalidRequest
from gatewayd.wire import responses
from gatewayd.wire.conversation import Answer, Choice, StopReason, TextBlock, Turn
from gatewayd.wire.response_store import (
    ResponseStore,
    StoredResponse,
    continued,
    deleted_body,
    input_items_body,
    raw_input,
)

_item: TypeAdapter[Any] = TypeAdapter(ResponseItem)


def store(max_count: int = 10, max_bytes: int = 100_000, max_age: float = 100.0) -> ResponseStore:
    return ResponseStore(max_count=max_count, max_bytes=max_bytes, max_age=max_age)


def answer(text: str) -> Answer:
    choice = Choice(blocks=(TextBlock(text),), stop=StopReason.END)
    return Answer(dialect="chat", answer_id="a", model="m", choices=(choice,))


def put(
    kept: ResponseStore,
    name: str,
    *,
    key: str = "k",
    now: float = 0.0,
    previous: StoredResponse | None = None,
    size: int = 0,
    given: Any = None,
) -> StoredResponse | None:
    body = json.dumps({"model": "m", "input": f"ask {name}" if given is None else given}).encode()
    request = responses.read_request(body)
    whole = b'{"id":"%b"}' % name.encode() + b" " * size
    kept.put(key, name, request, answer(f"say {name}"), given=raw_input(body), body=whole, previous=previous, now=now)
    return kept.get(key, name, now)


def texts(turns: tuple[Turn, ...]) -> list[str]:
    return [block.text for turn in turns for block in turn.blocks if isinstance(block, TextBlock)]


def test_a_conversation_goes_on() -> None:
    kept = store()
    first = put(kept, "resp_1")
    second = put(kept, "resp_2", previous=first)
    assert second is not None
    assert texts(second.turns) == ["ask resp_1", "say resp_1", "ask resp_2", "say resp_2"]
    asking = b'{"model":"m","input":"more","previous_response_id":"resp_2","instructions":"new"}'
    request = continued(responses.read_request(asking), second)
    assert texts(request.turns)[-2:] == ["say resp_2", "more"]
    assert request.previous_id is None
    assert request.system == (TextBlock("new"),)


def test_another_key_sees_nothing() -> None:
    kept = store()
    assert put(kept, "resp_1", key="a") is not None
    assert kept.get("b", "resp_1", 0) is None
    assert not kept.delete("b", "resp_1", 0)
    assert kept.get("a", "resp_1", 0) is not None


def test_a_deleted_response_is_gone_but_not_for_those_that_need_it() -> None:
    kept = store()
    first = put(kept, "resp_1")
    second = put(kept, "resp_2", previous=first)
    assert second is not None
    before = kept.bytes
    assert kept.delete("k", "resp_1", 0)
    assert not kept.delete("k", "resp_1", 0)
    assert kept.get("k", "resp_1", 0) is None
    assert texts(second.turns)[0] == "ask resp_1"
    assert kept.bytes == before, "it is still kept"
    assert kept.delete("k", "resp_2", 0)
    assert kept.bytes == 0
    assert json.loads(deleted_body("resp_1")) == {"id": "resp_1", "object": "response", "deleted": True}


def test_the_oldest_go_first() -> None:
    kept = store(max_count=2)
    for name in ("resp_1", "resp_2", "resp_3"):
        put(kept, name)
    assert [kept.get("k", name, 0) is not None for name in ("resp_1", "resp_2", "resp_3")] == [False, True, True]
    small = store(max_bytes=3000)
    for name in ("resp_1", "resp_2", "resp_3"):
        put(small, name, size=800)
    assert small.get("k", "resp_1", 0) is None
    assert small.get("k", "resp_3", 0) is not None
    assert put(small, "resp_4", size=5000) is None, "larger than all that may be kept"
    assert small.bytes <= 3000


def test_age() -> None:
    kept = store(max_age=10)
    put(kept, "resp_1")
    assert kept.get("k", "resp_1", 9.9) is not None
    assert kept.get("k", "resp_1", 10) is None
    assert not kept.delete("k", "resp_1", 10)
    put(kept, "resp_2", now=11)
    put(kept, "resp_3", now=12)
    assert len(kept) == 2


def test_what_was_dropped_while_its_next_response_was_made() -> None:
    kept = store(max_count=1)
    first = put(kept, "resp_1")
    put(kept, "other")
    second = put(kept, "resp_2", previous=first)
    assert second is not None
    assert texts(second.turns)[0] == "ask resp_1"
    assert first is not None
    assert kept.bytes == first.size + second.size
    kept.delete("k", "resp_2", 0)
    assert kept.bytes == 0


def test_an_id_that_comes_twice_replaces() -> None:
    kept = store()
    first = put(kept, "resp_1")
    again = put(kept, "resp_1", previous=first)
    assert len(kept) == 1
    assert again is not None
    assert first is not None
    assert kept.bytes == first.size + again.size


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 900), st.booleans()), max_size=40))
def test_what_is_counted_is_what_is_kept(steps: list[tuple[int, int, int, bool]]) -> None:
    kept = store(max_count=4, max_bytes=4000)
    held: dict[int, StoredResponse | None] = {}
    for name, before, size, drop in steps:
        if drop:
            kept.delete("k", f"resp_{name}", 0)
        else:
            held[name] = put(kept, f"resp_{name}", previous=held.get(before), size=size)
        alive: dict[int, StoredResponse] = {}
        for number in range(6):
            at = kept.get("k", f"resp_{number}", 0)
            while at is not None:
                alive[id(at)] = at
                at = at.previous
        assert kept.bytes == sum(one.size for one in alive.values())
        assert len(kept) <= 4
        assert kept.bytes <= 4000
    for name in range(6):
        kept.delete("k", f"resp_{name}", 0)
    assert kept.bytes == 0


GIVEN = [
    {"role": "developer", "content": "rules"},
    {"role": "user", "content": [{"type": "input_text", "text": "go"}]},
    {"type": "message", "role": "assistant", "content": "ok"},
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"},
    {"type": "function_call_output", "call_id": "a", "output": "1", "id": "mine", "status": "completed"},
]


def listed(**parameters: Any) -> dict[str, Any]:
    stored = put(store(), "resp_1", given=GIVEN)
    assert stored is not None
    page = json.loads(input_items_body(stored, **parameters))
    assert isinstance(page, dict)
    return page


def test_input_items() -> None:
    page = listed(order="asc")
    for item in page["data"]:
        _item.validate_python(item, strict=True)
    assert [item["type"] for item in page["data"]] == ["message"] * 3 + ["function_call", "function_call_output"]
    assert page["data"][0]["content"] == [{"type": "input_text", "text": "rules"}]
    assert page["data"][2]["content"][0]["type"] == "output_text"
    ids = [item["id"] for item in page["data"]]
    assert len(set(ids)) == 5
    assert ids[4] == "mine"
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], "mine", False)
    assert [item["id"] for item in listed()["data"]] == ids[::-1], "the newest first, as in the API"
    first = listed(order="asc", limit=2)
    assert first["has_more"]
    rest = listed(order="asc", limit=3, after=first["last_id"])
    assert [item["id"] for item in first["data"] + rest["data"]] == ids


def test_input_items_of_a_string() -> None:
    stored = put(store(), "resp_1")
    assert stored is not None
    (item,) = json.loads(input_items_body(stored))["data"]
    assert item["content"] == [{"type": "input_text", "text": "ask resp_1"}]
    assert raw_input(b'{"model":"m"}') == b"[]"


@pytest.mark.parametrize(
    ("parameters", "param"),
    [({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"order": "x"}, "order"), ({"after": "x"}, "after")],
)
def test_bad_parameters(parameters: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        listed(**parameters)
    assert caught.value.param == param


def test_turns_are_data() -> None:
    stored = put(store(), "resp_1")
    assert stored is not None
    assert msgspec.json.encode(stored.turns)
