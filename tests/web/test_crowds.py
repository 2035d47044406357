"""Much at once: bursts on one connection, heads without end, connections without number."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gatewayd.config.snapshot import Limits, ServerSettings
from tests.clock import HandClock
from tests.replies import json_reply
from tests.web.shapes import CHUNKED, EMPTY, GET, POST, H
from tests.web.support import CHAT
from tests.web.wire import Wire, warm

GOOD = POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
LIVE = GET + H + b"\r\n"


@pytest.mark.parametrize(("request_", "count"), [(LIVE, 10_000), (GOOD, 2_000)], ids=["health", "chat"])
async def test_a_burst_is_all_answered_and_others_get_in_between(request_: bytes, count: int) -> None:
    """B-18: ten thousand on one connection; another one waits for a few of them at most."""
    async with warm(GOOD) as (site, upstream), Wire.to(site.port) as burst, Wire.to(site.port) as other:
        sending = asyncio.create_task(burst.send(request_ * count))
        for number in range(count):
            if number % (count // 10) == 0:
                asked = len(upstream.requests)
                await other.send(GOOD)
                assert (await other.answer()).status == 200
                assert len(upstream.requests) - asked < 100
            assert (await burst.answer()).status == 200
        await sending
        assert burst.got == b""
        assert upstream.open_count <= 2


async def test_a_burst_that_nobody_reads_the_answers_of_is_not_read_on() -> None:
    """B-18, A-24: what is held of it is bounded; read at last, all of it is answered."""
    big = json_reply({"text": "x" * 100_000})
    async with warm(GOOD, replies=[big]) as (site, upstream), Wire.to(site.port) as burst:
        sending = asyncio.create_task(burst.send(GOOD * 1000))
        asked = -1
        while len(upstream.requests) > asked:  # until nothing moves any more
            asked = len(upstream.requests)
            await asyncio.sleep(0.3)
        assert asked < 200  # 20 MB, of which the kernel takes what it likes
        for _ in range(1000):
            assert len((await burst.answer()).body) > 100_000
        await sending


@pytest.mark.parametrize(
    ("start", "unit"),
    [
        (GET + H + b"X: ", b"a"),
        (GET + H, b"a"),
        (b"GET /", b"a"),
        (GET + H, b"X: a\r\n"),
        (b"", b"A"),
        (POST + CHUNKED + b"\r\n5\r\nabcde\r\n0\r\nX: ", b"a"),
        (POST + CHUNKED + b"\r\n5\r\nabcde\r\n0\r\n", b"X: a\r\n"),
    ],
    ids=["header", "name", "target", "headers", "method", "trailer", "trailers"],
)
@pytest.mark.parametrize("before", [0, 2])
async def test_a_head_without_end_is_refused_after_eight_kilobytes(start: bytes, unit: bytes, before: int) -> None:
    """B-10, B-20: in fragments of one byte, or one line."""
    async with warm(GOOD) as (site, upstream), Wire.to(site.port) as wire:
        for _ in range(before):
            await wire.send(GOOD)
            assert (await wire.answer()).status == 200
        await wire.send(start)
        sent = 0
        while sent < 16_000 and not wire.has_news:
            await wire.send(unit)
            sent += len(unit)
        assert sent <= 8192
        assert (await wire.answer()).status == 400
        assert await wire.rest() == []
        assert len(upstream.requests) == before


async def test_the_largest_head_that_is_read_costs_no_more_than_what_was_said() -> None:
    """B-10: just below the limits is served, whether its head is remembered or not."""
    large = POST + b"X: " + b"a" * 8100 + b"\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(100)) + GOOD[len(POST) :]
    async with warm(large) as (site, _), Wire.to(site.port) as wire:
        for _ in range(3):
            await wire.send(large)
            assert (await wire.answer()).status == 200


async def test_an_endless_chunk_extension_is_refused_or_held_nowhere() -> None:
    """B-01, B-20: it is no part of the body, and must not be a place to put megabytes."""
    async with warm(GOOD) as (site, _), Wire.to(site.port) as wire:
        await wire.send(POST + CHUNKED + b"\r\n%x;" % len(CHAT))
        for _ in range(200):
            await wire.send(b"a" * 10_000)
        assert (site.sample("gatewayd_request_body_bytes") or 0) <= len(CHAT)
        await wire.send(b"\r\n" + CHAT + b"\r\n" + EMPTY)
        assert (await wire.answer()).status in (200, 400)


async def test_connections_above_the_cap_are_told_so_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture, clock: HandClock
) -> None:
    """B-24: with one line a second in the log, however many knock."""
    server = ServerSettings(limits=Limits(connections=4))
    async with warm(GOOD, server=server) as (site, _), contextlib.AsyncExitStack() as stack:  # `warm` has one
        inside = [await stack.enter_async_context(Wire.to(site.port)) for _ in range(3)]
        for wire in inside:
            await wire.send(GOOD)
            assert (await wire.answer()).status == 200
        clock.stop()
        for number in range(150):
            if number in (50, 100):
                await clock.wind(1.01)
            async with Wire.to(site.port) as outside:
                (answer,) = await outside.rest()
                assert (answer.status, answer.error["code"]) == (503, "server_busy")
                assert answer.headers["retry-after"] == "1"
        lines = [record for record in caplog.records if "which is the limit" in record.message]
        assert len(lines) == 3
        for wire in inside:
            await wire.send(GOOD)
            assert (await wire.answer()).status == 200
