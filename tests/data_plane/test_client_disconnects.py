"""Clients that leave, and clients that do not read: what their upstreams see of it, on sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import openai
import pytest

from gatewayd.config.snapshot import RoutingSettings
from gatewayd.errors import FallbackKind
from gatewayd.web.connection import Deadlines
from tests.clock import HandClock
from tests.data_plane.gateway import ASK, ASK_STREAM, EVENTS, MESSAGES, before, forward
from tests.fakeup import HANG, FakeUpstream, chat_chunk, error_reply, event, json_reply, raw_reply, sse_reply
from tests.web.support import RawClient, Site, serving_deployments, until

TURNS = 3
"""Clients that leave, one after the other, on heads that are new and known."""


def close(client: RawClient) -> None:
    client.close()


def reset(client: RawClient) -> None:
    client.reset()


def half_close(client: RawClient) -> None:
    client.writer.write_eof()


async def ends_upstream_at_once(
    clock: HandClock,
    up: FakeUpstream,
    site: Site,
    body: bytes,
    leave: Callable[[RawClient], None],
    ready: Callable[[RawClient], Awaitable[None]],
) -> None:
    """Each request's upstream connection is closed because its client left: no timer can fire in between."""
    for n in range(TURNS):
        async with RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", body)
            await until(lambda n=n: len(up.requests) == n + 1)  # type: ignore[misc]
            await ready(client)
            clock.stop()
            leave(client)
            await up.requests[-1].peer.gone.wait()
            clock.start()
    assert up.connection_count == TURNS, "none of the connections was used again"
    await until(lambda: site.gateway.in_flight == 0 and up.open_count == 0)
    await until(lambda: len(site.records.fields) == TURNS)
    assert {(record["status"], record["outcome"]) for record in site.records.fields} == {(499, "client_left")}
    state = site.gateway.health.state("d1")
    assert (state.in_flight, state.fails, state.last_error) == (0, 0, None)
    assert site.sample("gatewayd_inflight_requests") == 0


async def no_answer_yet(client: RawClient) -> None:
    return None


async def first_event(client: RawClient) -> None:
    await client.head()
    assert await anext(client.chunks()) == EVENTS[0]


@pytest.mark.parametrize("leave", [close, reset, half_close])
async def test_in_the_middle_of_a_stream(leave: Callable[[RawClient], None], clock: HandClock) -> None:
    """A-20, A-23 (half-closed): at once, although the upstream is silent and no write can notice."""
    async with before(sse_reply([EVENTS[0], HANG], finish=False)) as (up, site):
        await ends_upstream_at_once(clock, up, site, ASK_STREAM, leave, first_event)


@pytest.mark.parametrize("leave", [close, reset, half_close])
async def test_before_the_first_event_of_a_stream(leave: Callable[[RawClient], None], clock: HandClock) -> None:
    """A-21, A-23"""
    async with before(raw_reply(HANG)) as (up, site):
        await ends_upstream_at_once(clock, up, site, ASK_STREAM, leave, no_answer_yet)


@pytest.mark.parametrize("leave", [close, reset, half_close])
async def test_a_call_without_streaming(leave: Callable[[RawClient], None], clock: HandClock) -> None:
    """A-22, A-23"""
    async with before(raw_reply(HANG)) as (up, site):
        await ends_upstream_at_once(clock, up, site, ASK, leave, no_answer_yet)


async def test_the_sdks_stream_closed_and_its_call_cancelled() -> None:
    """A-20, A-22"""
    async with (
        before(sse_reply([EVENTS[0], HANG], finish=False), raw_reply(HANG)) as (up, site),
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
        assert (await anext(aiter(stream))).choices[0].delta.content == "one"
        await stream.close()
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        call = asyncio.ensure_future(client.chat.completions.create(model="chat", messages=MESSAGES))
        await until(lambda: len(up.requests) == 2)
        call.cancel()
        await asyncio.wait_for(up.peers[1].gone.wait(), 5)


async def test_between_two_tries() -> None:
    """A-21: while the gateway waits before it tries again, and a fallback is left: nobody is asked any more."""
    routing = RoutingSettings(
        num_retries=5, retry_after=0.3, disable_cooldowns=True, fallbacks={FallbackKind.GENERAL: {"chat": ("spare",)}}
    )
    async with (
        FakeUpstream(error_reply(503)) as bad,
        FakeUpstream(json_reply({})) as spare,
        serving_deployments(forward(bad), forward(spare, "d2", "spare"), routing=routing) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", ASK)
        await until(lambda: site.gateway.health.state("d1").fails == 1)
        client.close()
        assert (await site.record())["outcome"] == "client_left"
        await until(lambda: site.gateway.in_flight == 0)
        assert (len(bad.requests), spare.requests) == (1, [])


async def test_a_client_that_stops_reading() -> None:
    """A-24: the upstream is read no further; after the write timeout both connections are dropped, nobody is blamed."""
    flood = [event(chat_chunk("x" * 60_000))] * 1000
    reply = sse_reply([EVENTS[0], *flood])
    async with FakeUpstream(reply) as up, serving_deployments(forward(up), deadlines=Deadlines(write=0.5)) as site:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", site.port))
        request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(ASK_STREAM)
        await asyncio.get_running_loop().sock_sendall(sock, request + ASK_STREAM)
        try:
            await asyncio.wait_for(_gone(up), 20)
        finally:
            sock.close()
        assert up.peers[0].sent < 40_000_000, "far from all of the sixty megabytes"
        assert (await site.record())["outcome"] == "client_left"
        state = site.gateway.health.state("d1")
        assert (state.fails, state.in_flight) == (0, 0)


async def _gone(up: FakeUpstream) -> None:
    await until(lambda: bool(up.peers))
    await up.peers[0].gone.wait()
