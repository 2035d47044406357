"""Upstreams that fail before there is anything to pass on: one answer in OpenAI's shape, its status by the rules."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import openai
import pytest

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, ServerTimeouts
from gatewayd.errors import GatewayError
from tests.certificates import Authority
from tests.clock import HandClock
from tests.data_plane.gateway import ASK, ASK_STREAM, KEY, MESSAGES, NO_BEGIN, NO_MORE, asked, before, forward
from tests.fakeup import (
    FIN,
    HANG,
    RST,
    FakeUpstream,
    Reply,
    body_reply,
    error_reply,
    event,
    head,
    json_reply,
    raw_reply,
    sse_reply,
)
from tests.web.support import OPEN, Answer, RawClient, free_port, serving_deployments, until

NO_HOST = ServerSettings(timeouts=ServerTimeouts(connect=3.0))
JSON_TYPE = ("content-type", "application/json")
SSE_HEAD = head(200, [("content-type", "text/event-stream")])
OVERLOADED = event({"error": {"message": "overloaded", "type": "server_error", "param": None, "code": None}})

# What the upstream does → status, code, whether the same for a stream.
OURS: dict[str, tuple[Reply, int, str]] = {
    "FIN": (raw_reply(FIN), 502, "upstream_connection_error"),
    "RST": (raw_reply(RST), 502, "upstream_connection_error"),
    "half a head": (raw_reply(b"HTTP/1.1 200 OK\r\ncontent-", FIN), 502, "upstream_connection_error"),
    "silence": (raw_reply(HANG), 504, "upstream_timeout"),
    "interim only": (raw_reply(head(100, []), head(103, []), HANG), 504, "upstream_timeout"),
    "cut": (raw_reply(head(200, [JSON_TYPE, ("content-length", "9")]) + b"{", FIN), 502, "upstream_incomplete"),
    "reset": (raw_reply(head(200, [JSON_TYPE, ("content-length", "9")]) + b"{", RST), 502, "upstream_incomplete"),
    "half": (raw_reply(head(200, [JSON_TYPE]) + b'{"a": [1', FIN), 502, "upstream_bad_response"),
    "stalled": (raw_reply(head(200, [JSON_TYPE, ("content-length", "9")]) + b"{", HANG), 504, "upstream_idle_timeout"),
    "401": (error_reply(401, f"wrong key {KEY}"), 502, "upstream_auth_error"),
    "403": (error_reply(403), 502, "upstream_auth_error"),
    "301": (raw_reply(head(301, [("location", "http://evil/"), ("content-length", "0")])), 502, "upstream_redirect"),
    "308": (raw_reply(head(308, [("location", "http://evil/"), ("content-length", "0")])), 502, "upstream_redirect"),
    "page": (body_reply(b"<html>log in", content_type="text/html"), 502, "upstream_bad_response"),
    "br": (body_reply(b"x", headers=[("content-encoding", "br")]), 502, "upstream_bad_response"),
    "bomb": (
        body_reply(gzip.compress(b" " * 100_000_000), headers=[("content-encoding", "gzip")]),
        502,
        "upstream_bad_response",
    ),
    "large header": (raw_reply(head(200, [("x-a", "y" * 20_000)]) + b"{}", FIN), 502, "upstream_bad_response"),
    "200 headers": (
        raw_reply(head(200, [(f"x-{n}", "1") for n in range(200)]) + b"{}", FIN),
        502,
        "upstream_bad_response",
    ),
    "control character": (raw_reply(head(200, [("x-a", "a\x01b")]) + b"{}", FIN), 502, "upstream_bad_response"),
    "no HTTP": (raw_reply(b"SSH-2.0-OpenSSH_9\r\n", FIN), 502, "upstream_bad_response"),
}
STREAMS: dict[str, tuple[Reply, int, str]] = {
    "error first": (sse_reply([OVERLOADED]), 502, "upstream_error"),
    "empty": (sse_reply([]), 502, "upstream_incomplete"),
    "comments only": (sse_reply([b": hi\n\n"]), 502, "upstream_incomplete"),
    "done only": (sse_reply([b"data: [DONE]\n\n"]), 502, "upstream_incomplete"),
    "cut before the first event": (raw_reply(SSE_HEAD + b'data: {"cho', FIN), 502, "upstream_incomplete"),
    "silence before the first event": (raw_reply(SSE_HEAD, HANG), 504, "upstream_timeout"),
    "br": (raw_reply(head(200, [("content-type", "text/event-stream"), ("content-encoding", "br")]), b"x", FIN), 502,
           "upstream_bad_response"),
}  # fmt: skip


def patience(code: str) -> ServerSettings:
    return {"upstream_timeout": NO_BEGIN, "upstream_idle_timeout": NO_MORE}.get(code, OPEN)


def check(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code)
    message, _, tried = answer.error["message"].rpartition(" (tried d1: ")
    assert tried == f"{GatewayError(message).reason})"
    assert answer.headers["x-should-retry"] == "false", "the SDK would multiply our tries by its own"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-gatewayd-attempts"] == "1"
    assert "x-request-id" in answer.headers
    for secret in (KEY, "127.0.0.1", "http://", "evil", "log in", "SSH", "Traceback"):
        assert secret not in answer.body.decode()
        assert secret not in str(answer.headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", OURS)
async def test_faults_of_the_upstream(fault: str, stream: bool) -> None:
    reply, status, code = OURS[fault]
    async with before(reply, server=patience(code)) as (up, site):
        check(await asked(site, ASK_STREAM if stream else ASK), status, code)
        record = await site.record()
        assert (record["status"], record["outcome"], record["code"]) == (status, "error", code)
        state = site.gateway.health.state("d1")
        assert (state.fails, state.last_error, state.in_flight) == (1, code, 0)
        assert len(up.requests) == 1


@pytest.mark.parametrize("fault", STREAMS)
async def test_streams_that_do_not_begin(fault: str) -> None:
    """No 200 is ever seen for them."""
    reply, status, code = STREAMS[fault]
    async with before(reply, server=patience(code)) as (_, site):
        answer = await asked(site, ASK_STREAM)
        if fault == "error first":
            assert (answer.status, answer.error["message"]) == (502, "overloaded"), "the upstream's own words"
        else:
            check(answer, status, code)
        assert site.gateway.health.state("d1").last_error == code


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
async def test_an_upstreams_own_error_is_passed_on(status: int, stream: bool) -> None:
    """A-28, A-29: when there is nobody else to ask: status and body are the upstream's."""
    reply = error_reply(status, "its own words", headers=[("retry-after", "7")] if status == 429 else [])
    async with before(reply) as (up, site):
        answer = await asked(site, ASK_STREAM if stream else ASK)
        assert (answer.status, answer.error["message"]) == (status, "its own words")
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
        assert answer.headers["x-should-retry"] == "false"
        assert len(up.requests) == 1
        state = site.gateway.health.state("d1")
        assert (state.last_error is not None) == (status not in (400, 409, 413, 422))


async def test_no_connection(tmp_path: Path) -> None:
    """A-32, A-33, and a port where nobody listens."""
    authority = Authority(tmp_path)
    async with FakeUpstream(tls=authority.server("localhost")) as stranger:
        faults: list[tuple[Deployment, str]] = [
            (forward(f"http://127.0.0.1:{free_port()}/v1"), "upstream_connection_error"),
            (forward("http://no-such-host.invalid/v1"), "upstream_connection_error"),
            (forward(stranger.base_url), "upstream_tls_error"),
        ]
        for deployment, code in faults:
            async with serving_deployments(deployment, server=NO_HOST) as site:
                answer = await asked(site)
                assert answer.error["code"] in (code, "upstream_timeout" if "invalid" in str(deployment) else code)
                assert answer.status in (502, 504)
                assert answer.headers["x-should-retry"] == "false"
                for secret in (KEY, "127.0.0.1", "localhost", "invalid"):
                    assert secret not in answer.body.decode()


async def test_the_sdk_raises_and_asks_once() -> None:
    """Its own class for each status, and no second request although it would try a 5xx three times."""
    faults: list[tuple[Reply, type[openai.APIStatusError]]] = [
        (error_reply(401), openai.InternalServerError),
        (raw_reply(RST), openai.InternalServerError),
        (raw_reply(HANG), openai.InternalServerError),
        (error_reply(429), openai.RateLimitError),
        (error_reply(400), openai.BadRequestError),
        (error_reply(422), openai.UnprocessableEntityError),
    ]
    for reply, kind in faults:
        async with (
            before(reply, server=NO_BEGIN if HANG in reply.steps else OPEN) as (up, site),
            openai.AsyncOpenAI(base_url=site.base_url, api_key="x", timeout=20) as client,
        ):
            with pytest.raises(kind):
                await client.chat.completions.create(model="chat", messages=MESSAGES)
            assert len(up.requests) == 1


async def test_a_redirect_leads_nowhere() -> None:
    """A-34: neither the key nor the prompt reaches the other host."""
    async with FakeUpstream(json_reply({"object": "chat.completion"})) as canary:
        for status in (301, 302, 303, 307, 308):
            moved = raw_reply(head(status, [("location", canary.base_url), ("content-length", "0")]))
            async with before(moved) as (_, site):
                for body in (ASK, ASK_STREAM):
                    assert (await asked(site, body)).error["code"] == "upstream_redirect"
        assert canary.connection_count == 0


async def test_only_headers_of_the_list_come_through() -> None:
    """A-36: on whole answers, streams and errors; no cookies, nothing of one hop, nothing in the gateway's name."""
    kept = {"x-ratelimit-remaining-tokens": "9", "openai-processing-ms": "3"}
    dropped = [
        ("Set-Cookie", "tenant=a"), ("Server", "evil/1"), ("Alt-Svc", 'h3=":443"'), ("WWW-Authenticate", "Basic"),
        ("Strict-Transport-Security", "max-age=1"), ("Access-Control-Allow-Origin", "*"), ("X-Powered-By", "evil"),
        ("x-gatewayd-deployment", "forged"), ("x-litellm-model-id", "forged"), ("x-should-retry", "true"),
        ("Proxy-Authenticate", "Basic"), ("Keep-Alive", "timeout=1"), ("Location", "http://evil/"),
    ]  # fmt: skip
    fields = [*kept.items(), *dropped, ("x-request-id", "req_theirs")]
    replies = (
        (json_reply({"object": "chat.completion"}, headers=fields), ASK),
        (sse_reply([event({"choices": []}), b"data: [DONE]\n\n"], headers=fields), ASK_STREAM),
        (error_reply(500, headers=fields), ASK),
    )
    for reply, body in replies:
        async with before(reply) as (_, site):
            answer = await asked(site, body)
        text = str(answer.headers)
        for word in ("tenant", "evil", "h3", "Basic", "max-age", "forged", "timeout=1"):
            assert word not in text
        assert answer.headers["x-request-id"] != "req_theirs"
        assert "access-control-allow-origin" not in answer.headers
        if answer.status == 200:
            assert kept.items() <= answer.headers.items()
            assert answer.headers["x-upstream-request-id"] == "req_theirs"


@pytest.mark.parametrize("closes", [True, False])
async def test_an_answer_that_comes_before_the_request_is_through(closes: bool) -> None:
    """A-39: 413 after the head, with megabytes still under way; the client gets the upstream's words."""
    early = error_reply(413, "too large for me", early=True)
    early = Reply(early.steps, closes, True)
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x" * 12_000_000}]}).encode()
    async with before(early) as (_, site):
        answer = await asked(site, body)
        assert (answer.status, answer.error["message"]) == (413, "too large for me")
        assert site.gateway.health.state("d1").fails == 0


async def test_interim_responses_are_swallowed() -> None:
    """A-35"""
    good = raw_reply(
        head(100, []), head(103, [("x-ratelimit-a", "1")]), head(200, [JSON_TYPE, ("content-length", "2")]), b"{}"
    )
    async with before(good) as (_, site), RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"{}")
        assert "x-ratelimit-a" not in answer.headers


async def test_all_of_it_is_bounded_by_the_total(clock: HandClock) -> None:
    """A-18: two tries of 400 seconds would be more than the client granted."""
    server = ServerSettings(timeouts=ServerTimeouts(first_byte=400))
    async with before(raw_reply(HANG), server=server, routing=RoutingSettings(num_retries=9)) as (up, site):
        async with RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", ASK, "x-litellm-timeout: 600")
            await until(lambda: len(up.requests) == 1)
            await clock.wind(401.0)
            await until(lambda: len(up.requests) == 2)
            await clock.wind(190.0)
            assert site.gateway.in_flight == 1
            await clock.wind(10.0)
            answer = await client.answer()
        assert answer.status == 504
        assert len(up.requests) == 2
        await asyncio.wait_for(up.peers[-1].gone.wait(), 5)
