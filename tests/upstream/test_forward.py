"""Forwarding, from the call to the whole answer, against a scripted upstream on a socket."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from gatewayd._version import __version__
from gatewayd.errors import (
    ConfigurationError,
    FallbackKind,
    GatewayError,
    UpstreamBadResponse,
    UpstreamConnection,
    UpstreamIncomplete,
    UpstreamRedirect,
    UpstreamStatus,
    UpstreamTimeout,
)
from gatewayd.secret import Secret
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.wire.openai import Usage
from tests.fakeup import (
    FIN,
    HANG,
    RST,
    FakeUpstream,
    Reply,
    body_reply,
    error_reply,
    head,
    json_reply,
    raw_reply,
    split,
)
from tests.upstream.doubles import KEY, call, deployment
from tests.upstream.forwarding import ANSWER, forwarding, refusal


async def test_a_request_and_its_answer() -> None:
    async with forwarding(json_reply(ANSWER, headers=[("x-request-id", "req_9"), ("set-cookie", "a=b")])) as (
        up,
        forward,
    ):
        reply = await forward.open(call({"messages": [], "n": 1.50}, headers=[("openai-beta", "x=1")]))
        assert reply.status == 200
        assert reply.body == json.dumps(ANSWER, separators=(",", ":")).encode()
        assert reply.headers == [("content-type", "application/json"), ("x-upstream-request-id", "req_9")]
        assert reply.usage == Usage(5, 7, 12)
        reply.close()
        request = up.requests[0]
        assert (request.method, request.target) == ("POST", "/v1/chat/completions")
        assert request.body == b'{"model":"gpt-real","messages":[],"n":1.5}'
        assert request.headers == {
            "host": f"127.0.0.1:{up.port}",
            "user-agent": f"gatewayd/{__version__}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "authorization": f"Bearer {KEY}",
            "openai-beta": "x=1",
            "content-length": str(len(request.body)),
        }


async def test_configured_headers_win_over_the_clients() -> None:
    """D-05, D-06: no cookie of an answer comes back, no client header replaces a configured one."""
    config = {"organization": "org-1", "extra_headers": {"openai-beta": Secret("ours"), "x-title": Secret("gw")}}
    async with forwarding(json_reply(ANSWER, headers=[("Set-Cookie", "tenant=a")]), **config) as (up, forward):
        for _ in range(2):
            await forward.open(call(headers=[("openai-beta", "theirs"), ("traceparent", "00-1")]))
        headers = up.requests[1].headers
        assert headers["openai-beta"] == "ours"
        assert headers["openai-organization"] == "org-1"
        assert headers["x-title"] == "gw"
        assert headers["traceparent"] == "00-1"
        assert "cookie" not in headers
        assert up.requests[1].head.count(b"openai-beta") == 1
        assert up.connection_count == 1


async def test_without_a_key_nothing_is_sent_as_one() -> None:
    async with forwarding(json_reply(ANSWER), api_key=None) as (up, forward):
        await forward.open(call())
        assert "authorization" not in up.requests[0].headers
        assert "api-key" not in up.requests[0].headers


async def test_a_base_url_beyond_ascii() -> None:
    async with FakeUpstream(json_reply(ANSWER)) as up:
        forward = ForwardUpstream(deployment(f"{up.base_url}/für%20alle?an=ü{{}}"))
        await forward.open(call())
        assert up.requests[0].target == "/v1/f%C3%BCr%20alle/chat/completions?an=%C3%BC{}"
        await forward.aclose()


async def test_the_captured_text_of_a_wildcard() -> None:
    async with forwarding(json_reply(ANSWER), model="vendor/*") as (up, forward):
        await forward.open(call(capture="gpt-9"))
        await forward.open(call(capture="other"))
        assert [request.json()["model"] for request in up.requests] == ["vendor/gpt-9", "vendor/other"]


@pytest.mark.parametrize(("base", "hinted"), [("", True), ("/v1", False)])
async def test_a_404_from_an_address_without_a_path_names_the_cause(base: str, hinted: bool) -> None:
    """U-D5"""
    async with FakeUpstream(json_reply({"detail": "Not Found"}, status=404)) as up:
        forward = ForwardUpstream(deployment(up.base_url.removesuffix("/v1") + base))
        with pytest.raises(GatewayError) as caught:
            await forward.open(call())
        assert ("api_base of the deployment has no path" in caught.value.message) is hinted
        await forward.aclose()


async def test_the_names_of_openrouters_models_in_a_pattern() -> None:
    """U-A9: `openrouter/*` sent `openrouter/anthropic/x`."""
    async with forwarding(json_reply(ANSWER), provider="openrouter", model="*") as (up, forward):
        for name in ("anthropic/claude-x", "auto"):
            await forward.open(call(capture=name))
        assert [request.json()["model"] for request in up.requests] == ["anthropic/claude-x", "openrouter/auto"]


async def test_field_names_of_the_provider() -> None:
    async with forwarding(json_reply(ANSWER), provider="mistral") as (up, forward):
        await forward.open(call({"max_completion_tokens": 5}))
        assert up.requests[0].json() == {"model": "gpt-real", "max_tokens": 5}


AZURE = "/openai/deployments/gpt-real/chat/completions"


@pytest.mark.parametrize(
    ("path", "version", "target"),
    [
        ("", "2024-10-21", f"{AZURE}?api-version=2024-10-21"),
        ("", None, f"{AZURE}?api-version=2025-02-01-preview"),
        ("/openai", "2024-10-21", f"{AZURE}?api-version=2024-10-21"),
        ("/openai/deployments/mine", "v", "/openai/deployments/mine/chat/completions?api-version=v"),
        ("?api-version=own", "2024-10-21", f"{AZURE}?api-version=own"),
        ("?a=b", "x y", f"{AZURE}?a=b&api-version=x%20y"),
        ("/openai/v1", None, "/openai/v1/chat/completions"),
        ("/openai/v1", "2024-10-21", "/openai/v1/chat/completions"),
        ("/openai/v1", "preview", "/openai/v1/chat/completions?api-version=preview"),
        ("", "latest", "/openai/v1/chat/completions?api-version=latest"),
        ("", "v1", "/openai/v1/chat/completions"),
        ("/models?api-version=2024-05-01-preview", None, "/models/chat/completions?api-version=2024-05-01-preview"),
        ("/openai?api-version=2025-04-01-preview", None, f"{AZURE}?api-version=2025-04-01-preview"),
        ("/openai/deployments/d?api-version=1", None, "/openai/deployments/d/chat/completions?api-version=1"),
    ],
)
async def test_azure(path: str, version: str | None, target: str) -> None:
    async with FakeUpstream(json_reply(ANSWER)) as up:
        base = up.base_url.removesuffix("/v1") + path
        forward = ForwardUpstream(deployment(base, provider="azure", api_version=version))
        await forward.open(call())
        assert up.requests[0].target == target
        assert up.requests[0].headers["api-key"] == KEY
        assert "authorization" not in up.requests[0].headers
        assert up.requests[0].json()["model"] == "gpt-real"
        await forward.aclose()


async def test_azure_with_a_wildcard_and_a_token() -> None:
    async with FakeUpstream(json_reply(ANSWER)) as up:
        forward = ForwardUpstream(
            deployment(
                up.base_url.removesuffix("/v1"),
                provider="azure",
                model="*",
                api_version="1",
                api_key=None,
                litellm_params={"azure_ad_token": Secret("token")},
            )
        )
        for name in ("a/b c", "other"):
            await forward.open(call(capture=name))
        assert [request.target for request in up.requests] == [
            "/openai/deployments/a%2Fb%20c/chat/completions?api-version=1",
            "/openai/deployments/other/chat/completions?api-version=1",
        ]
        assert up.requests[0].headers["authorization"] == "Bearer token"
        await forward.aclose()


@pytest.mark.parametrize(
    "config",
    [
        {"api_base": None},
        {"api_base": "localhost:1234"},
        {"api_key": Secret("canary\r\nx-evil: 1")},
        {"api_key": Secret("canäry")},
        {"extra_headers": {"x-a": Secret("canary\n")}},
        {"extra_headers": {"x a": Secret("canary")}},
        {"extra_headers": {"": Secret("canary")}},
        {"extra_headers": {"content-length": Secret("5")}},
        {"extra_headers": {"Transfer-Encoding": Secret("chunked")}},
        {"organization": "a\nb"},
    ],
)
def test_what_cannot_be_called_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ForwardUpstream(deployment(**{"api_base": "http://a", **config}))
    assert "can" not in str(caught.value).replace("cannot", "")


# --- whole answers


@pytest.mark.parametrize(
    "reply",
    [
        body_reply(b"<html>login</html>", content_type="text/html"),
        body_reply(b"", status=200),
        raw_reply(head(204, [])),
        body_reply(b"[1]"),
        body_reply(b'"text"'),
        body_reply(b'data: {"a": 1}\n\n', content_type="text/event-stream"),
        body_reply(gzip.compress(b"{}"), headers=[("Content-Encoding", "br")]),
        body_reply(b"not gzip", headers=[("Content-Encoding", "gzip")]),
        body_reply(gzip.compress(b'{"a":1}')[:-4], headers=[("Content-Encoding", "gzip")]),
        raw_reply(head(200, [("Connection", "close")]) + b'{"a":{"b":1}', FIN),
        raw_reply(head(200, [("Connection", "close")]) + b'{"a":[1,2', FIN),
        raw_reply(head(200, [("X", "y" * 20_000)]) + b"{}", FIN),
        raw_reply(b"SSH-2.0-OpenSSH_9\r\n", FIN),
    ],
)
async def test_answers_that_are_no_answer(reply: Reply) -> None:
    """A-37, A-38, A-07, A-03: nothing of them is repeated to the client."""
    error = await refusal(reply)
    assert isinstance(error, UpstreamBadResponse)
    assert error.status == 502
    assert error.body is None
    assert "login" not in error.message


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (body_reply(b' \r\n{"a":1}\n', content_type="text/plain"), b' \r\n{"a":1}\n'),
        (body_reply(gzip.compress(b'{"a":1}'), headers=[("Content-Encoding", "gzip")]), b'{"a":1}'),
        (raw_reply(head(200, [("Connection", "close")]) + b'{"a":1}', FIN), b'{"a":1}'),
        (raw_reply(head(100, []), head(200, [("Content-Length", "7")]), *split(b'{"a":1}', [1, 4])), b'{"a":1}'),
        (body_reply(b'{"error":null}'), b'{"error":null}'),
    ],
)
async def test_answers_that_are_one_all_the_same(reply: Reply, body: bytes) -> None:
    """A-07, A-03, A-35"""
    async with forwarding(reply) as (_, forward):
        assert (await forward.open(call())).body == body


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (raw_reply(FIN), UpstreamConnection),
        (raw_reply(RST), UpstreamConnection),
        (raw_reply(HANG), UpstreamTimeout),
        (raw_reply(head(200, [("Content-Length", "9")]) + b"{", FIN), UpstreamIncomplete),
        (raw_reply(head(200, [("Content-Length", "9")]) + b"{", RST), UpstreamIncomplete),
        (raw_reply(head(200, [("Content-Length", "9")]) + b"{", HANG), UpstreamTimeout),
        (raw_reply(head(307, [("Location", "http://127.0.0.1:1/"), ("Content-Length", "0")])), UpstreamRedirect),
        (error_reply(413, "large", early=True), UpstreamStatus),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_failures(reply: Reply, kind: type[GatewayError], stream: bool) -> None:
    """A-02, A-04, A-18, A-19, A-31, A-34, A-39: streaming asked or not, before the first event they are the same."""
    assert type(await refusal(reply, stream=stream)) is kind


async def test_a_redirect_is_not_followed() -> None:
    """A-34, F7: the other host hears nothing, and the key goes nowhere."""
    async with FakeUpstream(json_reply(ANSWER)) as canary:
        location = ("Location", canary.base_url)
        for status in (301, 302, 307, 308):
            assert isinstance(await refusal(json_reply({}, status=status, headers=[location])), UpstreamRedirect)
        assert canary.connection_count == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_error_answers(stream: bool) -> None:
    """A-26, A-29"""
    error = await refusal(error_reply(429, "slow", headers=[("Retry-After", "7")]), stream=stream)
    assert (error.status, error.retry_after) == (429, 7.0)
    assert json.loads(error.body or b"")["error"]["message"] == "slow"
    error = await refusal(error_reply(400, "too long", code="context_length_exceeded"), stream=stream)
    assert error.fallback is FallbackKind.CONTEXT_WINDOW
    error = await refusal(json_reply({"error": {"message": "inner", "code": 503}}), stream=stream)
    assert error.status == 503
    error = await refusal(error_reply(400, f"bad key {KEY}"), stream=stream)
    assert KEY not in error.message
    assert error.body is None


@pytest.mark.parametrize("coding", [None, "gzip"])
async def test_an_answer_without_choices_is_a_failed_try(coding: str | None) -> None:
    """ENTERPILOT/GoModel#947: a choice elsewhere in the answer, or in its text, does not hide that there is none."""
    for body in (b'{"id":"c","choices":[],"usage":{"prompt_tokens":1}}', b'{"text":"\\"choices\\":[{","choices":[]}'):
        sent = body if coding is None else gzip.compress(body)
        headers = [] if coding is None else [("Content-Encoding", coding)]
        assert (await refusal(body_reply(sent, headers=headers))).reason == "answer holds no choices"


async def test_a_streaming_call_answered_without_a_stream() -> None:
    for content_type in ("application/json", "text/html"):
        error = await refusal(body_reply(b'{"choices":[]}', content_type=content_type), stream=True)
        assert isinstance(error, UpstreamBadResponse)


def test_the_key_is_in_no_repr() -> None:
    """D-02"""
    forward = ForwardUpstream(deployment("http://a", extra_headers={"x-key": Secret("canary-2")}))
    assert KEY not in repr(forward)
    assert "canary" not in repr(forward)
