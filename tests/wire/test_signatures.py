"""Signatures of Gemini's calls on the way through clients that keep the id of a call, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire import chat, gemini
from gatewayd.wire.conversation import ModelTarget, ToolUseBlock
from gatewayd.wire.signatures import signed_call, signed_call_id, split_call_id
from tests.wire.gemini_cases import SIGNATURE, USER, called, said


@given(
    st.from_regex(r"[a-zA-Z0-9_]{1,20}", fullmatch=True), st.from_regex(r"[a-zA-Z0-9+/]{4,40}={0,2}", fullmatch=True)
)
def test_an_id_is_split_as_it_was_signed(call_id: str, signature: str) -> None:
    assert split_call_id(signed_call_id(call_id, signature)) == (call_id, signature)
    assert split_call_id(signed_call_id(call_id, None)) == (call_id, None)


def test_only_signed_calls_change() -> None:
    plain = ToolUseBlock(call_id="a", name="f")
    assert signed_call(plain) is plain
    assert split_call_id("a__thought__") == ("a", None)


def _conversation(call: dict[str, Any]) -> list[Any]:
    result = {"role": "tool", "tool_call_id": call["id"], "content": "1"}
    return [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result]


@pytest.mark.parametrize("kept", [("id", "type", "function"), ("id", "type", "function", "extra_content")])
def test_a_chat_client_sends_the_signature_back(kept: tuple[str, ...]) -> None:
    answer = gemini.read_answer(json.dumps(said(called("f", {}, thoughtSignature=SIGNATURE))).encode())
    request = chat.read_request(json.dumps({"model": "m", "messages": [USER]}).encode())
    (choice,) = json.loads(chat.write_answer(answer, request))["choices"]
    (call,) = choice["message"]["tool_calls"]
    again = {"model": "m", "messages": _conversation({key: call[key] for key in kept})}
    read = chat.read_request(json.dumps(again).encode())
    body = json.loads(gemini.write_request(read, ModelTarget(model="gemini-3-flash")).body)
    (part,), (result,) = (content["parts"] for content in body["contents"][1:])
    assert part["thoughtSignature"] == SIGNATURE
    assert part["functionCall"]["id"] == result["functionResponse"]["id"] == call["id"].partition("__")[0]
    # Another provider sees the plain id.
    other = json.loads(chat.write_request(read, ModelTarget(model="m")).body)["messages"]
    assert other[1]["tool_calls"][0]["id"] == other[2]["tool_call_id"] == call["id"].partition("__")[0]


def test_a_conversation_that_began_behind_litellm() -> None:
    call = {"id": f"call_1__thought__{SIGNATURE}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    read = chat.read_request(json.dumps({"model": "m", "messages": _conversation(call)}).encode())
    body = json.loads(gemini.write_request(read, ModelTarget(model="gemini-3-flash")).body)
    assert body["contents"][1]["parts"][0]["thoughtSignature"] == SIGNATURE
