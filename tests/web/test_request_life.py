"""How a request ends: errors before and after the commit point, clients that leave, records and counters."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest

from gatewayd.config.snapshot import RoutingSettings, ServerSettings
from gatewayd.errors import (
    FallbackKind,
    GatewayError,
    InvalidRequest,
    UpstreamAuth,
    UpstreamConnection,
    UpstreamIncomplete,
    UpstreamStatus,
    UpstreamTimeout,
)
from gatewayd.upstream.base import WholeReply
from gatewayd.wire.openai import DONE, Usage
from tests.clock import HandClock
from tests.web.support import CHAT, STREAM, RawClient, Stream, Teller, hang, serving, until

EVENT = b'data: {"choices":[]}\n\n'


# --- errors before the commit point -------------------------------------------------------------------------------


async def test_the_final_error_says_what_was_tried() -> None:
    """A-28, U-D1: deployments and reasons, and that trying again is useless; no URL."""
    groups = {
        "chat": {"d1": Teller([UpstreamTimeout("The upstream did not answer in time.", kind="first_byte")])},
        "spare": {"d2": Teller([UpstreamConnection("No connection to the upstream.")])},
    }
    routing = RoutingSettings(num_retries=0, fallbacks={FallbackKind.GENERAL: {"chat": ("spare",)}})
    async with serving(groups, routing=routing) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
        assert site.sample("gatewayd_fallbacks_total", group="chat") == 1
        assert site.sample("gatewayd_requests_total", group="chat", outcome="error") == 1
        record = await site.record()
    assert answer.error["message"].endswith("(tried d1: did not answer in time, d2: no connection to the upstream)")
    assert answer.headers["x-gatewayd-attempts"] == "2"
    assert answer.headers["x-gatewayd-revision"] == "r1"
    assert answer.headers["x-should-retry"] == "false"
    assert (record["status"], record["outcome"], record["attempts"]) == (answer.status, "error", 2)
    assert record["failed"] == [
        {"deployment": "d1", "code": "upstream_timeout", "reason": "did not answer in time"},
        {"deployment": "d2", "code": "upstream_connection_error", "reason": "no connection to the upstream"},
    ]


async def test_an_upstreams_own_error_passes_with_status_and_body() -> None:
    body = b'{"error": {"message": "max_tokens is too large", "type": "x", "param": "max_tokens", "code": null} }'
    error = UpstreamStatus("refused", status=422, body=body)
    async with serving({"chat": {"d1": Teller([error])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
        assert site.sample("gatewayd_requests_total", group="chat", outcome="rejected") == 1
    assert (answer.status, answer.body) == (422, body)


async def test_an_upstream_that_refuses_our_key_is_no_401() -> None:
    async with (
        serving({"chat": {"d1": Teller([UpstreamAuth("The upstream rejected the gateway's key.")])}}) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions")
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (502, "upstream_auth_error")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("told", "shown"), [(7.0, "7"), (0.2, "1"), (1.5, "2")])
async def test_retry_after_is_a_whole_number_of_seconds(told: float, shown: str) -> None:
    """A-26"""
    error = UpstreamStatus("slow down", status=429, retry_after=told)
    async with serving({"chat": {"d1": Teller([error])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
    assert (answer.status, answer.headers["retry-after"]) == (429, shown)


async def test_nobody_left_is_a_429_that_invites_a_later_try() -> None:
    """A-42: no x-should-retry, as nothing of ours was used up."""
    error = UpstreamStatus("slow down", status=429, retry_after=30.0)
    async with serving({"chat": {"d1": Teller([error])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        await client.answer()
        client.post("/v1/chat/completions")
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (429, "all_deployments_cooling_down")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert "x-should-retry" not in answer.headers


async def test_a_bug_is_a_500_with_the_request_id_and_its_traceback_in_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        serving({"chat": {"d1": Teller([ZeroDivisionError("a bug")])}}) as site,
        RawClient.to(site.port) as client,
    ):
        with caplog.at_level(logging.ERROR):
            client.post("/v1/chat/completions", CHAT, "x-request-id: find-me")
            answer = await client.answer()
        client.get("/livez")
        assert (await client.answer()).status == 200
    assert (answer.status, answer.error["code"], answer.headers["x-request-id"]) == (500, "internal_error", "find-me")
    assert b"bug" not in answer.body
    assert "find-me" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


async def test_bad_upstream_headers_cannot_split_the_answer() -> None:
    """D-11, F9"""
    reply = WholeReply(200, [("content-type", "a/b\r\nx-evil: 1"), ("openai-version", "é" * 999)], b"{}")
    async with serving({"chat": {"d1": Teller([reply])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
    assert "x-evil" not in answer.headers
    assert answer.headers["content-type"] == "a/b??x-evil: 1"
    assert answer.headers["openai-version"] == "?" * 256


async def test_default_models_apply_per_endpoint() -> None:
    server = ServerSettings(default_models={"chat/completions": "chat"})
    async with serving(server=server) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", b"{}")
        assert (await client.answer()).status == 200
        client.post("/v1/embeddings", b"{}")
        assert (await client.answer()).error["param"] == "model"


# --- after the commit point ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [EVENT, EVENT[:-1], EVENT[:-2], EVENT + b"data: {", EVENT + b": comment\n"])
async def test_a_broken_stream_ends_with_one_error_event_and_no_done(sent: bytes) -> None:
    """A-01: exactly one error event, which is an event of its own wherever the break came."""
    stream = Stream([sent, UpstreamIncomplete("The upstream's answer ended before its end mark.")])
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM)
        answer = await client.answer()
        assert await client.ended() == b""
        record = await site.record()
        state = site.gateway.health.state("d1")
        assert (state.in_flight, state.last_error) == (0, "upstream_incomplete")
    assert answer.status == 200
    assert answer.body.startswith(sent)
    assert DONE not in answer.body
    last = re.split(b"\n{2,}", answer.body.removesuffix(b"\n\n"))[-1]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_incomplete"
    assert (record["status"], record["outcome"], record["code"]) == (200, "broken_stream", "upstream_incomplete")


async def test_an_error_event_of_the_upstreams_own_is_the_only_one() -> None:
    """A-09: relayed once, counted as a failure, no `[DONE]`."""
    told = b'data: {"error":{"message":"overloaded"}}\n\n'
    error = UpstreamStatus("overloaded", status=502)
    error.told = True
    async with (
        serving({"chat": {"d1": Teller([Stream([EVENT, told, error])])}}) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", STREAM)
        assert (await client.answer()).body == EVENT + told
        assert await client.ended() == b""
        assert (await site.record())["outcome"] == "broken_stream"
        assert site.gateway.health.state("d1").fails == 1


async def test_a_broken_answer_that_is_no_event_stream_is_cut_off() -> None:
    """A truncated body must not pass for a whole one."""
    stream = Stream([b'{"id":', UpstreamIncomplete("cut")], headers=[("content-type", "application/json")])
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        await client.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            [piece async for piece in client.chunks()]
        assert (await site.record())["outcome"] == "broken_stream"


async def test_a_bug_in_a_stream_is_told_in_the_stream_and_blames_nobody() -> None:
    stream = Stream([EVENT, ZeroDivisionError()])
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM)
        answer = await client.answer()
        assert site.gateway.health.state("d1").last_error is None
        await until(stream.closed.is_set)
    assert b'"code":"internal_error"' in answer.body


async def test_empty_pieces_do_not_end_a_stream() -> None:
    async with (
        serving({"chat": {"d1": Teller([Stream([b"", EVENT, b"", DONE])])}}) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", STREAM)
        assert (await client.answer()).body == EVENT + DONE


# --- clients that leave -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_client_that_leaves_before_the_answer_cancels_the_try(how: str, body: bytes) -> None:
    """A-21, A-22; A-23: a half-closed connection is one that was left, since nothing else tells the two apart."""
    upstream, spare = Teller(hang), Teller()
    routing = RoutingSettings(num_retries=3, fallbacks={FallbackKind.GENERAL: {"chat": ("spare",)}})
    async with serving({"chat": {"d1": upstream}, "spare": {"d2": spare}}, routing=routing) as site:
        async with RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", body)
            await upstream.asked.wait()
            leave(client, how)
            async with asyncio.timeout(1):
                await upstream.cancelled.wait()
            record = await site.record()
            state = site.gateway.health.state("d1")
            assert (state.in_flight, state.fails, state.last_error) == (0, 0, None)
        assert not spare.calls
        assert (record["status"], record["outcome"]) == (499, "client_left")
        assert site.sample("gatewayd_requests_total", group="chat", outcome="client_left") == 1
        assert site.sample("gatewayd_inflight_requests") == 0
        await until(lambda: site.gateway.in_flight == 0)


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_a_client_that_leaves_mid_stream_closes_the_upstream_at_once(how: str, clock: HandClock) -> None:
    """A-20: although the upstream is silent, so that no write can notice; no timer is needed for it."""
    stream = Stream([EVENT, asyncio.Event()])
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM)
        await client.head()
        assert await anext(client.chunks()) == EVENT
        clock.stop()
        leave(client, how)
        await stream.closed.wait()
        clock.start()
        record = await site.record()
        assert (record["status"], record["outcome"]) == (499, "client_left")
        assert site.gateway.health.state("d1").in_flight == 0
        assert site.gateway.health.state("d1").fails == 0


async def test_a_client_that_leaves_while_sending_its_body_is_recorded() -> None:
    async with serving() as site, RawClient.to(site.port) as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
        await until(lambda: site.gateway.in_flight == 1)
        client.close()
        assert (await site.record())["outcome"] == "client_left"


def leave(client: RawClient, how: str) -> None:
    if how == "close":
        client.close()
    elif how == "reset":
        client.reset()
    else:
        client.writer.write_eof()


# --- records and counters -----------------------------------------------------------------------------------------


async def test_a_good_request_leaves_one_record_and_its_counts() -> None:
    stream = Stream([EVENT, DONE], usage=Usage(3, 5, 8))
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM, "x-request-id: abc", "x-forwarded-for: 10.9.8.7")  # B-27
        await client.answer()
        record = await site.record()
        for name in ("gatewayd_request_duration_seconds_count", "gatewayd_time_to_first_token_seconds_count"):
            assert site.sample(name, group="chat") == 1
    assert record.pop("duration_ms") >= record.pop("ttft_ms") >= 0
    assert record == {
        "request_id": "abc",
        "status": 200,
        "outcome": "ok",
        "method": "POST",
        "path": "/v1/chat/completions",
        "group": "chat",
        "deployment": "d1",
        "attempts": 1,
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "key": "anonymous",
        "peer": "127.0.0.1",
        "revision": "r1",
    }


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GARBAGE\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_leaves_a_record_too(data: bytes) -> None:
    """B-19: the id that its sender was told is in the log, nothing of what was sent is."""
    async with serving() as site, RawClient.to(site.port) as client:
        client.writer.write(data)
        answer = await client.answer()
        record = await site.record()
    assert record.pop("duration_ms") == 0
    assert record == {
        "request_id": answer.headers["x-request-id"],
        "status": 400,
        "outcome": "rejected",
        "method": "-",
        "path": "-",
        "attempts": 0,
        "code": "invalid_request",
        "peer": "127.0.0.1",
    }


async def test_a_fallbacks_answer_names_who_answered() -> None:
    groups = {"chat": {"d1": Teller([UpstreamStatus("busy", status=503)])}, "spare": {"d2": Teller()}}
    routing = RoutingSettings(num_retries=0, fallbacks={FallbackKind.GENERAL: {"chat": ("spare",)}})
    async with serving(groups, routing=routing) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
        record = await site.record()
    assert answer.headers["x-gatewayd-fallback"] == "spare"
    assert answer.headers["x-litellm-attempted-fallbacks"] == "1"
    assert (record["group"], record["answered_by"], record["deployment"]) == ("chat", "spare", "d2")
    assert record["failed"] == [{"deployment": "d1", "code": "upstream_error", "reason": "answered 503", "status": 503}]


async def test_requests_in_flight_are_counted_while_they_run() -> None:
    release = asyncio.Event()
    async with (
        serving({"chat": {"d1": Teller([Stream([EVENT, release, DONE])])}}) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", STREAM)
        await client.head()
        assert site.sample("gatewayd_inflight_requests") == 1
        release.set()
        assert [piece async for piece in client.chunks()] == [EVENT, DONE]
        await until(lambda: site.sample("gatewayd_inflight_requests") == 0)


@pytest.mark.parametrize("error", [InvalidRequest("no"), GatewayError("bug")])
async def test_every_answer_has_an_id(error: GatewayError) -> None:
    async with serving({"chat": {"d1": Teller([error])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        answer = await client.answer()
        assert answer.headers["x-request-id"] == (await site.record())["request_id"]
