"""In which dialect a deployment is asked, and what becomes of headers, errors and estimates on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import GatewayError, InvalidRequest, UpstreamStatus, Verdict
from gatewayd.upstream.base import Call, Reply, WholeReply
from gatewayd.upstream.convert import SplitUpstream, open_in_dialect
from gatewayd.wire.dialect import CHAT, COMPLETIONS, INPUT_TOKENS, RESPONSES, Endpoint
from gatewayd.wire.openai import Usage, encode
from tests.engine.fakes import FakeUpstream

ASK: dict[str, Any] = {"model": "m", "max_output_tokens": 9, "input": "Hello"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "theirs",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}


class Answering(FakeUpstream):
    """Answers as a chat deployment."""

    async def open(self, call: Call) -> Reply:
        await super().open(call)
        call.dropped = (*call.dropped, "seed")
        call.waited += 1.5
        headers = [("content-type", "application/json"), ("x-gatewayd-dropped", "seed")]
        return WholeReply(200, headers, encode(ANSWER), Usage(5, 7, 12))


def call(endpoint: Endpoint = RESPONSES, headers: Any = (), **fields: Any) -> Call:
    return Call(endpoint, endpoint.dialect.peek(encode({**ASK, **fields})), "r", headers)


def deployment(*dialects: str, **changes: Any) -> Deployment:
    return Deployment("d", "d", "m", "forward", "openai", "x", dialects=dialects, **changes)


async def test_the_callers_own_dialect_is_preferred() -> None:
    upstream, asked = FakeUpstream(), call()
    assert (await open_in_dialect(upstream, deployment("chat", "responses"), asked)).body == b"{}"
    assert upstream.calls == [asked]


async def test_a_request_is_asked_in_another_dialect() -> None:
    upstream = Answering()
    asked = call(headers=[("anthropic-beta", "a"), ("traceparent", "t"), ("openai-beta", "b")], truncation="auto")
    reply = await open_in_dialect(upstream, deployment("chat", drop_params=True), asked)
    (inner,) = upstream.calls
    assert inner.endpoint is CHAT
    assert json.loads(inner.intent.body)["messages"] == [{"role": "user", "content": "Hello"}]
    assert (inner.intent.model, inner.request_id, inner.timeouts) == ("m", "r", asked.timeouts)
    assert inner.headers == [("traceparent", "t"), ("openai-beta", "b")]
    assert reply.body is not None
    answer = json.loads(reply.body)
    assert (answer["object"], answer["status"], answer["output"][0]["content"][0]["text"]) == (
        "response", "completed", "Hi"
    )  # fmt: skip
    assert reply.usage == Usage(5, 7, 12)
    assert [value for name, value in reply.headers if name == "x-gatewayd-dropped"] == ["truncation, seed"]
    assert asked.waited == 1.5


async def test_a_request_is_read_once_for_all_attempts() -> None:
    upstream, asked = Answering(), call()
    await open_in_dialect(upstream, deployment("chat"), asked)
    first = asked.conversation
    await open_in_dialect(upstream, deployment("chat"), asked)
    assert asked.conversation is first is not None


async def test_what_cannot_be_said_is_left_to_another_deployment() -> None:
    container: dict[str, Any] = {"previous_response_id": "resp_1"}
    for asked, code in ((call(COMPLETIONS), "endpoint_not_supported"), (call(**container), "invalid_request")):
        with pytest.raises(InvalidRequest) as caught:
            await open_in_dialect(
                Answering(), deployment("responses" if asked.endpoint is COMPLETIONS else "chat"), asked
            )
        assert (caught.value.code, caught.value.verdict) == (code, Verdict.ELSEWHERE)


async def test_a_request_that_is_no_good_is_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await open_in_dialect(Answering(), deployment("chat"), call(input=7))
    assert caught.value.verdict is Verdict.FATAL


async def test_an_error_of_the_upstream_loses_its_form_and_keeps_its_message() -> None:
    body = b'{"error":{"message":"too long"}}'
    for dialects, expected in ((("chat",), body), (("responses",), body)):
        error = UpstreamStatus("too long", status=400, body=body)
        with pytest.raises(GatewayError) as caught:
            await open_in_dialect(FakeUpstream([error]), deployment(*dialects), call())
        assert (caught.value.body, caught.value.message) == (expected, "too long")


async def test_tokens_are_estimated_where_no_api_counts_them() -> None:
    upstream = FakeUpstream()
    tools = [{"type": "function", "name": "f", "description": "x" * 40, "parameters": {"type": "object"}}]
    reply = await open_in_dialect(upstream, deployment("chat"), call(INPUT_TOKENS, tools=tools))
    assert reply.body is not None
    assert 10 < json.loads(reply.body)["input_tokens"] < 40
    assert ("x-gatewayd-estimated", "input_tokens") in reply.headers
    assert not upstream.calls


async def test_each_dialect_has_its_upstream() -> None:
    chat, responses = FakeUpstream(), FakeUpstream()
    upstream = SplitUpstream({"chat": chat, "responses": responses})
    await upstream.open(call())
    await upstream.open(call(CHAT))
    await upstream.aclose()
    assert [len(one.calls) for one in (chat, responses)] == [1, 1]
    assert [one.closed for one in (chat, responses)] == [1, 1]
    with pytest.raises(InvalidRequest):
        await SplitUpstream({"chat": chat}).open(call())
