"""How long a connection is waited for: in a head, in a body, between two requests; known or unknown to the gateway."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.web.connection import Deadlines
from tests.clock import HandClock
from tests.replies import Reply, json_reply
from tests.web.shapes import CHUNKED, GET, POST, H
from tests.web.support import CHAT, until
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
async def test_an_idle_connection_is_closed_in_time_without_a_word(requests: list[bytes], clock: HandClock) -> None:
    """B-09"""
    async with warm(GOOD, deadlines=Deadlines(idle=200)) as (site, _), Wire.to(site.port) as wire:
        for request in requests:
            await wire.send(request)
            assert (await wire.answer()).status == 200
        await clock.wind(190.0)
        assert not wire.ended
        await clock.wind(11.0)
        assert await wire.rest() == []


@pytest.mark.parametrize("request_", [LIVE, GOOD])
async def test_a_connection_in_use_is_not_idle(request_: bytes, clock: HandClock) -> None:
    """B-09: used again and again, for longer than it may be idle."""
    async with warm(GOOD, deadlines=Deadlines(idle=200)) as (site, _), Wire.to(site.port) as wire:
        for _ in range(5):
            await wire.send(request_)
            assert (await wire.answer()).status == 200
            await clock.wind(150.0)
        assert not wire.ended


async def test_waiting_for_an_answer_is_not_idle(clock: HandClock) -> None:
    """B-09: an upstream that takes longer than a connection may be idle."""
    come = asyncio.Event()
    async with warm(GOOD, deadlines=Deadlines(idle=20)) as (site, upstream), Wire.to(site.port) as wire:
        await wire.send(GOOD)
        await wire.answer()
        asked = len(upstream.requests)
        upstream.then(Reply([come, *json_reply({"late": True}).steps]))
        await wire.send(GOOD)
        await until(lambda: len(upstream.requests) > asked)
        await clock.wind(40.0)
        come.set()
        assert (await wire.answer()).body == b'{"late":true}'
        await clock.wind(21.0)
        assert await wire.rest() == []


async def test_a_drain_closes_idle_connections_at_once(clock: HandClock) -> None:
    """B-09: whatever was asked on them last, if anything was; no timer is needed for it."""
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
        clock.stop()
        await site.listener.drain(SLOW)
        clock.start()
        for wire in (fresh, lively, known):
            assert await wire.rest() == []


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_head_that_dribbles_is_cut_off(before: int, clock: HandClock) -> None:
    """B-06: a byte now and then does not help, nor having been good before."""
    async with warm(GOOD, deadlines=Deadlines(head=100, idle=1000)) as (site, _), Wire.to(site.port) as wire:
        for _ in range(before):
            await wire.send(GOOD)
            await wire.answer()
        for byte in GOOD[:9]:
            await wire.send(bytes([byte]))
            await clock.wind(11.0)
        assert not wire.ended
        await wire.send(GOOD[9:10])
        await clock.wind(2.0)
        assert await wire.rest() == []


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
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert answer.headers["connection"] == "close"


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


async def test_a_body_that_is_slow_but_comes_is_read(clock: HandClock) -> None:
    """B-08: the counterpart, in segments that are further apart than the gateway holds back a known request."""
    async with warm(GOOD, deadlines=Deadlines(head=0.5, body=SLOW)) as (site, _), Wire.to(site.port) as wire:
        for _ in range(2):
            await wire.send(GOOD[:-20])
            await clock.wind(1.0)
            await wire.send(GOOD[-20:-1])
            await clock.wind(1.0)
            await wire.send(GOOD[-1:])
            assert (await wire.answer()).status == 200
