"""What providers answer, whole and streamed, read directly and by `litellm.acompletion`: no difference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.errors import Verdict
from tests.fakeup import FakeUpstream, Received, Reply, body_reply, json_reply, sse_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini
from tests.upstream.litellm.direct_and_litellm import CALLED, JSON_OF_A_SCHEMA, PIXEL, both, claude_body, of, same
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES

pytestmark = KNOWN_WARNINGS
ASKED = {"stream_options": {"include_usage": True}}


def claude_said(*content: dict[str, Any], reason: str = "end_turn", **usage: int) -> Reply:
    return body_reply(claude_body(*content, reason=reason, **usage), content_type="application/json")


TEXT = {"type": "text", "text": "Good day."}
THOUGHT = {"type": "thinking", "thinking": "Say good day.", "signature": "c2ln"}
CLAUDE: dict[str, Reply] = {
    "max_tokens": claude_said(TEXT, reason="max_tokens"),
    "a stop sequence": claude_said(TEXT, reason="stop_sequence"),
    "refusal": claude_said(reason="refusal"),
    "pause": claude_said(TEXT, reason="pause_turn"),
    "a reason unheard of": claude_said(TEXT, reason="novel"),
    "nothing": claude_said(),
    "thoughts": claude_said(THOUGHT, {"type": "redacted_thinking", "data": "AAAA"}, TEXT),
    "two tools": claude_said(
        TEXT,
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}},
        {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
        reason="tool_use",
    ),
    "cache": claude_said(TEXT, cache_creation_input_tokens=5, cache_read_input_tokens=3),
    "citations": claude_said(TEXT | {"citations": [{"type": "char_location", "cited_text": "x", "document_index": 0}]}),
    "a block unheard of": claude_said({"type": "novel", "novel": 1}, TEXT),
    "no usage": json_reply({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [TEXT]}),
    "an empty object": json_reply({}),
    "an error of status 200": json_reply({"type": "error", "error": {"type": "api_error", "message": "odd"}}),
    "no JSON": body_reply(b"<html>Log in</html>", content_type="text/html"),
    "nothing at all": body_reply(b"", content_type="application/json"),
    "an array": json_reply([1]),
    "half a character": body_reply(claude_body({"type": "text", "text": "\ud83d"}), content_type="application/json"),
    "too deep": body_reply(b"[" * 100_000, content_type="application/json"),
}


@pytest.mark.parametrize("said", CLAUDE)
async def test_claudes_answers(said: str) -> None:
    async with FakeUpstream(CLAUDE[said]) as up:
        await same(up, of("anthropic", up), {"max_tokens": 9})


def blocks(*starts_and_deltas: tuple[dict[str, Any], list[dict[str, Any]]], reason: str = "end_turn") -> list[bytes]:
    events = [anthropic.start()]
    for index, (start, deltas) in enumerate(starts_and_deltas):
        events.append(anthropic.event("content_block_start", index=index, content_block=start))
        events += [anthropic.event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(anthropic.event("content_block_stop", index=index))
    return [*events, *anthropic.end(reason)]


def typed(kind: str, name: str, *values: Any) -> list[dict[str, Any]]:
    return [{"type": kind, name: value} for value in values]


EMPTY = {"type": "text", "text": ""}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
BEGUN = [anthropic.start(), anthropic.delta("a")]
BOTH = {"type": "text_delta", "text": "b"}
CLAUDES_STREAMS: dict[str, list[bytes]] = {
    "max_tokens": anthropic.stream()[:-2] + anthropic.end("max_tokens"),
    "many pings": anthropic.stream(pings=9),
    "empty texts": blocks((EMPTY, typed("text_delta", "text", "", "a", "", "b"))),
    "text in the start": blocks(({"type": "text", "text": "A"}, typed("text_delta", "text", "b"))),
    "nothing": blocks(),
    "the same again": blocks((EMPTY, typed("text_delta", "text", *["again "] * 150))),
    "thoughts": blocks(
        ({"type": "thinking", "thinking": "", "signature": ""}, [
            *typed("thinking_delta", "thinking", "Say ", "good day."), *typed("signature_delta", "signature", "c2ln"),
        ]),
        ({"type": "redacted_thinking", "data": "AAAA"}, []),
        (EMPTY, typed("text_delta", "text", "Good day.")),
    ),
    "two tools": blocks(
        (EMPTY, typed("text_delta", "text", "Well.")),
        (USE, typed("input_json_delta", "partial_json", "", '{"city"', ': "Bern"}')),
        (USE | {"id": "t2"}, []),
        reason="tool_use",
    ),
    "citations": blocks((EMPTY, [{"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}},
                                 *typed("text_delta", "text", "a")])),
    "Unicode": blocks((EMPTY, typed("text_delta", "text", "Grüezi\u2028\u0085", "\U0001f600"))),
    "a block unheard of": blocks(
        ({"type": "novel"}, typed("novel_delta", "novel", 1)), (EMPTY, typed("text_delta", "text", "a"))
    ),
    "an event unheard of": [*BEGUN, anthropic.event("novel", novel=1), *anthropic.end()],
    "no usage at the end": [*BEGUN, anthropic.event("message_delta", delta={"stop_reason": "end_turn"})],
    "no end but a reason": anthropic.stream()[:-1],
    "no reason": [*anthropic.stream()[:-2], anthropic.event("message_stop")],
    "an error at once": [anthropic.error_event()],
    "an error in the middle": [*BEGUN, anthropic.error_event()],
    "an error of another kind": [*BEGUN, anthropic.error_event("rate_limit_error", "slow")],
    "broken JSON": [*BEGUN, b"data: {broken\n\n", anthropic.delta("b"), *anthropic.end()],
    "broken JSON last": [*BEGUN, b"data: {broken\n\n"],
    "broken JSON with a text in it": [
        *BEGUN, b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "b}\n\n',
        anthropic.delta("c"), *anthropic.end(),
    ],
    "half a character": [
        *BEGUN,
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\\ud83d"}}\n\n',
        anthropic.delta("c"), *anthropic.end(),
    ],
    "text with more to it": blocks((EMPTY, [{"type": "text_delta", "text": "a"},
                                           {"type": "text_delta", "text": "b", "citation": {"cited_text": "x"}},
                                           {"type": "text_delta", "text": "c", "novel": 1}])),
    "text before the start": [anthropic.delta("a"), anthropic.delta("b"), *anthropic.stream()],
    "text behind the reason": [*BEGUN, anthropic.end()[0], anthropic.delta("b"), anthropic.end()[1]],
    "text with an odd index": [*BEGUN, anthropic.event("content_block_delta", index="1", delta=BOTH), *anthropic.end()],
    "a delta without content": [*BEGUN, anthropic.event("content_block_delta", index=0)],
    "no events": [],
    "only a start": [anthropic.start()],
    "no line end at the end": [*anthropic.stream()[:-1], anthropic.event("message_stop").rstrip(b"\n")],
    "lines ended by CRLF": [event.replace(b"\n", b"\r\n") for event in anthropic.stream()],
    "comments": [b": hello\n\n", *anthropic.stream()],
}  # fmt: skip


@pytest.mark.parametrize("said", CLAUDES_STREAMS)
async def test_claudes_streams(said: str) -> None:
    async with FakeUpstream(sse_reply(CLAUDES_STREAMS[said])) as up:
        await same(up, of("anthropic", up), ASKED, stream=True)


@pytest.mark.parametrize("said", ["an error of status 200", "no JSON", "nothing at all", "thoughts"])
@pytest.mark.parametrize("family", ["anthropic", "gemini", "bedrock"])
async def test_a_stream_that_is_none(family: str, said: str) -> None:
    """A-12, A-38. Of Gemini litellm also reads lines that are no events; then it may say more, or begin a stream."""
    async with FakeUpstream(CLAUDE[said]) as up:
        directly, otherwise = await both(up, of(family, up), {"messages": MESSAGES, **ASKED}, stream=True)
        assert directly["failed"]
        assert otherwise["failed"]
        assert "events" not in directly
        assert directly == otherwise or family == "gemini"


def json_of_a_schema(request: Received) -> Reply:
    """An answer that uses the tool by which litellm asks older models for JSON."""
    [tool] = request.json()["tools"]
    if not request.json().get("stream"):
        return claude_said(
            {"type": "tool_use", "id": "t", "name": tool["name"], "input": {"day": "Monday"}}, reason="tool_use"
        )
    parts = typed("input_json_delta", "partial_json", '{"day"', ': "Monday"}')
    return sse_reply(blocks(({**USE, "name": tool["name"]}, parts), reason="tool_use"))


@pytest.mark.parametrize("stream", [False, True])
async def test_json_by_way_of_a_tool(stream: bool) -> None:
    async with FakeUpstream(json_of_a_schema) as up:
        deployed = of("anthropic", up, model="claude-3-haiku-20240307")
        found = await same(up, deployed, JSON_OF_A_SCHEMA, stream=stream)
        answer = found["events"][:-2] if stream else [found["body"]]
        assert "tool_calls" not in json.dumps(answer)


def gemini_said(*parts: Any, reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    said = gemini.body("", reason=reason)
    said["candidates"][0] |= {"content": {"parts": list(parts), "role": "model"}, **more}
    return said


CALL = {"functionCall": {"name": "weather", "args": {"city": "Bern"}}}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": PIXEL.partition(",")[2]}}
WEB: dict[str, Any] = {
    "groundingMetadata": {"webSearchQueries": ["x"], "groundingChunks": [{"web": {"uri": "https://x", "title": "x"}}]}
}
RATED: dict[str, Any] = {"safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}]}
CODE: list[dict[str, Any]] = [
    {"executableCode": {"language": "PYTHON", "code": "1+1"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
]
SPENT = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 11}
DETAILS = {"cachedContentTokenCount": 2, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}]}
GEMINI: dict[str, list[dict[str, Any]]] = {
    "two texts": [gemini_said({"text": "Good "}, {"text": "day."})],
    "a call": [gemini_said({"text": "Well."}, reason=None), gemini_said(CALL, CALL, reason=None), gemini_said()],
    "a call at once": [gemini_said(CALL)],
    "a thought": [
        gemini_said({"text": "Hm.", "thought": True}, reason=None),
        gemini_said({"text": "Day.", "thoughtSignature": "c2ln"}),
    ],
    "a signed call": [gemini_said(CALL | {"thoughtSignature": "c2ln"})],
    "MAX_TOKENS": [gemini_said({"text": "Good"}, reason=None), gemini_said({"text": " d"}, reason="MAX_TOKENS")],
    "SAFETY": [gemini_said({"text": "Good"}, reason=None), gemini_said(reason="SAFETY", **RATED)],
    "RECITATION": [gemini_said({"text": "Good"}, reason="RECITATION")],
    "MALFORMED_FUNCTION_CALL": [gemini_said(reason="MALFORMED_FUNCTION_CALL")],
    "a reason unheard of": [gemini_said({"text": "Good"}, reason="NOVEL")],
    "an image": [gemini_said({"text": "Look:"}, reason=None), gemini_said(IMAGE)],
    "grounding": [gemini_said({"text": "It rains."}, reason=None), gemini_said({"text": ""}, **WEB)],
    "ratings": [gemini_said({"text": "a"}, reason=None, **RATED), gemini_said({"text": "b"}, **RATED)],
    "code": [gemini_said(*CODE, {"text": "2"})],
    "usage last": [gemini_said({"text": "a"}), {"usageMetadata": SPENT | {"thoughtsTokenCount": 4}}],
    "usage in detail": [gemini_said({"text": "a"}) | {"usageMetadata": SPENT | DETAILS}],
    "usage in every chunk": [
        gemini_said({"text": "a"}, reason=None) | {"usageMetadata": usage}
        for usage in (
            SPENT | DETAILS,
            SPENT | {"thoughtsTokenCount": 4},
            SPENT | {"candidatesTokenCount": 5, "cachedContentTokenCount": 0},
            {"promptTokenCount": 6},
            SPENT | {"candidatesTokenCount": 0, "toolUsePromptTokenCount": 3},
            {"promptTokenCount": 0, "candidatesTokenCount": 9, "totalTokenCount": 9},
            {"totalTokenCount": 9},
        )
    ] + [gemini_said({"text": "b"}) | {"usageMetadata": {"promptTokenCount": 7, "trafficType": "ON_DEMAND"}}],
    "the same usage again": [gemini_said({"text": "a"}, reason=None)] * 9 + [gemini_said({"text": "b"})],
    "no count of the answer": [gemini_said({"text": "a b c"}) | {"usageMetadata": {"promptTokenCount": 5}}],
    "no candidate": [{"usageMetadata": {"promptTokenCount": 5}}],
    "an error": [
        gemini_said({"text": "a"}, reason=None),
        {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}},
    ],
    "an error at once": [{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}],
    "no reason": [gemini_said({"text": "a"}, reason=None)],
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", GEMINI)
async def test_geminis_answers(said: str, stream: bool) -> None:
    events = [f"data: {json.dumps(event)}\r\n\r\n".encode() for event in GEMINI[said]]
    async with FakeUpstream(sse_reply(events) if stream else json_reply(GEMINI[said][0])) as up:
        await same(up, of("gemini", up), ASKED, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_geminis_without_a_candidate_is_none(stream: bool) -> None:
    """Clients look at the first of `choices`; another try may have the answer."""
    said = GEMINI["no candidate"][0]
    events = [b"data: " + json.dumps(said).encode() + b"\r\n\r\n"]
    async with FakeUpstream(sse_reply(events) if stream else json_reply(said)) as up:
        failed = (await same(up, of("gemini", up), ASKED, stream=stream))["failed"]
        assert (failed["status"], failed["verdict"]) == (502, Verdict.RETRY)
        if not stream:
            assert failed["message"] == "The upstream's answer has no choice."


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_gemini_refuses(stream: bool) -> None:
    refused = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}
    async with FakeUpstream(sse_reply([gemini.blocked()]) if stream else json_reply(refused)) as up:
        await same(up, of("gemini", up), {}, stream=stream)


def nova_said(*content: dict[str, Any], reason: str = "end_turn", **usage: int) -> Reply:
    output = {"message": {"role": "assistant", "content": list(content)}}
    return json_reply(
        {"output": output, "stopReason": reason, "usage": bedrock.USAGE | usage, "metrics": {"latencyMs": 1}}
    )


TOOL_USE = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Bern"}}}
REASONED = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
BEDROCK: dict[str, Reply] = {
    "two texts": nova_said({"text": "Good "}, {"text": "day."}),
    "a tool": nova_said({"text": "Well."}, TOOL_USE, reason="tool_use"),
    "thoughts": nova_said(REASONED, {"text": "Good day."}),
    "max_tokens": nova_said({"text": "Good"}, reason="max_tokens"),
    "a guardrail": nova_said({"text": "No."}, reason="guardrail_intervened"),
    "cache": nova_said({"text": "a"}, cacheReadInputTokens=3, cacheWriteInputTokens=2),
    "nothing": nova_said(),
    "an empty object": json_reply({}),
    "no JSON": body_reply(b"<html>", content_type="text/html"),
}


@pytest.mark.parametrize("said", BEDROCK)
async def test_bedrocks_answers(said: str) -> None:
    async with FakeUpstream(BEDROCK[said]) as up:
        await same(up, of("bedrock", up), {})


def block(index: int, *deltas: dict[str, Any], start: dict[str, Any] | None = None) -> list[bytes]:
    begun = [bedrock.event("contentBlockStart", contentBlockIndex=index, start=start)] if start else []
    middle = [bedrock.event("contentBlockDelta", contentBlockIndex=index, delta=delta) for delta in deltas]
    return [*begun, *middle, bedrock.event("contentBlockStop", contentBlockIndex=index)]


BEDROCKS_STREAMS: dict[str, list[bytes]] = {
    "a tool": [
        bedrock.event("messageStart", role="assistant"),
        *block(0, {"text": "Well."}),
        *block(
            1, {"toolUse": {"input": '{"city"'}}, {"toolUse": {"input": ': "Bern"}'}},
            start={"toolUse": {"toolUseId": "t1", "name": "weather"}},
        ),
        bedrock.event("messageStop", stopReason="tool_use"),
        bedrock.event("metadata", usage=bedrock.USAGE, metrics={"latencyMs": 1}),
    ],
    "thoughts": [
        bedrock.event("messageStart", role="assistant"),
        *block(0, {"reasoningContent": {"text": "Hm."}}, {"reasoningContent": {"signature": "c2ln"}}),
        *block(1, {"text": "Good day."}),
        *bedrock.stream()[-2:],
    ],
    "no reason": bedrock.stream()[:-2],
    "half an event": [*bedrock.stream()[:3], bedrock.stream()[3][:20]],
    "no events": [],
    "garbage": [b"\x00" * 64],
}  # fmt: skip


@pytest.mark.parametrize("said", BEDROCKS_STREAMS)
async def test_bedrocks_streams(said: str) -> None:
    async with FakeUpstream(bedrock.streamed(BEDROCKS_STREAMS[said])) as up:
        await same(up, of("bedrock", up), ASKED, stream=True)


COHERE: dict[str, Any] = {
    "a tool": {"message": {"tool_plan": "Ask.", "tool_calls": [CALLED]}, "finish_reason": "TOOL_CALL"},
    "max_tokens": {"message": {"content": [{"type": "text", "text": "Good"}]}, "finish_reason": "MAX_TOKENS"},
    "no content": {"message": {"role": "assistant"}, "finish_reason": "COMPLETE"},
    "no message": {"finish_reason": "ERROR"},
}  # fmt: skip


@pytest.mark.parametrize("said", COHERE)
async def test_coheres_answers(said: str) -> None:
    async with FakeUpstream(json_reply({"id": "c1", "usage": cohere.USAGE, **COHERE[said]})) as up:
        await same(up, of("cohere_chat", up), {})
