"""One client's backlog never stops the others: it is worked off a small step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sized
from contextlib import AsyncExitStack

import pytest

from tests.replies import json_reply, raw_reply
from tests.web.shapes import CHUNKED, EMPTY, GET, POST, H
from tests.web.support import CHAT, WITH_KEY
from tests.web.wire import Wire, warm

GOOD = POST + b"Authorization: Bearer sk-master-0123456789\r\nContent-Length: %d\r\n\r\n" % len(CHAT) + CHAT
UNKNOWN_KEY = POST + b"Authorization: Bearer sk-x\r\nContent-Length: %d\r\n\r\n" % len(CHAT) + CHAT
UNKNOWN_URL = b"GET /nowhere HTTP/1.1\r\n" + H + b"Authorization: Bearer sk-master-0123456789\r\n\r\n"
HEALTH = GET + H + b"\r\n"


@pytest.mark.parametrize("request_", [UNKNOWN_KEY, UNKNOWN_URL, HEALTH], ids=["401", "404", "livez"])
async def test_connections_that_pipeline_do_not_hold_up_a_call(request_: bytes) -> None:
    """U-F2: 40 connections with 400 requests each are answered in turns; a call beside them waits for few of those."""
    async with warm(GOOD, server=WITH_KEY) as (site, _), AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(Wire.to(site.port)) for _ in range(40)]
        other = await stack.enter_async_context(Wire.to(site.port))
        await asyncio.gather(*(wire.send(request_ * 400) for wire in flood))
        await other.send(GOOD)
        assert (await other.answer()).status == 200
        assert _answered(flood) < 1000
        for wire in flood[:3]:  # all are answered in the end, those of one connection in their order
            statuses = {(await wire.answer()).status for _ in range(400)}
            assert statuses <= {200, 401, 404}
            assert wire.got == b""


def _answered(flood: Iterable[Wire]) -> int:
    return sum(wire.look().count(b"HTTP/1.1 ") for wire in flood)


async def test_requests_on_one_connection_are_answered_beside_those_of_many() -> None:
    """U-F2: turns go round all connections, so the one that asked last is not the last to be answered."""
    async with warm(GOOD, server=WITH_KEY) as (site, _), AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(Wire.to(site.port)) for _ in range(10)]
        late = await stack.enter_async_context(Wire.to(site.port))
        await asyncio.gather(*(wire.send(UNKNOWN_URL * 400) for wire in flood))
        await late.send(HEALTH * 5)
        for _ in range(5):
            assert (await late.answer()).status == 200
        assert _answered(flood) < 1000


def _chunks(size: int, total: int) -> bytes:
    return b"".join([b"%x\r\n" % size + b" " * size + b"\r\n"] * (total // size))


async def test_a_body_of_mostly_framing_is_refused() -> None:
    """U-C5: chunks of one byte at full speed; the client reads the answer although it has not sent everything."""
    async with warm(GOOD, server=WITH_KEY) as (site, upstream), Wire.to(site.port) as wire:
        await wire.send(GOOD.partition(b"Content-Length")[0] + CHUNKED + b"\r\n" + _chunks(1, 30_000))
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert "framing" in answer.error["message"]
        assert await wire.rest() == []
        assert not upstream.requests


@pytest.mark.parametrize("size", [1, 8, 1000])
async def test_small_chunks_are_a_good_body_as_long_as_they_are_few(size: int) -> None:
    """U-C5: a client that writes token by token sends such bodies."""
    body = CHAT[:-1] + b" " * (2000 if size == 1 else 60_000) + b"}"
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[i : i + size] for i in range(0, len(body), size))
    )
    async with warm(GOOD, server=WITH_KEY) as (site, upstream), Wire.to(site.port) as wire:
        await wire.send(GOOD.partition(b"Content-Length")[0] + CHUNKED + b"\r\n" + chunks + EMPTY)
        assert (await wire.answer()).status == 200
        assert upstream.requests[0].json()["messages"] == []


async def test_chunks_do_not_hold_up_a_call() -> None:
    """U-C5: 40 bodies in chunks of six bytes are read in turns."""
    head = GOOD.partition(b"Content-Length")[0] + CHUNKED + b"\r\n"
    async with warm(GOOD, server=WITH_KEY) as (site, _), AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(Wire.to(site.port)) for _ in range(40)]
        other = await stack.enter_async_context(Wire.to(site.port))
        await asyncio.gather(*(wire.send(head + _chunks(6, 30_000) + EMPTY) for wire in flood))
        await other.send(GOOD)
        assert (await other.answer()).status == 200
        assert sum(wire.has_news for wire in flood) < 20
        for wire in flood:
            assert (await wire.answer()).status == 400  # a body of blanks


@pytest.mark.parametrize(
    "behind",
    [lambda: UNKNOWN_URL * 2000, lambda: GOOD, lambda: GOOD[:100]],
    ids=["many", "one", "part"],
)
async def test_nothing_behind_the_last_request_is_answered(behind: Callable[[], bytes]) -> None:
    """U-C3: RFC 9112, 9.6. The client asked for the end of the connection itself."""
    last = GOOD.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    async with warm(GOOD, server=WITH_KEY) as (site, upstream), Wire.to(site.port) as wire:
        await wire.send(last + behind())
        (answer,) = await wire.rest()
        assert answer.headers["connection"] == "close"
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_request_behind_an_answer_that_became_the_last_is_dropped(when: str) -> None:
    """U-C3: the listener closed while the answer was on its way, so that answer says `connection: close`."""
    go = asyncio.Event()
    held = json_reply({"object": "chat.completion", "choices": [{}]})
    async with warm(GOOD, server=WITH_KEY) as (site, upstream), Wire.to(site.port) as wire:
        upstream.then(raw_reply(go, *held.steps))
        await wire.send(GOOD)
        await _asked(upstream.requests, 1)
        if when == "before":
            await wire.send(GOOD)
        site.listener.stop_accepting()
        if when == "after":
            await wire.send(GOOD)
        go.set()
        (answer,) = await wire.rest()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert len(upstream.requests) == 1


async def _asked(requests: Sized, count: int) -> None:
    while len(requests) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
