"""What a caller gets where litellm would have got it wrong."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gatewayd.errors import GatewayError
from gatewayd.upstream.base import Reply as Answered
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream, Reply, chat_events, json_reply, sse_reply
from tests.stand_ins import anthropic, bedrock, cohere
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.direct_and_litellm import claude_body, of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, WAYS, events, tree
from tests.upstream.sinks import ListSink

pytestmark = KNOWN_WARNINGS


@pytest.mark.parametrize("provider", ["huggingface", "lemonade"])
async def test_nobody_is_asked_about_a_model(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """litellm would do it on the loop, and wait."""
    asked: list[str] = []

    def refuse(_: Any, request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)  # of its clients that do not know the loop
    async with FakeUpstream(json_reply(CHAT), sse_reply(chat_events("Good day."))) as up:
        upstream = TranslateUpstream(deployment(up.base_url, kind="translate", provider=provider, model="some/model"))
        assert tree(await upstream.open(call(messages=MESSAGES)))["choices"][0]["message"]["content"] == "Good day."
        await events(await upstream.open(call(messages=MESSAGES, stream=True)))
        await upstream.aclose()
    assert asked == []


CHAT = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "some/model",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Good day."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}  # fmt: skip


TEXT = {"type": "text", "text": "Good day."}
CUT_OFF = "model_context_window_exceeded"
BEDROCKS = {"output": {"message": {"role": "assistant", "content": [{"text": "Good"}]}}, "usage": bedrock.USAGE}
ENDED: dict[str, tuple[Reply, Reply]] = {
    "anthropic": (
        json_reply(json.loads(claude_body(TEXT, reason=CUT_OFF))),
        sse_reply([*anthropic.stream()[:-2], *anthropic.end(CUT_OFF)]),
    ),
    "bedrock": (
        json_reply({**BEDROCKS, "stopReason": CUT_OFF}),
        bedrock.streamed([*bedrock.stream()[:-2], bedrock.event("messageStop", stopReason=CUT_OFF)]),
    ),
}


@WAYS
@pytest.mark.parametrize("family", ENDED)
async def test_an_answer_that_the_context_window_cut_off_is_not_whole(family: str, direct: bool) -> None:
    async with FakeUpstream(*ENDED[family]) as up:
        upstream = TranslateUpstream(of(family, up), direct=direct)
        assert tree(await upstream.open(call(messages=MESSAGES)))["choices"][0]["finish_reason"] == "length"
        ended = await events(await upstream.open(call(messages=MESSAGES, stream=True)))
        assert [event["choices"][0]["finish_reason"] for event in ended][-1] == "length"
        await upstream.aclose()


# --- Cohere


def part(kind: str, index: int = 0, **function: Any) -> bytes:
    calls = {name: function.pop(name) for name in ("id", "type") if name in function} | {"function": function}
    return cohere.line(kind, index=index, delta={"message": {"tool_calls": calls}})


def end(reason: str) -> bytes:
    return cohere.line("message-end", delta={"finish_reason": reason, "usage": cohere.USAGE})


def server_sent(lines: list[bytes]) -> list[bytes]:
    """The same events as Cohere's own clients get them."""
    return [b"event: %b\ndata: %b\n" % (json.loads(line)["type"].encode(), line) for line in lines]


CALLS = [
    cohere.stream()[0],
    cohere.line("tool-plan-delta", delta={"message": {"tool_plan": "I will ask."}}),
    part("tool-call-start", id="w1", type="function", name="weather", arguments=""),
    part("tool-call-delta", arguments='{"city": '),
    part("tool-call-delta", arguments='"Bern"}'),
    cohere.line("tool-call-end", index=0),
    part("tool-call-start", 1, id="w2", type="function", name="now", arguments=""),
    cohere.line("tool-call-end", index=1),
    end("TOOL_CALL"),
]
TALK = cohere.stream()[:-1]


async def asked(reply: Reply, **fields: Any) -> tuple[Answered, Any]:
    async with FakeUpstream(reply) as up:
        upstream = TranslateUpstream(of("cohere_chat", up))
        answer = await upstream.open(call(messages=MESSAGES, **fields))
        told = await events(answer) if answer.body is None else tree(answer)
        await upstream.aclose()
        return answer, told


@pytest.mark.parametrize("wire", [list, server_sent], ids=["lines", "server-sent events"])
async def test_tool_calls_arrive_in_a_stream_of_coheres(wire: Any) -> None:
    answer, told = await asked(sse_reply(wire(CALLS)), stream=True, tools=[TOOL])
    called: dict[int, list[str]] = {}
    for event in told:
        for one in event["choices"][0]["delta"].get("tool_calls", ()):
            name, arguments = one["function"].get("name"), one["function"]["arguments"]
            if name is not None:
                called[one["index"]] = [one["id"], name, ""]
            called[one["index"]][2] += arguments
    assert called == {0: ["w1", "weather", '{"city": "Bern"}'], 1: ["w2", "now", "{}"]}
    assert told[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (cohere.INPUT_TOKENS, cohere.OUTPUT_TOKENS)


@pytest.mark.parametrize("wire", [list, server_sent], ids=["lines", "server-sent events"])
async def test_a_stream_of_coheres_says_why_it_ended_and_what_it_cost(wire: Any) -> None:
    _, told = await asked(
        sse_reply(wire([*TALK, end("MAX_TOKENS")])), stream=True, stream_options={"include_usage": True}
    )
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in told[:-1]) == "Good day."
    assert told[-2]["choices"][0]["finish_reason"] == "length"
    assert told[-1]["usage"]["total_tokens"] == cohere.INPUT_TOKENS + cohere.OUTPUT_TOKENS


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls")],
)
async def test_a_whole_answer_of_coheres_says_why_it_ended(reason: str, expected: str) -> None:
    message = {"role": "assistant", "content": [TEXT]}
    reply = json_reply({"id": "c1", "finish_reason": reason, "message": message, "usage": cohere.USAGE})
    assert (await asked(reply))[1]["choices"][0]["finish_reason"] == expected


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cohere_did_not_finish_is_none(stream: bool) -> None:
    message = {"role": "assistant", "content": [TEXT]}
    whole = json_reply({"id": "c1", "finish_reason": "ERROR", "message": message, "usage": cohere.USAGE})
    async with FakeUpstream(sse_reply([*TALK, end("ERROR")]) if stream else whole) as up:
        upstream, sink = TranslateUpstream(of("cohere_chat", up)), ListSink()
        failed: GatewayError | None = None
        try:
            await (await upstream.open(call(messages=MESSAGES, stream=stream))).pipe(sink)
        except GatewayError as error:
            failed = error
        assert (failed and failed.status, failed and failed.code) == (502, "upstream_bad_response")
        assert b'finish_reason":"' not in sink.data
        await upstream.aclose()


@pytest.mark.parametrize(("choice", "expected"), [("required", "REQUIRED"), ("none", "NONE"), ("auto", None)])
async def test_cohere_is_told_whether_a_tool_must_be_called(choice: str, expected: str | None) -> None:
    async with FakeUpstream(cohere.answer) as up:
        upstream = TranslateUpstream(of("cohere_chat", up))
        await upstream.open(call(messages=MESSAGES, tools=[TOOL], tool_choice=choice))
        assert up.requests[0].json().get("tool_choice") == expected
        await upstream.aclose()
