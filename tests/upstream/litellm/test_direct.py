"""What comes of a call does not depend on the way it takes: field by field the same request, answer, stream or error.

A litellm that changes something on one of the two ways is seen here.
"""

from __future__ import annotations

import contextlib
import gzip
from typing import Any

import pytest

from gatewayd.errors import GatewayError, UpstreamAuth, UpstreamConnection, UpstreamStatus
from gatewayd.secret import Secret
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FIN, HANG, RST, FakeUpstream, Reply, Step, body_reply, json_reply, raw_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini, vertex
from tests.upstream.doubles import KEY, LONG, SILENT, STALLED, call
from tests.upstream.litellm.direct_and_litellm import (
    CALLED,
    JSON_OF_A_SCHEMA,
    PIXEL,
    both,
    claude_body,
    of,
    same,
    signed_in,
    went_directly,
)
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL

pytestmark = KNOWN_WARNINGS

STAND_INS = {"anthropic": anthropic, "gemini": gemini, "bedrock": bedrock, "cohere_chat": cohere}
STREAMING = ["anthropic", "gemini", "bedrock"]
SCHEMA = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
    "additionalProperties": False,
}
CONVERSATION = [
    *MESSAGES,
    {"role": "assistant", "content": None, "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "tomorrow?"}]},
]
THOUGHTFUL = {
    "role": "assistant",
    "content": "Rain.",
    "reasoning_content": "Hm.",
    "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}],
    "provider_specific_fields": {"citations": None},
}
DUMPED: dict[str, Any] = {
    "role": "assistant", "content": "Rain.", "refusal": None, "annotations": [], "audio": None, "function_call": None,
    "tool_calls": None,
}  # fmt: skip
TEXT = {"type": "text", "text": "Be kind."}
FUNCTION: Any = TOOL["function"]
NESTED = {
    "type": "object",
    "$defs": {"Day": {"type": "string", "enum": ["Monday", "Tuesday"]}},
    "properties": {"days": {"type": "array", "items": {"$ref": "#/$defs/Day"}}, "no": {"type": ["integer", "null"]}},
    "additionalProperties": False,
}

ASKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "two system messages": {"messages": [{"role": "system", "content": "Be brief."}, *MESSAGES]},
    "a developer": {"messages": [{"role": "developer", "content": "Be brief."}, MESSAGES[1]]},
    "only a system message": {"messages": MESSAGES[:1]},
    "an assistant to go on": {"messages": [*MESSAGES, {"role": "assistant", "content": "Good "}]},
    "Unicode": {"messages": [{"role": "user", "content": "“Grüezi”\u2028\U0001f600"}]},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "max_tokens": 17},
    "max_completion_tokens": {"max_completion_tokens": 17},
    "one stop": {"stop": "END"},
    "two stops": {"stop": ["END", "FIN"]},
    "a user": {"user": "u-1"},
    "a tool": {"tools": [TOOL]},
    "any tool": {"tools": [TOOL], "tool_choice": "required"},
    "no tool": {"tools": [TOOL], "tool_choice": "none"},
    "this tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "one tool at a time": {"tools": [TOOL], "parallel_tool_calls": False},
    "a tool's result": {"messages": CONVERSATION, "tools": [TOOL]},
    "thoughts of before": {"messages": [MESSAGES[1], THOUGHTFUL, {"role": "user", "content": "Why?"}]},
    "what a client makes of an answer": {"messages": [MESSAGES[1], DUMPED, {"role": "user", "content": "Why?"}]},
    "what a client makes of an answer of Gemini's": {
        "messages": [MESSAGES[1], {**DUMPED, "images": [], "thinking_blocks": []}, {"role": "user", "content": "Why?"}]
    },
    "a tool's result in parts": {
        "messages": [*CONVERSATION[:3], CONVERSATION[3] | {"content": [{"type": "text", "text": "rain"}]}],
        "tools": [TOOL],
    },
    "an odd name of a tool": {"tools": [{**TOOL, "function": FUNCTION | {"name": "weather.of/city"}}]},
    "a strict tool": {"tools": [{**TOOL, "function": FUNCTION | {"strict": True, "parameters": NESTED}}]},
    "a tool without parameters": {"tools": [{"type": "function", "function": {"name": "now"}}]},
    "an e-mail for a user": {"user": "ada@example.org"},
    "fields that are nothing": {"temperature": None, "tools": None, "stop": None, "n": 1, "logprobs": False},
    "fields of others": {"seed": 1, "frequency_penalty": 0.1, "top_k": 5, "service_tier": "auto", "verbosity": "low"},
    "system in parts": {"messages": [{"role": "system", "content": [TEXT, TEXT]}, MESSAGES[1]]},
    "names": {"messages": [{"role": "user", "name": "Ada", "content": "Hello"}]},
    "an image": {
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        ]}]
    },
    "JSON": {"response_format": {"type": "json_object"}},
    "JSON of a schema": JSON_OF_A_SCHEMA,
    "effort": {"reasoning_effort": "low", "max_tokens": 9000},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 9000},
    "metadata of OpenAI's": {"metadata": {"a": "b"}, "store": True},
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("family", STAND_INS)
async def test_whole_answers(family: str, asked: str) -> None:
    async with FakeUpstream(STAND_INS[family].answer) as up:
        await same(up, of(family, up, drop_params=True), ASKED[asked])


@pytest.mark.parametrize(
    ("family", "asked"),
    [(family, asked) for family in STREAMING for asked in ASKED if (family, asked) != ("bedrock", "JSON of a schema")],
)
async def test_streams(family: str, asked: str) -> None:
    async with FakeUpstream(STAND_INS[family].answer) as up:
        options = {"include_usage": True}
        await same(up, of(family, up, drop_params=True), ASKED[asked], stream=True, stream_options=options)


# --- what goes wrong

LIMITED = [("Retry-After", "7")]
ERRORS: dict[str, Reply] = {
    "429": anthropic.error(429, "rate_limit_error", "slow down", LIMITED),
    "529": anthropic.error(529, "overloaded_error", "Overloaded"),
    "500": anthropic.error(500, "api_error", "boom"),
    "503": anthropic.error(503, "api_error", "boom"),
    "400": anthropic.error(400, "invalid_request_error", "no such field"),
    "400 with a key in it": anthropic.error(400, "invalid_request_error", f"I know {KEY}, aws-secret-canary"),
    "400 with an address in it": anthropic.error(400, "invalid_request_error", "see https://h/x?key=1"),
    "too long": anthropic.error(400, "invalid_request_error", "prompt is too long: 300000 tokens > 200000 maximum"),
    "not allowed": anthropic.error(400, "invalid_request_error", "Output blocked by content filtering policy"),
    "402": anthropic.error(402, "billing_error", "no credit"),
    "404": anthropic.error(404, "not_found_error", "model: x"),
    "408": anthropic.error(408, "timeout_error", "late"),
    "413": anthropic.error(413, "request_too_large", "big"),
    "422": anthropic.error(422, "invalid_request_error", "odd"),
    "401": anthropic.error(401, "authentication_error", "bad"),
    "403": anthropic.error(403, "permission_error", "no"),
    "307": anthropic.error(307, "moved", "away", [("Location", "http://elsewhere/")]),
    "gemini's 400": gemini.error(
        400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."
    ),
    "gemini's 429": gemini.error(429, "RESOURCE_EXHAUSTED", "Quota exceeded."),
    "bedrock's 400": json_reply({"message": "Input is too long for requested model."}, status=400),
    "bedrock's 429": json_reply({"message": "Too many requests"}, status=429),
    "text": body_reply(b"upstream connect error", status=503, content_type="text/plain"),
    "no body": body_reply(b"", status=500),
    "RST": raw_reply(RST),
    "FIN": raw_reply(FIN),
    "HANG": raw_reply(HANG),
    "garbage": raw_reply(b"garbage\r\n\r\n", close=True),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("family", STREAMING)
async def test_errors(family: str, error: str, stream: bool) -> None:
    """What each of them has to become is in test_errors."""
    async with FakeUpstream(ERRORS[error]) as up:
        found = await same(up, of(family, up), {}, stream=stream, timeouts=SILENT if error == "HANG" else LONG)
        assert found["failed"]
        assert ("aws-secret-canary" if family == "bedrock" else KEY) not in str(found["failed"])
        assert len(found["asked"]) == 1


@pytest.mark.parametrize("error", ["429", "400", "401", "no body", "RST"])
async def test_coheres_errors(error: str) -> None:
    async with FakeUpstream(ERRORS[error]) as up:
        assert (await same(up, of("cohere_chat", up), {}))["failed"]


BEGUN: list[Step] = [anthropic.start(), anthropic.delta("a")]


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize(
    ("events", "by"),
    [(events, by) for events in (BEGUN, [*BEGUN, *anthropic.end()[:1]]) for by in (FIN, RST, HANG)]
    + [(events, by) for events in (BEGUN[:1], []) for by in (FIN, RST)],  # silence is told more exactly directly
)
async def test_streams_that_are_cut(events: list[Step], by: Step, framing: str) -> None:
    """A-01, A-02, A-03, A-12: only the provider's reason to end makes a stream whole."""
    whole = len(events) > len(BEGUN)
    async with FakeUpstream(anthropic.cut(events, framing=framing, by=by)) as up:
        found = await same(up, of("anthropic", up), {}, stream=True, timeouts=STALLED if by is HANG else LONG)
        assert found.get("ended", False) is whole
        assert (found["failed"] is None) is whole


@pytest.mark.parametrize("by", [FIN, RST])
async def test_whole_answers_that_are_cut(by: Step) -> None:
    """A-04."""
    body = b'{"id": "m", "type": "message"'
    begun = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n"
    async with FakeUpstream(raw_reply(begun + body, by)) as up:
        assert (await same(up, of("anthropic", up), {}))["failed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": {"1": 2}},
        {"n": 3},
        {"tool_choice": {"type": "odd"}, "tools": [TOOL]},
        {"response_format": {"type": "json_schema"}},
        {"temperature": "hot"},
        {"messages": [{"role": "odd", "content": "x"}]},
    ],
)
async def test_what_cannot_be_asked(fields: dict[str, Any]) -> None:
    """Nothing has been sent when litellm refuses, so `acompletion` has the last word."""
    async with FakeUpstream(anthropic.answer) as up:
        directly, otherwise = await both(up, of("anthropic", up), {"messages": MESSAGES, **fields}, may_differ=True)
        assert directly == otherwise


# --- what is configured


async def test_headers_and_fields_of_the_operators() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        deployed = of(
            "anthropic",
            up,
            params={"max_tokens": 5, "temperature": 0.1},
            extra_body={"container": "c", "top_k": 3},
            extra_headers={"x-tenant": Secret("blue"), "anthropic-beta": Secret("context-1m-2025-08-07")},
            additional_drop_params=("temperature",),
        )
        found = await same(up, deployed, {"user": "u"}, headers=[("anthropic-beta", "x"), ("traceparent", "t")])
        [(_, _, headers, body)] = found["asked"]
        assert (headers["x-tenant"], body["top_k"], body["max_tokens"]) == ("blue", 3, 5)
        assert "temperature" not in body


@pytest.mark.parametrize("family", ["gemini", "cohere_chat", "bedrock"])
async def test_extra_body(family: str) -> None:
    async with FakeUpstream(STAND_INS[family].answer) as up:
        await same(up, of(family, up, extra_body={"top_k": 3}), {})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", ["plain", "a tool", "a tool's result", "an image", "JSON of a schema"])
async def test_vertex(asked: str, stream: bool) -> None:
    async with FakeUpstream(vertex.answer) as up:
        found = await same(up, await signed_in(up), ASKED[asked], stream=stream)
        [(_, target, headers, _)] = found["asked"]
        assert target.endswith(
            "/models/gemini-2.5-flash:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
        )
        assert headers["authorization"] == f"Bearer {vertex.TOKEN}"


INVALID = json_reply({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400)


@pytest.mark.parametrize(
    ("said", "expected", "text"),
    [
        (INVALID, UpstreamAuth, "The gateway has no credentials for the upstream."),
        (raw_reply(RST), UpstreamConnection, "No connection to the upstream: Connection reset by peer."),
    ],
)
async def test_a_token_that_google_does_not_give(said: Reply, expected: type[GatewayError], text: str) -> None:
    """Fetching it is litellm's work, and so is what is said when there is none."""
    async with FakeUpstream(said) as up:
        with pytest.raises(expected) as caught:
            await TranslateUpstream(of("vertex_ai", up)).open(call(messages=MESSAGES))
        assert {request.path for request in up.requests} == {"/token"}
        assert caught.value.message == text


NAMES = [
    "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "eu-west-1/anthropic.claude-3-haiku-20240307-v1:0",
    "us.amazon.nova-lite-v1:0",
    "arn:aws:bedrock:us-east-1:1234567890:application-inference-profile/abc",
    "converse/arn:aws:bedrock:us-east-1:1234567890:application-inference-profile/abc",
]


@pytest.mark.parametrize("name", NAMES)
async def test_models_that_bedrock_converses_with(name: str) -> None:
    async with FakeUpstream(bedrock.answer) as up:
        assert "body" in await same(up, of("bedrock", up, model=name), {})


@pytest.mark.parametrize("stream", [False, True])
async def test_bedrock_with_a_key_of_its_own(stream: bool) -> None:
    async with FakeUpstream(bedrock.answer) as up:
        deployed = of("bedrock", up, api_key=Secret(KEY), litellm_params={"aws_region_name": "us-east-1"})
        found = await same(up, deployed, {}, stream=stream)
        [(_, _, headers, _)] = found["asked"]
        assert headers["authorization"] == f"Bearer {KEY}"


async def test_models_that_bedrock_invokes_go_the_other_way() -> None:
    async with FakeUpstream(bedrock.answer) as up:
        upstream = TranslateUpstream(of("bedrock", up, model="cohere.command-text-v14"))
        with contextlib.suppress(GatewayError):  # the stand-in does not know them
            await upstream.open(call(messages=MESSAGES))
        [request] = up.requests
        assert request.path.endswith("/invoke")
        assert not went_directly(request)


@pytest.mark.parametrize("stream", [False, True])
async def test_text_completions(stream: bool) -> None:
    async with FakeUpstream(anthropic.answer) as up:
        directly, otherwise = await both(up, of("anthropic", up), {}, endpoint="completions", prompt="x", stream=stream)
        assert directly == otherwise


@pytest.mark.parametrize("usage", [{}, {"stream_options": {"include_usage": True}}, {"stream_options": None}])
async def test_usage_is_told_to_those_who_asked(usage: dict[str, Any]) -> None:
    async with FakeUpstream(anthropic.answer) as up:
        found = await same(up, of("anthropic", up), usage, stream=True)
        assert found["usage"].total_tokens == 18
        assert any("usage" in event for event in found["events"][:-1]) is bool(usage.get("stream_options"))


PACKED = gzip.compress(claude_body({"type": "text", "text": "Good day."}))


async def test_compressed_answers() -> None:
    """A-07: nobody asked for it."""
    async with FakeUpstream(body_reply(PACKED, headers=[("content-encoding", "gzip")])) as up:
        found = await same(up, of("anthropic", up), {})
        assert found["body"]["choices"][0]["message"]["content"] == "Good day."


@pytest.mark.parametrize(
    ("packed", "coding"), [(PACKED[:-9], "gzip"), (PACKED, "br"), (gzip.compress(b"[" * (65 << 20)), "gzip")]
)
async def test_compressed_answers_that_cannot_be_read(packed: bytes, coding: str) -> None:
    """A-07: a part of one, an unknown coding, and one of 64 KB that would fill 65 MB."""
    reply = body_reply(packed, headers=[("content-encoding", coding)], content_type="application/json")
    async with FakeUpstream(reply) as up:
        directly, otherwise = await both(up, of("anthropic", up), {"messages": MESSAGES})
        for found in (directly, otherwise):
            assert found["failed"]["message"].startswith("The upstream's answer cannot be read: ")
            assert found["failed"]["class"] == "UpstreamBadResponse"


async def test_compressed_errors() -> None:
    said = gzip.compress(b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no such field"}}')
    packed = [body_reply(body, status=400, headers=[("content-encoding", "gzip")]) for body in (said, said[:-9])]
    async with FakeUpstream(*packed) as up:
        upstream = TranslateUpstream(of("anthropic", up))
        for expected in ("no such field", "400"):
            with pytest.raises(UpstreamStatus, match=expected) as caught:
                await upstream.open(call(messages=MESSAGES))
            assert caught.value.status == 400
