"""Signatures of Gemini's calls on the way through clients that keep the id of a call, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire import chat, gemini, messages, responses
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


def _gemini_parts(read: Any) -> list[Any]:
    body = json.loads(gemini.write_request(read, ModelTarget(model="gemini-3-flash")).body)
    return [part for content in body["contents"] for part in content["parts"]]


ANSWER = json.dumps(
    said(
        {"text": "Hm.", "thought": True, "thoughtSignature": "dGhvdWdodA=="},
        called("f", {}, thoughtSignature=SIGNATURE),
    )
).encode()


def _assert_sent_back(parts: list[Any]) -> None:
    """Both signatures are where they were, and the result belongs to the call."""
    thoughts = [part for part in parts if part.get("thought")]
    calls = [part for part in parts if "functionCall" in part]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert [(part["text"], part["thoughtSignature"]) for part in thoughts] == [("Hm.", "dGhvdWdodA==")]
    assert [part["thoughtSignature"] for part in calls] == [SIGNATURE]
    assert calls[0]["functionCall"]["id"] == results[0]["id"]


def test_a_messages_client_sends_the_signature_back() -> None:
    asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    request = messages.read_request(json.dumps(asked).encode())
    content = json.loads(messages.write_answer(gemini.read_answer(ANSWER), request))["content"]
    (call,) = [{key: block[key] for key in ("type", "id", "name", "input")} for block in content if "input" in block]
    asked["messages"] += [
        {"role": "assistant", "content": [*(block for block in content if "input" not in block), call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "1"}]},
    ]
    _assert_sent_back(_gemini_parts(messages.read_request(json.dumps(asked).encode())))


def test_a_responses_client_sends_the_signature_back() -> None:
    asked: dict[str, Any] = {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "hi"}],
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"summary": "auto"},
    }
    request = responses.read_request(json.dumps(asked).encode())
    output = json.loads(responses.write_answer(gemini.read_answer(ANSWER), request))["output"]
    (call,) = [item for item in output if item["type"] == "function_call"]
    asked["input"] += [*output, {"type": "function_call_output", "call_id": call["call_id"], "output": "1"}]
    _assert_sent_back(_gemini_parts(responses.read_request(json.dumps(asked).encode())))
