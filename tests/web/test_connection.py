"""HTTP abuse on real sockets: what the parser and we refuse, deadlines, the cap, slow readers.

The tests of `busy`, `retire` and the head's deadline also pin what the module takes from aiohttp's insides.
"""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from gatewayd.config.snapshot import Limits, ServerSettings
from gatewayd.upstream.base import Flow, Sink
from gatewayd.web.connection import Deadlines
from gatewayd.wire.openai import DONE
from tests.clock import HandClock
from tests.web.support import CHAT, STREAM, RawClient, Stream, Teller, hang, serving, until, whole

QUICK = Deadlines(head=0.2, body=0.2, write=0.2)
H = b"Host: a\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + H

SMUGGLING = {
    "both lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal lengths": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "signed length": POST + b"Content-Length: +4\r\n\r\nabcd",
    "hex length": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "underscored length": POST + b"Content-Length: 4_0\r\n\r\nabcd",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "blank before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded header": POST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    "bare CR": b"GET / HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\n" + H + b"X: a\x00b\r\n\r\n",
    "old with chunked": b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "future version": b"GET / HTTP/2.0\r\n" + H + b"\r\n",
    "past version": b"GET / HTTP/0.9\r\n" + H + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host with path": b"GET / HTTP/1.1\r\nHost: a/?\r\n\r\n",
    "host with user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "host with zone": b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 9000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + H + b"".join(b"X%d: a\r\n" % i for i in range(200)) + b"\r\n",
    "long target": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": b"\0" * 4096,
}


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING.keys())
async def test_what_is_not_plain_http_is_a_400_and_the_end_of_the_connection(data: bytes) -> None:
    """B-01, B-02, B-03, B-05, B-10, B-19: what follows on the connection is never read as a request."""
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.send(data + b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert await client.ended() == b""
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert not upstream.calls


@pytest.mark.parametrize("rest", [b"5;\nx\r\nabcde\r\n0\r\n\r\n", b"F" * 17 + b"\r\n", b"zz\r\n", b"3\r\nabcdef\r\n"])
async def test_a_broken_chunk_is_a_400(rest: bytes) -> None:
    """B-01: also when the handler is waiting for the body already."""
    for pause in (False, True):
        async with serving() as site, RawClient.to(site.port) as client:
            client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            if pause:
                await until(lambda: site.gateway.in_flight == 1)
            client.send(rest)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
            assert await client.ended() == b""


async def test_connect_is_refused_and_never_proxied() -> None:
    """B-04"""
    async with serving() as site, RawClient.to(site.port) as client:
        client.send(b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await client.ended() == b""


async def test_an_upgrade_with_a_body_hides_no_request() -> None:
    """B-17"""
    async with serving() as site, RawClient.to(site.port) as client:
        client.send(
            b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 27\r\n\r\n"
            b"GET /smug HTTP/1.1\r\nHost:a\r\n"
        )
        assert (await client.answer()).status == 426
        assert await client.ended() == b""


async def test_expect_is_answered_only_when_the_body_is_wanted() -> None:
    """B-16"""
    async with serving() as site:
        async with RawClient.to(site.port) as client:
            client.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CHAT))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(CHAT)
            assert (await client.answer()).status == 200
        async with RawClient.to(site.port) as client:
            client.send(POST + b"Expect: something\r\nContent-Length: 4\r\n\r\nabcd")
            assert (await client.answer()).status == 417


async def test_pipelined_requests_are_answered_in_order() -> None:
    """B-18"""
    async with serving() as site, RawClient.to(site.port) as client:
        count = 200
        client.send(b"".join(b"GET /livez HTTP/1.1\r\nHost: a\r\nx-request-id: n%d\r\n\r\n" % i for i in range(count)))
        answers = [await client.answer() for _ in range(count)]
    assert [answer.headers["x-request-id"] for answer in answers] == [f"n{i}" for i in range(count)]


# --- deadlines ----------------------------------------------------------------------------------------------------


async def test_a_head_must_be_complete_in_time(clock: HandClock) -> None:
    """B-06, B-07: dribbling does not help, and neither does having been good before."""
    async with (
        serving(deadlines=Deadlines(head=100, idle=1000)) as site,
        RawClient.to(site.port) as silent,
        RawClient.to(site.port) as slow,
        RawClient.to(site.port) as known,
    ):
        known.get("/livez")
        await known.answer()
        for client in (slow, known):
            client.send(b"GET / HTTP/1.1\r\n")
        await clock.wind(0.0)
        for _ in range(9):
            await clock.wind(11.0)
            for client in (slow, known):
                client.send(b"X")
        assert not any(client.reader.at_eof() for client in (silent, slow, known))
        await clock.wind(2.0)
        for client in (silent, slow, known):
            assert await client.ended() == b""


async def test_an_idle_connection_outlives_the_heads_deadline(clock: HandClock) -> None:
    async with serving(deadlines=Deadlines(head=10, idle=100)) as site, RawClient.to(site.port) as client:
        client.get("/livez")
        await client.answer()
        await clock.wind(90.0)
        client.get("/livez")
        assert (await client.answer()).status == 200


# --- slow readers -------------------------------------------------------------------------------------------------


class Flood(Stream):
    """Sends as fast as it may, until told to stop; counts what it sent and how often it was paused."""

    size = 64_000_000
    sent = 0
    pauses = 0

    async def pipe(self, sink: Sink) -> None:
        flood = self

        class Valve(Flow):
            def __init__(self) -> None:
                self.open = asyncio.Event()
                self.open.set()

            def pause(self) -> None:
                flood.pauses += 1
                self.open.clear()

            def resume(self) -> None:
                self.open.set()

        valve = Valve()
        sink.attach(valve)
        piece = b"data: " + b"x" * 16_000 + b"\n\n"
        while self.sent < self.size:
            await valve.open.wait()
            sink.write(piece)
            self.sent += len(piece)
            await asyncio.sleep(0)
        sink.write(DONE)


def narrow(client: RawClient) -> None:
    sock: socket.socket = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


async def test_a_client_that_stops_reading_stops_the_upstream_and_is_cut_off_in_the_end() -> None:
    """A-24, A-25: memory stays bounded; the client is aborted, nobody is blamed."""
    flood = Flood()
    async with (
        serving({"chat": {"d1": Teller([flood])}}, deadlines=Deadlines(write=0.5)) as site,
        RawClient.to(site.port) as client,
    ):
        narrow(client)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.post("/v1/chat/completions", STREAM)
        await until(lambda: flood.pauses > 0)
        held = flood.sent
        async with asyncio.timeout(10):
            await flood.closed.wait()
        assert flood.sent - held < 200_000
        assert flood.sent < 32_000_000
        assert (await site.record())["outcome"] == "client_left"
        assert site.gateway.health.state("d1").fails == 0


async def test_a_slow_reader_gets_everything() -> None:
    """A-24: pausing loses and reorders nothing, and slow is not stuck."""
    flood = Flood()
    flood.size = 16_000_000
    async with (
        serving({"chat": {"d1": Teller([flood])}}, deadlines=Deadlines(write=5)) as site,
        RawClient.to(site.port) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.post("/v1/chat/completions", STREAM)
        await until(lambda: flood.pauses > 0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        status, _ = await client.head()
        assert status == 200
        size = 0
        last = b""
        async for piece in client.chunks():
            size += len(piece)
            last = piece
        assert (size, last) == (flood.sent + len(DONE), DONE)


async def test_a_large_whole_answer_waits_for_its_reader() -> None:
    big = whole({"text": "x" * 8_000_000})
    async with (
        serving({"chat": {"d1": Teller([big])}}, deadlines=Deadlines(write=5)) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions")
        assert len((await client.answer()).body) == len(big.body or b"")
        client.get("/livez")
        assert (await client.answer()).status == 200


# --- the cap ------------------------------------------------------------------------------------------------------


async def test_connections_over_the_limit_are_refused_and_the_others_live_on() -> None:
    """B-24"""
    upstream = Teller(hang)
    server = ServerSettings(limits=Limits(connections=2))
    async with serving({"chat": {"d1": upstream}}, server=server) as site:
        async with RawClient.to(site.port) as first, RawClient.to(site.port) as second:
            first.post("/v1/chat/completions")
            await upstream.asked.wait()
            second.get("/livez")
            await second.answer()
            async with RawClient.to(site.port) as third:
                answer = await third.answer()
                assert (answer.status, answer.error["code"]) == (503, "server_busy")
                assert answer.headers["retry-after"] == "1"
                assert await third.ended() == b""
            second.get("/livez")
            assert (await second.answer()).status == 200
        await until(lambda: site.gateway.in_flight == 0)
        async with RawClient.to(site.port) as fourth:
            fourth.get("/livez")
            assert json.loads((await fourth.answer()).body) == {"status": "ok"}
