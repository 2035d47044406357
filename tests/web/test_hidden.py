"""Requests inside bodies: bytes that are somebody's good request, where they are a part of another one.

Whatever the gateway remembers of good requests, it must know where in its input a request begins. So the hidden one has
been met before (`warm`), and comes in segments of its own.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gatewayd.config.snapshot import Limits, ServerSettings
from gatewayd.secret import Secret
from tests.replies import HANG, Reply, json_reply
from tests.web.shapes import CHUNKED, EMPTY, GET, POST, H
from tests.web.support import CHAT, KEY, until
from tests.web.wire import Wire, warm

AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
GOOD = POST + AUTH + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
LIVE = GET + H + b"\r\n"
SMALL = ServerSettings(master_key=Secret(KEY), limits=Limits(body_mb=0.01))
SIZE = len(GOOD)
JSON = b'{"model":"chat","messages":[],"x":"%b"}'


def sized(start: bytes, body: bytes = GOOD) -> tuple[bytes, ...]:
    """A request whose body comes in a segment of its own."""
    return start + b"Content-Length: %d\r\n\r\n" % len(body), body


def chunked(start: bytes) -> tuple[bytes, ...]:
    return start + CHUNKED + b"\r\n", b"%x\r\n" % SIZE, GOOD, b"\r\n" + EMPTY


CARRIERS = {
    "body of a GET": (200, sized(GET + H)),
    "body of a HEAD": (200, sized(b"HEAD" + GET[3:] + H)),
    "body of a request without a key": (401, sized(POST)),
    "body of a wrong method": (405, sized(b"PUT" + GET[3:] + H + AUTH)),
    "body of no route": (404, sized(b"POST /x HTTP/1.1\r\n" + H + AUTH)),
    "body that is no JSON": (400, sized(POST + AUTH)),
    "body of a known head": (400, (GOOD[: -len(CHAT)].replace(b": %d" % len(CHAT), b": %d" % SIZE), GOOD)),
    "body of another type": (415, sized(b"POST /v1/embeddings HTTP/1.1\r\n" + H + AUTH + b"Content-Type: a/b\r\n")),
    "compressed body": (415, sized(POST + AUTH + b"Content-Encoding: gzip\r\n")),
    "body too large": (413, sized(POST + AUTH, GOOD * 100)),
    "half a body": (400, (*sized(POST + AUTH, GOOD * 2)[:1], GOOD, GOOD)),
    "body after an invitation": (400, sized(POST + AUTH + b"Expect: 100-continue\r\n")),
    "body after a cut head": (400, (POST[:30], POST[30:] + AUTH + b"Content-Length: %d\r\n\r\n" % SIZE, GOOD)),
    "chunk": (400, chunked(POST + AUTH)),
    "chunk of a GET": (200, chunked(GET + H)),
    "chunk of a request without a key": (401, chunked(POST)),
    "chunk extension": (400, (POST + AUTH + CHUNKED + b"\r\n" + b"1;", GOOD, b"\r\nx\r\n" + EMPTY)),
    "trailer": (200, (POST + AUTH + CHUNKED + b"\r\n%x\r\n" % len(CHAT) + CHAT + b"\r\n0\r\nX: ", GOOD, b"\r\n\r\n")),
    "header": (400, (GET + H + b"X: ", GOOD, b"\r\n\r\n")),
    "target": (400, (b"GET /", GOOD, b" HTTP/1.1\r\n" + H + b"\r\n")),
    "body of what upgrades": (426, sized(GET + H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n")),
    "body of what offers to": (200, sized(GET + H + b"Connection: Upgrade\r\nUpgrade: h2c\r\n")),
    "body of two framings": (400, (POST + AUTH + CHUNKED + b"Content-Length: %d\r\n\r\n" % SIZE, GOOD)),
    "after a 400": (400, (b"GET / HTTP/1.1\r\n\r\n", GOOD)),
    "after a close": (200, (GET + H + b"Connection: close\r\n\r\n", GOOD)),
}  # fmt: skip


@pytest.mark.parametrize(("status", "segments"), CARRIERS.values(), ids=CARRIERS.keys())
async def test_a_request_inside_another_is_never_run(status: int, segments: tuple[bytes, ...]) -> None:
    """B-01, B-11, B-14, B-16, B-17: on a fresh connection, behind good requests, and with all cuts between segments."""
    legal = {status, 400} if segments[0].startswith((b"GET /livez", POST + AUTH + CHUNKED)) else {status}
    async with warm(GOOD, LIVE, server=SMALL) as (site, upstream):
        asked = 0
        for before, joins in itertools.product((0, 1, 2), range(2 ** (len(segments) - 1))):
            async with Wire.to(site.port) as wire:
                for _ in range(before):
                    await wire.send(GOOD)
                    assert (await wire.answer()).status == 200
                await wire.send(*_joined(segments, joins))
                answer = await wire.answer(has_body=not segments[0].startswith(b"HEAD"))
                assert answer.status in legal
                if "close" not in answer.headers.get("connection", ""):
                    await wire.send(LIVE)
                    assert (await wire.answer()).body == b'{"status":"ok"}'
                    wire.end()
                assert await wire.rest() == []
            asked += before + (segments[0].startswith(POST) and answer.status == 200)
        assert len(upstream.requests) == asked
        assert {request.body for request in upstream.requests} <= {upstream.requests[0].body}


def _joined(segments: tuple[bytes, ...], joins: int) -> list[bytes]:
    """The segments, joined where `joins` has a bit."""
    made = [segments[0]]
    for number, segment in enumerate(segments[1:]):
        if joins >> number & 1:
            made[-1] += segment
        else:
            made.append(segment)
    return made


@pytest.mark.parametrize("cut", [1, 20, len(GOOD) - len(CHAT), len(GOOD) - len(CHAT) + 5, len(GOOD) - 1])
async def test_a_request_in_two_halves_with_another_in_between_is_not_two(cut: int) -> None:
    """B-01, B-18: the second connection's bytes do not complete the first one's request."""
    async with warm(GOOD, server=SMALL) as (site, upstream):
        async with Wire.to(site.port) as one, Wire.to(site.port) as other:
            for wire in (one, other):
                await wire.send(GOOD)
                assert (await wire.answer()).status == 200
            await one.send(GOOD[:cut])
            await other.send(GOOD)
            assert (await other.answer()).status == 200
            assert one.got == b""
            await one.send(GOOD[cut:])
            assert (await one.answer()).status == 200
        assert len(upstream.requests) == 4


@pytest.mark.parametrize("count", [2, 5, 40])
async def test_known_requests_in_one_segment_are_each_answered_once(count: int) -> None:
    """B-18: whole ones, and with the last one cut."""
    replies = [lambda request: json_reply({"n": request.json()["n"]})]
    bodies = [b'{"model":"chat","n":%d}' % number for number in range(count)]
    requests = [POST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    async with warm(requests[0], replies=replies) as (site, upstream):
        for cut in (None, -1, -len(bodies[-1]), -len(requests[-1]) + 10):
            async with Wire.to(site.port) as wire:
                await wire.send(requests[0])
                assert (await wire.answer()).body == b'{"n":0}'
                data = b"".join(requests)
                await wire.send(data[:cut], data[cut:] if cut else b"")
                for number in range(count):
                    assert (await wire.answer()).body == b'{"n":%d}' % number
                await wire.send(LIVE)
                assert (await wire.answer()).body == b'{"status":"ok"}'
                assert wire.got == b""
        assert len(upstream.requests) == 4 * (count + 1)


async def test_the_key_of_one_request_is_not_the_key_of_the_next() -> None:
    """B-01, D-18: known with its key, a request without it, or with another, is nobody's."""
    async with warm(GOOD, server=SMALL) as (site, upstream):
        for other in (b"", b"Authorization: Bearer " + KEY[:-1].encode() + b"x\r\n", b"Authorization: Basic eA==\r\n"):
            async with Wire.to(site.port) as wire:
                await wire.send(GOOD)
                assert (await wire.answer()).status == 200
                await wire.send(GOOD.replace(AUTH, other))
                assert (await wire.answer()).status == 401
        assert len(upstream.requests) == 3


async def test_a_client_that_leaves_a_known_request_stops_it() -> None:
    """A-22: while it waits for its answer, and half way through its body."""
    async with warm(GOOD, server=SMALL) as (site, upstream):
        upstream.then(Reply([HANG]))
        async with Wire.to(site.port) as wire:
            await wire.send(GOOD)
            await until(lambda: len(upstream.requests) == 1)
        await asyncio.wait_for(upstream.requests[0].peer.gone.wait(), 5)
        async with Wire.to(site.port) as wire:
            await wire.send(GOOD[:-1])
        await until(lambda: site.gateway.in_flight == 0)
        upstream.then(json_reply({}))
        async with Wire.to(site.port) as wire:
            await wire.send(GOOD)
            assert (await wire.answer()).status == 200
        assert len(upstream.requests) == 2
