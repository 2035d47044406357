"""A streaming call that is answered in one piece."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from gatewayd.errors import UpstreamBadResponse, UpstreamStatus
from gatewayd.wire.openai import DONE, Usage
from tests.fakeup import body_reply, json_reply, sse_reply
from tests.upstream.doubles import call
from tests.upstream.forwarding import CHAT, COUNTS, forwarding, refusal
from tests.upstream.litellm.translating import events
from tests.upstream.sinks import ListSink

CALLED = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHOICES = [
    {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop", "logprobs": None},
    {
        "index": 1,
        "message": {"role": "assistant", "content": None, "tool_calls": [CALLED, CALLED | {"id": "call_2"}]},
        "finish_reason": "tool_calls",
    },
]
ANSWER = {"id": "c-1", "object": "chat.completion", "created": 7, "model": "gpt-real", "choices": CHOICES}


@pytest.mark.parametrize("with_usage", [False, True])
async def test_a_whole_answer_becomes_a_stream(with_usage: bool) -> None:
    """U-B7: one attempt, and what it brought is not thrown away."""
    asked = {"stream_options": {"include_usage": True}} if with_usage else {}
    async with forwarding(json_reply(ANSWER | {"usage": COUNTS}, headers=[("x-ratelimit-a", "1")])) as (up, forward):
        reply = await forward.open(call(asked, stream=True))
        assert reply.headers == [("content-type", "text/event-stream; charset=utf-8"), ("x-ratelimit-a", "1")]
        assert reply.usage == Usage(5, 7, 12)
        first, *rest = await events(reply)
        chunk = ChatCompletionChunk.model_validate(first, strict=True)
        assert [choice.finish_reason for choice in chunk.choices] == ["stop", "tool_calls"]
        assert chunk.choices[0].delta.content == "Hello"
        tools = chunk.choices[1].delta.tool_calls
        assert tools is not None
        assert [(tool.index, tool.id) for tool in tools] == [(0, "call_1"), (1, "call_2")]
        assert "usage" not in first or first["usage"] is None
        assert [(event["choices"], event["usage"]) for event in rest] == ([([], COUNTS)] if with_usage else [])
        assert len(up.requests) == 1


async def test_a_text_completion_becomes_a_stream() -> None:
    """U-B7"""
    choices = [{"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": None}]
    answer = {"id": "c-1", "object": "text_completion", "created": 7, "model": "gpt-real", "choices": choices}
    async with forwarding(json_reply(answer)) as (_, forward):
        (event,) = await events(await forward.open(call(stream=True, endpoint="completions")))
        assert Completion.model_validate(event, strict=True).choices[0].text == "Hello"
        assert event == answer


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"choices": []}, UpstreamBadResponse),
        ({"id": "c-1"}, UpstreamBadResponse),
        ({"choices": "none"}, UpstreamBadResponse),
        ({"choices": [{"index": 0, "text": "not of a chat"}]}, UpstreamBadResponse),
        (ANSWER | {"error": {"message": "boom", "code": 503}}, UpstreamStatus),
    ],
)
async def test_what_is_no_answer_becomes_no_stream(answer: Any, kind: type[Exception]) -> None:
    """U-B7, U-B5"""
    assert isinstance(await refusal(body_reply(json.dumps(answer).encode()), stream=True), kind)


async def test_a_stream_is_asked_for_as_one() -> None:
    """U-B7: calls that do not stream, and an `accept` of the operator's own, are as they were."""
    async with forwarding(sse_reply(CHAT), json_reply(ANSWER), sse_reply(CHAT)) as (up, forward):
        for stream in (True, False, True):
            reply = await forward.open(call(stream=stream))
            if stream:
                sink = ListSink()
                await reply.pipe(sink)
                assert sink.data.endswith(DONE)
            reply.close()
        accepted = [request.headers["accept"] for request in up.requests]
        assert accepted == ["text/event-stream", "*/*", "text/event-stream"]
