"""What goes wrong between litellm and a provider, as the plan and the client see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.errors import FallbackKind, GatewayError, Verdict
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.litellm.bridge import Exchange, Pools
from gatewayd.upstream.litellm.errors import translated
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FIN, HANG, RST, FakeUpstream, Reply, body_reply, json_reply, raw_reply, sse_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini
from tests.upstream.doubles import KEY, LONG, SILENT, STALLED, call, deployment
from tests.upstream.litellm.direct_and_litellm import of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, WAYS, translating
from tests.upstream.sinks import ListSink

pytestmark = KNOWN_WARNINGS
LIMITED = [("Retry-After", "7")]
TOO_LONG = "prompt is too long: 300000 tokens > 200000 maximum"


async def failure(up: FakeUpstream, *, timeouts: Timeouts = LONG, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await translating(up).open(call({"messages": MESSAGES, **fields}, timeouts=timeouts))
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (anthropic.error(429, "rate_limit_error", "slow down", LIMITED), (429, "upstream_rate_limited", "RETRY", True)),
        (anthropic.error(529, "overloaded_error", "Overloaded"), (529, "upstream_error", "RETRY", True)),
        (anthropic.error(500, "api_error", "boom"), (500, "upstream_error", "RETRY", True)),
        (anthropic.error(503, "api_error", "boom"), (503, "upstream_error", "RETRY", True)),
        (anthropic.error(400, "invalid_request_error", "no such field"), (400, "upstream_error", "FATAL", False)),
        (anthropic.error(413, "request_too_large", "big"), (413, "upstream_error", "FATAL", False)),
        (anthropic.error(404, "not_found_error", "model: x"), (404, "upstream_error", "ELSEWHERE", True)),
        (anthropic.error(401, "authentication_error", "bad"), (502, "upstream_auth_error", "ELSEWHERE", True)),
        (anthropic.error(403, "permission_error", "no"), (502, "upstream_auth_error", "ELSEWHERE", True)),
        (raw_reply(RST), (502, "upstream_connection_error", "RETRY", True)),
        (raw_reply(FIN), (502, "upstream_connection_error", "RETRY", True)),
        (raw_reply(HANG), (504, "upstream_timeout", "RETRY", True)),
        (raw_reply(b"garbage\r\n\r\n", close=True), (502, "upstream_bad_response", "RETRY", True)),
    ],
)
async def test_an_answer_that_is_an_error(reply: Reply, expected: Any, stream: bool) -> None:
    """A-18, A-26, A-28, A-29, A-31, A-38. One request each: litellm retries nothing."""
    async with FakeUpstream(reply) as up:
        error = await failure(up, stream=stream, timeouts=SILENT if expected[0] == 504 else LONG)
        assert (error.status, error.code, error.verdict.name, error.blames_deployment) == expected
        assert error.retry_after == (7.0 if error.status == 429 else None)
        assert len(up.requests) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (body_reply(b"<html>Log in</html>", content_type="text/html"), "upstream_bad_response"),
        (json_reply({}), "upstream_bad_response"),
        (json_reply({"error": {"message": "odd"}}), "upstream_error"),
        (body_reply(b"", content_type="application/json"), "upstream_bad_response"),
    ],
)
async def test_an_answer_that_is_none(reply: Reply, code: str) -> None:
    """A-38: the snippet is not echoed."""
    async with FakeUpstream(reply) as up:
        error = await failure(up)
        assert (error.code, error.verdict) == (code, Verdict.RETRY)
        assert "Log in" not in error.message
        streamed = await failure(up, stream=True)
        assert (streamed.code, streamed.verdict) == (code, Verdict.RETRY)


async def test_a_redirect_is_not_followed() -> None:
    """A-34, F7."""
    async with FakeUpstream() as canary:
        away = anthropic.error(307, "moved", "away", [("Location", canary.base_url)])
        async with FakeUpstream(away) as up:
            error = await failure(up)
            assert (error.code, error.verdict) == ("upstream_redirect", Verdict.ELSEWHERE)
        assert not canary.requests


async def test_nobody_listening() -> None:
    async with FakeUpstream() as up:
        pass
    error = await failure(up)
    assert (error.status, error.code) == (502, "upstream_connection_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_litellm_knows_a_context_window_when_it_sees_one(stream: bool) -> None:
    async with FakeUpstream(anthropic.error(400, "invalid_request_error", TOO_LONG)) as up:
        error = await failure(up, stream=stream)
    assert (error.fallback, error.verdict) == (FallbackKind.CONTEXT_WINDOW, Verdict.NEXT_GROUP)
    assert (error.status, error.code, error.message) == (400, "context_length_exceeded", TOO_LONG)
    assert not error.blames_deployment


async def test_messages_hold_neither_keys_nor_addresses_nor_tracebacks() -> None:
    """F8."""
    async with FakeUpstream(anthropic.error(400, "invalid_request_error", f"see https://h/x?key=1 and {KEY}")) as up:
        assert (await failure(up)).message == "The upstream answered 400."
        up.then(anthropic.error(400, "invalid_request_error", "see https://h/x?key=1"))
        assert (await failure(up)).message == "see (address)"
        up.then(json_reply({"type": "message"}))
        message = (await failure(up)).message
    assert "Traceback" not in message
    assert "litellm" not in message


async def test_no_secret_is_in_the_chain_of_exceptions() -> None:
    async with FakeUpstream(anthropic.error(401, "authentication_error", f"invalid x-api-key {KEY}")) as up:
        error = await failure(up)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in repr(error)


@pytest.mark.parametrize(
    ("events", "framing", "written", "code"),
    [
        ([anthropic.start(), anthropic.delta("a"), FIN], "chunked", 1, "upstream_incomplete"),
        ([anthropic.start(), anthropic.delta("a"), RST], "chunked", 1, "upstream_incomplete"),
        ([anthropic.start(), anthropic.delta("a"), FIN], "close", 1, "upstream_incomplete"),
        ([anthropic.start(), anthropic.delta("a")], "length", 1, "upstream_incomplete"),
        ([anthropic.start(), anthropic.delta("a"), HANG], "chunked", 1, "upstream_idle_timeout"),
        ([anthropic.start(), anthropic.delta("a"), anthropic.error_event()], "length", 1, "upstream_error"),
        ([anthropic.start(), anthropic.delta("a"), b"data: {broken\n\n"], "length", 1, "upstream_incomplete"),
    ],
)
async def test_a_stream_that_breaks(events: list[Any], framing: str, written: int, code: str) -> None:
    """A-01, A-02, A-03, A-04, A-09, A-13, A-19; F6: however it ends, litellm gives it a finish reason."""
    reply = sse_reply(events, framing=framing, finish=False)
    async with FakeUpstream(reply) as up:
        stream = await translating(up).open(
            call(messages=MESSAGES, stream=True, timeouts=STALLED if HANG in events else LONG)
        )
        sink = ListSink()
        with pytest.raises(GatewayError) as caught:
            await stream.pipe(sink)
        stream.close()
        assert caught.value.code == code
        assert len(sink.writes) == written
        assert b"[DONE]" not in sink.data
        assert b'"finish_reason":"stop"' not in sink.data


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (sse_reply([anthropic.error_event()]), 529, "upstream_error"),
        (sse_reply([]), 502, "upstream_incomplete"),
        (sse_reply([anthropic.start(), *anthropic.end()[:0]]), 502, "upstream_incomplete"),
        (sse_reply([anthropic.start(), *[anthropic.event("ping")] * 3, HANG], finish=False), 504, "upstream_timeout"),
    ],
)
async def test_a_stream_without_a_good_first_event(reply: Reply, status: int, code: str) -> None:
    """A-08, A-12: another deployment may be tried. Pings are no event."""
    async with FakeUpstream(reply) as up:
        error = await failure(up, stream=True, timeouts=SILENT if status == 504 else LONG)
        assert (error.status, error.code, error.verdict) == (status, code, Verdict.RETRY)


def claude_broke(kind: str, message: str) -> list[bytes]:
    return [anthropic.start(), anthropic.delta("a"), anthropic.error_event(kind, message)]


def gemini_broke(code: int, message: str) -> list[bytes]:
    error = {"error": {"code": code, "message": message, "status": "X"}}
    return [gemini.chunk("a"), b"data: " + json.dumps(error).encode() + b"\r\n\r\n"]


def bedrock_broke(kind: str, message: str) -> list[bytes]:
    return [*bedrock.stream()[:2], bedrock.exception(kind, message)]


BROKE: list[tuple[str, list[bytes], tuple[int, str, str]]] = [
    ("anthropic", claude_broke("overloaded_error", "Overloaded"), (529, "upstream_error", "Overloaded")),
    ("anthropic", claude_broke("rate_limit_error", "Slow down."), (429, "upstream_rate_limited", "Slow down.")),
    (
        "anthropic",
        claude_broke("api_error", f"I know {KEY}"),
        (502, "upstream_error", "The upstream answered 200 with an error."),
    ),
    ("anthropic", claude_broke("api_error", "See http://x/?k=1"), (502, "upstream_error", "See (address)")),
    ("gemini", gemini_broke(429, "Exhausted."), (429, "upstream_rate_limited", "Exhausted.")),
    ("gemini", gemini_broke(503, "The model is busy."), (503, "upstream_error", "The model is busy.")),
    (
        "gemini",
        gemini_broke(403, "No."),
        (502, "upstream_auth_error", "The upstream rejected the gateway's credentials."),
    ),
    (
        "bedrock",
        bedrock_broke("throttlingException", "Slow down."),
        (429, "upstream_rate_limited", "The upstream answered 200 with an error: Slow down."),
    ),
    (
        "bedrock",
        bedrock_broke("modelStreamErrorException", "Odd."),
        (502, "upstream_error", "The upstream answered 200 with an error: Odd."),
    ),
    (
        "bedrock",
        bedrock_broke("validationException", "Input is too long for requested model."),
        (
            400,
            "context_length_exceeded",
            "The upstream answered 200 with an error: Input is too long for requested model.",
        ),
    ),
]


@WAYS
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(("family", "pieces", "expected"), BROKE)
async def test_a_stream_that_breaks_off_with_an_error_says_which(
    family: str, pieces: list[bytes], expected: tuple[int, str, str], begun: bool, direct: bool
) -> None:
    """A-08, A-09"""
    pieces = pieces if begun else pieces[-1:]
    async with FakeUpstream(bedrock.streamed(pieces) if family == "bedrock" else sse_reply(pieces)) as up:
        upstream, sink = TranslateUpstream(of(family, up), direct=direct), ListSink()
        failed: GatewayError | None = None
        try:
            await (await upstream.open(call(messages=MESSAGES, stream=True))).pipe(sink)
        except GatewayError as error:
            failed = error
        assert failed is not None
        assert (failed.status, failed.code, failed.message) == expected
        assert bool(sink.data) is begun
        await upstream.aclose()


@pytest.mark.parametrize("family", ["gemini", "cohere", "bedrock"])
async def test_other_wires_streams_that_are_cut(family: str) -> None:
    """F6. The HTTP message ends properly, the answer does not."""
    async with FakeUpstream() as up:
        provider, model, api_base, reply = {
            "gemini": ("gemini", "gemini-x", gemini.base_url(up), sse_reply([gemini.chunk("Good ")])),
            "cohere": ("cohere_chat", "command-x", cohere.chat_url(up), sse_reply(cohere.stream()[:3])),
            "bedrock": ("bedrock", "converse/x", bedrock.base_url(up), bedrock.streamed(bedrock.stream()[:2])),
        }[family]
        cloud: dict[str, Any] = {"aws_access_key_id": "a", "aws_secret_access_key": "s", "aws_region_name": "us-east-1"}
        options = {"api_key": None, "litellm_params": cloud} if family == "bedrock" else {}
        up.then(reply)
        upstream = TranslateUpstream(deployment(api_base, kind="translate", provider=provider, model=model, **options))
        stream = await upstream.open(call(messages=MESSAGES, stream=True))
        with pytest.raises(GatewayError) as caught:
            await stream.pipe(ListSink())
        stream.close()
        assert caught.value.code == "upstream_incomplete"


async def test_a_refused_prompt_of_gemini_is_a_whole_stream() -> None:
    async with FakeUpstream(sse_reply([gemini.blocked()])) as up:
        upstream = TranslateUpstream(deployment(gemini.base_url(up), kind="translate", provider="gemini", model="g"))
        stream = await upstream.open(call(messages=MESSAGES, stream=True))
        sink = ListSink()
        await stream.pipe(sink)
        assert b'"finish_reason":"content_filter"' in sink.data


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"n": 3}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "no such type"}]}]}, None),
        ({"messages": [{"role": "user", "content": 5}]}, None),
        ({"response_format": {"type": "json_schema"}}, None),
    ],
)
async def test_what_a_provider_cannot_be_asked(fields: Any, param: str | None) -> None:
    """Another deployment may be able to, and no caller can make this one look ill."""
    async with FakeUpstream(anthropic.answer) as up:
        error = await failure(up, **fields)
        assert (error.status, error.code, error.param) == (400, "invalid_request", param)
        assert (error.verdict, error.blames_deployment) == (Verdict.ELSEWHERE, False)
        assert not up.requests


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]"])
async def test_no_image_is_fetched_from_inside(host: str) -> None:
    """A caller names an address; it would be fetched from where the gateway is."""
    async with FakeUpstream(gemini.answer) as up:
        upstream = TranslateUpstream(of("gemini", up), fetcher=Fetcher(http=True))
        image = {"type": "image_url", "image_url": {"url": f"http://{host}:{up.port}/secret.png"}}
        with pytest.raises(GatewayError) as caught:
            await upstream.open(call(messages=[{"role": "user", "content": [image]}]))
        assert (caught.value.status, caught.value.verdict) == (400, Verdict.ELSEWHERE)
        assert "the gateway could not fetch it: it could not be read." in caught.value.message
        assert not up.requests


@pytest.mark.parametrize(
    ("endpoint", "fields", "param", "what"),
    [
        ("embeddings", {"input": "x", "user": "u"}, "user", "'user'"),
        ("chat/completions", {"messages": MESSAGES, "logit_bias": {}}, "logit_bias", "'logit_bias'"),
        (
            "chat/completions",
            {"messages": MESSAGES, "reasoning_effort": "utmost"},
            "reasoning_effort",
            "this value of 'reasoning_effort'",
        ),
    ],
)
async def test_what_a_provider_does_not_take_is_named(endpoint: str, fields: Any, param: str, what: str) -> None:
    async with FakeUpstream(gemini.answer) as up:
        upstream = TranslateUpstream(of("gemini", up))
        with pytest.raises(GatewayError) as caught:
            await upstream.open(call(fields, endpoint=endpoint))
        hint = "with 'drop_params' the gateway leaves it out."
        assert (caught.value.param, caught.value.message) == (param, f"gemini does not accept {what}; {hint}")


async def test_with_drop_params_it_is_asked_without() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        reply = await translating(up, drop_params=True).open(call(messages=MESSAGES, n=3, tools=[TOOL]))
        assert reply.status == 200
        assert "n" not in up.requests[0].json()


@pytest.mark.parametrize("endpoint", ["embeddings", "images/generations"])
async def test_an_endpoint_that_the_provider_does_not_have(endpoint: str) -> None:
    async with FakeUpstream(anthropic.answer) as up:
        with pytest.raises(GatewayError) as caught:
            await translating(up).open(call(endpoint=endpoint, input="x"))
        assert (caught.value.status, caught.value.code) == (400, "endpoint_not_supported")
        assert not up.requests


class AuthenticationError(Exception):
    pass


class Timeout(Exception):
    pass


class BadRequestError(Exception):
    pass


class ContentPolicyViolationError(BadRequestError):
    pass


class NoCredentialsError(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "package"),
    [("boto3", "boto3"), ("botocore.auth", "boto3"), ("google", "google-auth"), ("google.auth", "google-auth")],
)
def test_a_package_that_is_missing_is_called_as_it_is_installed(module: str, package: str) -> None:
    exchange = Exchange(Pools(), Timeouts(1.0, 1.0, 1.0, 1.0))
    found = translated(ModuleNotFoundError(name=module), exchange, "some_provider", Secrets())
    assert found.message == f"The provider needs the Python package '{package}', which is not installed."


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (AuthenticationError(), 0, "upstream_auth_error"),
        (NoCredentialsError(), 0, "upstream_auth_error"),
        (Timeout(), 0, "upstream_timeout"),
        (ConnectionResetError(), 0, "upstream_connection_error"),
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), 0, "upstream_bad_response"),
        (BadRequestError(), 0, "invalid_request"),
        (AuthenticationError(), 200, "upstream_auth_error"),
        (Timeout(), 200, "upstream_timeout"),
        (ContentPolicyViolationError(), 200, "content_policy_violation"),
        (ContentPolicyViolationError(), 400, "content_policy_violation"),
        (BadRequestError(), 200, "upstream_bad_response"),  # U-B1
        (KeyError("content"), 200, "upstream_bad_response"),
    ],
)
async def test_litellms_word_where_the_exchange_has_none(error: Exception, status: int, expected: str) -> None:
    exchange = Exchange(Pools(), Timeouts(1.0, 1.0, 1.0, 1.0), status=status)
    found = translated(error, exchange, "some_provider", Secrets())
    assert found.code == expected
    if isinstance(error, ModuleNotFoundError):
        assert "'boto3'" in found.message
    if status == 0:
        assert not found.blames_deployment
