"""What providers answer that is no answer, or one with less in it than usual; directly and through litellm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamStatus, Verdict
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream, Reply, body_reply, json_reply, sse_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini, vertex
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.direct_and_litellm import of, signed_in
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, WAYS, events, tree
from tests.upstream.sinks import ListSink

pytestmark = KNOWN_WARNINGS

FAMILIES = ["anthropic", "bedrock", "cohere_chat", "gemini"]
UNREADABLE: dict[str, Reply] = {
    "HTML": body_reply(b"<html>Log in</html>", content_type="text/html"),
    "an empty object": json_reply({}),
    "an empty list": json_reply([]),
    "null": json_reply(None),
    "a string": json_reply("x"),
    "cut JSON": body_reply(b'{"candidates": [{"con', content_type="application/json"),
    "nothing": body_reply(b"", content_type="application/json"),
}


async def failed(family: str, reply: Reply, *, direct: bool, **fields: Any) -> tuple[GatewayError, bytes]:
    """The error of a call, and what was streamed before it."""
    async with FakeUpstream(reply) as up:
        upstream, sink = TranslateUpstream(of(family, up), direct=direct), ListSink()
        with pytest.raises(GatewayError) as caught:
            await (await upstream.open(call(messages=MESSAGES, **fields))).pipe(sink)
        await upstream.aclose()
        return caught.value, sink.data


@WAYS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reply", UNREADABLE)
@pytest.mark.parametrize("family", FAMILIES)
async def test_an_unreadable_answer_is_never_the_callers_fault(
    family: str, reply: str, stream: bool, direct: bool
) -> None:
    """U-B1: another attempt is made, and the deployment is blamed."""
    error, sent = await failed(family, UNREADABLE[reply], direct=direct, stream=stream)
    assert isinstance(error, UpstreamBadResponse)
    assert (error.status, error.verdict, error.blames_deployment, sent) == (502, Verdict.RETRY, True, b"")
    assert "Log in" not in error.message


@pytest.mark.parametrize("reply", UNREADABLE)
async def test_an_unreadable_answer_of_vertex_is_never_the_callers_fault(reply: str) -> None:
    """U-B1"""
    async with FakeUpstream(vertex.answer) as up:
        deployed = await signed_in(up)
        up.then(UNREADABLE[reply])
        with pytest.raises(UpstreamBadResponse):
            await TranslateUpstream(deployed).open(call(messages=MESSAGES))


@pytest.mark.parametrize("family", ["cohere", "gemini"])
async def test_unreadable_vectors_are_never_the_callers_fault(family: str) -> None:
    """U-B1: embeddings."""
    for name, reply in UNREADABLE.items():
        async with FakeUpstream(reply) as up:
            base = cohere.embed_url(up) if family == "cohere" else gemini.base_url(up)
            upstream = TranslateUpstream(deployment(base, kind="translate", provider=family, model="embed-x"))
            with pytest.raises(GatewayError) as caught:
                await upstream.open(call(endpoint="embeddings", input="x"))
            assert (caught.value.status, caught.value.verdict) == (502, Verdict.RETRY), name


@WAYS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
async def test_an_error_in_an_answer_of_status_200_keeps_its_status(family: str, stream: bool, direct: bool) -> None:
    """U-B5, for translated providers."""
    reply = json_reply({"error": {"code": 503, "message": "Overloaded."}})
    error, _ = await failed(family, reply, direct=direct, stream=stream)
    assert isinstance(error, UpstreamStatus)
    assert (error.status, error.message, error.verdict) == (503, "Overloaded.", Verdict.RETRY)


# --- Gemini leaves out what its API calls optional


def said(*parts: dict[str, Any], reason: str | None = "STOP", counted: bool = True) -> dict[str, Any]:
    found = gemini.body("", reason=reason)
    found["candidates"][0]["content"]["parts"] = list(parts)
    if not counted:
        del found["usageMetadata"]
    return found


def sse(*trees: dict[str, Any]) -> Reply:
    return sse_reply([b"data: " + json.dumps(tree).encode() + b"\r\n\r\n" for tree in trees])


TEXT = {"text": "Good day."}
CALLED = {"functionCall": {"name": "weather"}}


@WAYS
async def test_an_answer_without_usage_is_good_and_its_usage_unknown(direct: bool) -> None:
    """U-B2"""
    async with FakeUpstream(json_reply(said(TEXT, counted=False)), sse(said(TEXT, counted=False))) as up:
        upstream = TranslateUpstream(of("gemini", up), direct=direct)
        reply = await upstream.open(call(messages=MESSAGES))
        assert tree(reply)["choices"][0]["message"]["content"] == "Good day."
        assert "usage" not in tree(reply)
        assert reply.usage is None
        stream = await upstream.open(call(messages=MESSAGES, stream=True))
        assert (await events(stream))[0]["choices"][0]["delta"]["content"] == "Good day."
        assert stream.usage is None or not direct  # litellm counts by itself
        await upstream.aclose()


@WAYS
async def test_a_blocked_prompt_without_usage_is_an_answer(direct: bool) -> None:
    """U-B2: also when the prompt was refused."""
    async with FakeUpstream(json_reply({"promptFeedback": {"blockReason": "SAFETY"}})) as up:
        upstream = TranslateUpstream(of("gemini", up), direct=direct)
        reply = await upstream.open(call(messages=MESSAGES))
        assert tree(reply)["choices"][0]["finish_reason"] == "content_filter"
        assert reply.usage is None
        await upstream.aclose()


@WAYS
@pytest.mark.parametrize("function", [{"name": "weather"}, {"name": "weather", "args": None}])
async def test_a_function_call_without_arguments_has_an_empty_object(function: dict[str, Any], direct: bool) -> None:
    """U-B3"""
    part = {"functionCall": function}
    async with FakeUpstream(json_reply(said(part)), sse(said(part, reason=None), said())) as up:
        upstream = TranslateUpstream(of("gemini", up), direct=direct)
        whole = tree(await upstream.open(call(messages=MESSAGES, tools=[TOOL])))
        assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
        streamed = await events(await upstream.open(call(messages=MESSAGES, tools=[TOOL], stream=True)))
        assert called(streamed) == {0: "{}"}
        await upstream.aclose()


def called(streamed: list[Any]) -> dict[int, str]:
    """The arguments of each tool call, put together."""
    found: dict[int, str] = {}
    for event in streamed:
        for one in event["choices"][0]["delta"].get("tool_calls", ()):
            found[one["index"]] = found.get(one["index"], "") + (one["function"].get("arguments") or "")
    return found


# --- tool calls without arguments, in streams


def claudes(*pieces: tuple[str, ...]) -> Reply:
    """One tool call for each tuple of pieces of arguments."""
    told = [anthropic.start()]
    for index, texts in enumerate(pieces):
        use = {"type": "tool_use", "id": f"t{index}", "name": "weather", "input": {}}
        told.append(anthropic.event("content_block_start", index=index, content_block=use))
        deltas = [{"type": "input_json_delta", "partial_json": text} for text in texts]
        told += [anthropic.event("content_block_delta", index=index, delta=delta) for delta in deltas]
        told.append(anthropic.event("content_block_stop", index=index))
    return sse_reply([*told, *anthropic.end("tool_use")])


def bedrocks(*pieces: tuple[str, ...]) -> Reply:
    told = [bedrock.event("messageStart", role="assistant")]
    for index, texts in enumerate(pieces):
        start = {"toolUse": {"toolUseId": f"t{index}", "name": "weather"}}
        told.append(bedrock.event("contentBlockStart", contentBlockIndex=index, start=start))
        deltas = [{"toolUse": {"input": text}} for text in texts]
        told += [bedrock.event("contentBlockDelta", contentBlockIndex=index, delta=delta) for delta in deltas]
        told.append(bedrock.event("contentBlockStop", contentBlockIndex=index))
    end = bedrock.event("messageStop", stopReason="tool_use")
    return bedrock.streamed([*told, end, bedrock.event("metadata", usage=bedrock.USAGE)])


@WAYS
@pytest.mark.parametrize("make", [claudes, bedrocks])
async def test_a_streamed_tool_call_without_arguments_has_an_empty_object(make: Any, direct: bool) -> None:
    """U-B4: wherever it stands among the calls, and whether its arguments are absent or empty."""
    async with FakeUpstream(make((), ('{"city"', ': "Bern"}'), ("",), ())) as up:
        upstream = TranslateUpstream(of("anthropic" if make is claudes else "bedrock", up), direct=direct)
        streamed = await events(await upstream.open(call(messages=MESSAGES, tools=[TOOL], stream=True)))
        assert called(streamed) == {0: "{}", 1: '{"city": "Bern"}', 2: "{}", 3: "{}"}
        assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"
        await upstream.aclose()


# --- the model failed

GEMINIS = ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "TOO_MANY_TOOL_CALLS",
           "UNEXPECTED_TOOL_CALL"]  # fmt: skip
BEDROCKS = ["malformed_model_output", "malformed_tool_use"]


def ended(reason: str) -> dict[str, Any]:
    return {"candidates": [{"finishReason": reason, "index": 0}]}


def _failures() -> dict[str, tuple[str, Reply, bool]]:
    """Name → family, answer, whether the answer is a stream that has begun."""
    found: dict[str, tuple[str, Reply, bool]] = {}
    for reason in GEMINIS:
        found[f"{reason}, whole"] = "gemini", json_reply(ended(reason)), False
        found[f"{reason}, whole, with text"] = "gemini", json_reply(said(TEXT, reason=reason)), False
        found[f"{reason}, streamed"] = "gemini", sse(ended(reason)), False
        found[f"{reason}, after text"] = "gemini", sse(said(TEXT, reason=None), ended(reason)), True
        found[f"{reason}, after a call"] = "gemini", sse(said(CALLED, reason=None), ended(reason)), True
    output = {"message": {"role": "assistant", "content": [{"text": "Good day."}]}}
    for reason in BEDROCKS:
        whole = {"output": output, "stopReason": reason, "usage": bedrock.USAGE}
        stop = bedrock.event("messageStop", stopReason=reason)
        found[f"{reason}, whole"] = "bedrock", json_reply(whole), False
        found[f"{reason}, after text"] = "bedrock", bedrock.streamed([*bedrock.stream()[:3], stop]), True
    return found


FAILURES = _failures()


@WAYS
@pytest.mark.parametrize("name", FAILURES)
async def test_an_answer_that_the_model_did_not_finish_is_a_failed_attempt(name: str, direct: bool) -> None:
    """U-B6: before the first content another attempt is made; later the client gets an error and no finish reason."""
    family, reply, begun = FAILURES[name]
    error, sent = await failed(family, reply, direct=direct, stream="whole" not in name)
    assert isinstance(error, UpstreamBadResponse)
    assert error.verdict is Verdict.RETRY
    assert name.partition(",")[0] in error.message
    assert bool(sent) is begun
    assert b'"finish_reason":"' not in sent
    assert b"[DONE]" not in sent
