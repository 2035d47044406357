"""How long a connection is waited for: in a head, in a body, between two requests; known or unknown to the gateway."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.web.connection import Deadlines
from tests.replies import Reply, json_reply
from tests.web.shapes import CHUNKED, GET, POST, H
from tests.web.support import CHAT
from tests.web.wire import Wire, warm

GOOD = POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
LIVE = GET + H + b"\r\n"
SLOW = 20.0
"""Deadlines that a test does not live to see."""
QUICK = Deadlines(head=0.3, body=0.3, idle=SLOW)


async def test_the_default_figures() -> None:
    """B-06, B-07, B-08, B-09"""
    figures = Deadlines()
    assert (figures.head, figures.body, figures.idle) == (10, 30, 75)


@pytest.mark.parametrize("requests", [[LIVE], [GOOD], [GOOD, GOOD, GOOD], [GOOD, LIVE]])
async def test_an_idle_connection_is_closed_in_time_without_a_word(requests: list[bytes]) -> None:
    """B-09"""
    loop = asyncio.get_running_loop()
    async with warm(GOOD, deadlines=Deadlines(idle=0.3)) as (site, _), Wire.to(site.port) as wire:
        began = 0.0
        for request in requests:
            began = loop.time()
            await wire.send(request)
            assert (await wire.answer()).status == 200
        assert await wire.rest() == []
        assert loop.time() - began >= 0.29  # the clock of timers may be a little coarse


@pytest.mark.parametrize("request_", [LIVE, GOOD])
async def test_a_connection_in_use_is_not_idle(request_: bytes) -> None:
    """B-09: used again and again, for longer than it may be idle."""
    loop = asyncio.get_running_loop()
    async with warm(GOOD, deadlines=Deadlines(idle=1.5)) as (site, _), Wire.to(site.port) as wire:
        began = loop.time()
        while loop.time() - began < 2:
            await wire.send(request_)
            assert (await wire.answer()).status == 200
            await asyncio.sleep(0.05)


async def test_waiting_for_an_answer_is_not_idle() -> None:
    """B-09: an upstream that takes longer than a connection may be idle."""
    late = Reply([1.5, *json_reply({"late": True}).steps])
    async with warm(GOOD, deadlines=Deadlines(idle=1)) as (site, upstream), Wire.to(site.port) as wire:
        await wire.send(GOOD)
        await wire.answer()
        upstream.then(late)
        await wire.send(GOOD)
        assert (await wire.answer()).body == b'{"late":true}'
        assert await wire.rest() == []


async def test_a_drain_closes_idle_connections_at_once() -> None:
    """B-09: whatever was asked on them last, if anything was."""
    async with (
        warm(GOOD, deadlines=Deadlines(idle=SLOW, head=SLOW)) as (site, _),
        Wire.to(site.port) as fresh,
        Wire.to(site.port) as lively,
        Wire.to(site.port) as known,
    ):
        await lively.send(LIVE)
        assert (await lively.answer()).status == 200
        for _ in range(2):
            await known.send(GOOD)
            assert (await known.answer()).status == 200
        began = asyncio.get_running_loop().time()
        await site.listener.drain(SLOW)
        assert asyncio.get_running_loop().time() - began < SLOW / 2
        for wire in (fresh, lively, known):
            assert await wire.rest() == []


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_head_that_dribbles_is_cut_off(before: int) -> None:
    """B-06: a byte now and then does not help, nor having been good before."""
    async with warm(GOOD, deadlines=QUICK) as (site, _), Wire.to(site.port) as wire:
        for _ in range(before):
            await wire.send(GOOD)
            await wire.answer()
        began = asyncio.get_running_loop().time()
        for byte in GOOD[: GOOD.index(b"\r\n\r\n")]:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.03)
            if wire.ended:
                break
        assert await wire.rest() == []
        assert 0.2 < asyncio.get_running_loop().time() - began < len(GOOD) * 0.03


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("begun", [0, 10])
async def test_a_body_that_stops_is_a_408_and_the_end(before: int, begun: int) -> None:
    """B-08: whether none of it came or a part, and however well its head is known."""
    async with warm(GOOD, deadlines=QUICK) as (site, upstream), Wire.to(site.port) as wire:
        for _ in range(before):
            await wire.send(GOOD)
            await wire.answer()
        await wire.send(GOOD[: len(GOOD) - len(CHAT) + begun])
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert answer.headers["connection"] == "close"
        await wire.send(GOOD)
        assert await wire.rest() == []
        assert len(upstream.requests) == before


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_below_the_least_rate_is_a_408(framing: str) -> None:
    """B-08: never silent for long, and still too slow: a byte each time."""
    head = POST + (b"Content-Length: 100000\r\n\r\n" if framing == "length" else CHUNKED + b"\r\n")
    async with warm(GOOD, deadlines=QUICK) as (site, _), Wire.to(site.port) as wire:
        await wire.send(head)
        for _ in range(200):
            await wire.send(b" " if framing == "length" else b"1\r\n \r\n")
            await asyncio.sleep(0.02)
            if wire.has_news:
                break
        else:
            raise AssertionError("it was waited for")
        assert (await wire.answer()).status == 408


async def test_what_came_fast_buys_no_time_for_what_drips() -> None:
    """U-F7: half a megabyte at once and then a byte at a time would hold its memory for minutes."""
    body = b" " * 500_000
    async with warm(GOOD, deadlines=QUICK) as (site, _), Wire.to(site.port) as wire:
        await wire.send(POST + b"Content-Length: 1000000\r\n\r\n" + body)
        for _ in range(200):
            await wire.send(b" ")
            await asyncio.sleep(0.02)
            if wire.has_news:
                break
        else:
            raise AssertionError("it was waited for")
        assert (await wire.answer()).status == 408


async def test_a_body_that_is_slow_but_comes_is_read() -> None:
    """B-08: the counterpart, in segments that are further apart than the gateway holds back a known request."""
    async with warm(GOOD, deadlines=Deadlines(head=0.5, body=SLOW)) as (site, _), Wire.to(site.port) as wire:
        for _ in range(2):
            await wire.send(GOOD[:-20])
            await asyncio.sleep(0.4)
            await wire.send(GOOD[-20:-1])
            await asyncio.sleep(0.4)
            await wire.send(GOOD[-1:])
            assert (await wire.answer()).status == 200
