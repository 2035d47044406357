"""Connections kept, shared, waited for, replaced and thrown away, against a real socket."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gatewayd.errors import UpstreamConnection, UpstreamIncomplete, UpstreamTimeout
from gatewayd.upstream.answer import Answer
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.dial import Origin
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.transport import Connection
from tests.clock import HandClock
from tests.fakeup import FIN, HANG, RST, FakeUpstream, body_reply, error_reply, head, json_reply, raw_reply
from tests.upstream.doubles import LONG, SHORT, SILENT, STALLED, eventually

ONE = json_reply({"n": 1})
TWO = json_reply({"n": 2})


def pool_of(up: FakeUpstream, **limits: float) -> Pool:
    return Pool(Origin("127.0.0.1", up.port, False), **limits)  # type: ignore[arg-type]


async def ask(pool: Pool, body: bytes = b"{}", timeouts: Timeouts = LONG) -> Answer:
    answer = Answer(asyncio.get_running_loop().create_future())
    await pool.exchange(answer, b"POST /x HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body), body, timeouts)
    return answer


@asynccontextmanager
async def pooled(up: FakeUpstream, **limits: float) -> AsyncIterator[Pool]:
    """A pool that must have lost nothing at the end."""
    async with up:
        pool = pool_of(up, **limits)
        yield pool
        await pool.aclose()
        assert pool.open_count == 0
        assert pool.idle_count == 0
        await eventually(lambda: up.open_count == 0)


async def test_one_connection_serves_requests_in_a_row() -> None:
    async with pooled(up := FakeUpstream(ONE)) as pool:
        for _ in range(5):
            assert (await ask(pool)).body == b'{"n":1}'
        assert up.connection_count == 1
        assert pool.idle_count == 1


async def test_requests_at_once_have_connections_of_their_own() -> None:
    async with pooled(up := FakeUpstream(ONE), max_idle=3) as pool:
        await asyncio.gather(*(ask(pool) for _ in range(10)))
        assert up.connection_count == 10
        assert pool.idle_count == 3, "what is too many to keep is closed"
        await eventually(lambda: up.open_count == 3)


async def test_idle_connections_expire() -> None:
    async with pooled(up := FakeUpstream(ONE), idle_expiry=0.03) as pool:
        await ask(pool)
        await eventually(lambda: up.open_count == 0)
        assert pool.open_count == 0
        await ask(pool)
        assert up.connection_count == 2


@pytest.mark.parametrize("end", [FIN, RST])
async def test_a_stale_connection_costs_nothing(end: object) -> None:
    """A-30: the upstream closes on the second request; it is sent once more on a fresh connection."""
    async with pooled(up := FakeUpstream(ONE, raw_reply(end), TWO)) as pool:  # type: ignore[arg-type]
        await ask(pool)
        assert (await ask(pool, b"again")).body == b'{"n":2}'
        assert up.connection_count == 2
        assert [request.body for request in up.requests] == [b"{}", b"again", b"again"]


async def test_a_stale_connection_is_retried_once() -> None:
    """A-30, A-31: what a fresh connection does counts."""
    async with pooled(up := FakeUpstream(ONE, raw_reply(RST))) as pool:
        await ask(pool)
        with pytest.raises(UpstreamConnection):
            await ask(pool)
        assert len(up.requests) == 3
        with pytest.raises(UpstreamConnection):
            await ask(pool)
        assert len(up.requests) == 4


async def test_a_restarted_upstream_is_found_again() -> None:
    """A-30: many idle connections died, none of them is an error."""
    async with pooled(up := FakeUpstream(ONE)) as pool:
        await asyncio.gather(*(ask(pool) for _ in range(5)))
        await up.stop()
        async with up:
            results = await asyncio.gather(*(ask(pool) for _ in range(5)))
            assert [answer.body for answer in results] == [b'{"n":1}'] * 5


async def test_an_answer_that_began_is_not_repeated() -> None:
    """A-30"""
    cut = raw_reply(head(200, [("Content-Length", "10")]) + b"half", RST)
    async with pooled(up := FakeUpstream(ONE, cut)) as pool:
        await ask(pool)
        with pytest.raises(UpstreamIncomplete):
            await ask(pool)
        assert len(up.requests) == 2


async def test_an_upstream_that_closes_every_connection_at_once() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        pool = Pool(Origin("127.0.0.1", server.sockets[0].getsockname()[1], False))
        for _ in range(20):
            with pytest.raises(UpstreamConnection):
                await ask(pool)
        assert pool.open_count == 0


async def test_waiting_in_line() -> None:
    """First come, first served."""
    async with pooled(up := FakeUpstream(lambda request: body_reply(request.body)), max_connections=1) as pool:
        answers = await asyncio.gather(*(ask(pool, b"%d" % n) for n in range(20)))
        assert [answer.body for answer in answers] == [b"%d" % n for n in range(20)], "each got its own"
        assert [request.body for request in up.requests] == [b"%d" % n for n in range(20)]
        assert up.connection_count == 1


async def test_no_more_connections_than_allowed() -> None:
    async with pooled(up := FakeUpstream(lambda request: body_reply(request.body)), max_connections=3) as pool:
        answers = await asyncio.gather(*(ask(pool, b"%d" % n) for n in range(50)))
        assert [answer.body for answer in answers] == [b"%d" % n for n in range(50)]
        assert up.connection_count == 3


async def test_all_clients_that_are_let_in_get_a_connection() -> None:
    """B-24: how many those are is for `limits.connections` to say, which is far beyond a thousand."""
    dials = 0

    async def dial(*_: object) -> Connection:
        nonlocal dials
        dials += 1
        await asyncio.Event().wait()
        raise AssertionError

    pool = Pool(Origin("127.0.0.1", 9, False))
    pool._dialler.dial = dial  # type: ignore[assignment, method-assign]  # without sockets
    tasks = [asyncio.ensure_future(ask(pool)) for _ in range(5000)]
    await eventually(lambda: dials == len(tasks))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert pool.open_count == 0


async def test_waiting_ends_with_the_connect_timeout() -> None:
    async with pooled(up := FakeUpstream(raw_reply(HANG)), max_connections=1) as pool:
        first = asyncio.ensure_future(ask(pool))
        await eventually(lambda: len(up.requests) == 1)
        with pytest.raises(UpstreamTimeout) as caught:
            await ask(pool, timeouts=SHORT)
        assert caught.value.kind == "connect"
        first.cancel()
        await asyncio.wait([first])


async def test_who_waits_gets_the_place_of_a_broken_connection() -> None:
    release = asyncio.Event()
    async with pooled(up := FakeUpstream(raw_reply(release, RST), ONE), max_connections=1) as pool:
        first = asyncio.ensure_future(ask(pool))
        await eventually(lambda: len(up.requests) == 1)
        second = asyncio.ensure_future(ask(pool))
        third = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(0)
        second.cancel()
        release.set()
        assert (await third).body == b'{"n":1}'
        with pytest.raises(UpstreamConnection):
            await first
        await asyncio.wait([second])


async def test_cancelling_at_every_moment_leaves_nothing() -> None:
    """A-20, A-22: requests cancelled after any number of turns, some waiting, some dialling, some answered."""
    async with pooled(up := FakeUpstream(json_reply({"n": 1}, delay=0.001)), max_connections=3) as pool:
        tasks: list[asyncio.Task[Answer]] = []
        for turns in range(60):
            tasks += [asyncio.ensure_future(ask(pool)) for _ in range(2)]
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            tasks[-1].cancel()
            if turns % 7 == 0:
                await asyncio.sleep(0.002)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        answered = [result.body for result in results if isinstance(result, Answer)]
        assert answered == [b'{"n":1}'] * len(answered)
        assert 60 <= len(answered) < 120
        assert all(isinstance(result, Answer | asyncio.CancelledError) for result in results)
        assert pool.open_count == pool.idle_count <= 3
        assert (await ask(pool)).body == b'{"n":1}'
        await eventually(lambda: up.open_count == pool.idle_count)


async def test_cancelling_closes_the_connection_at_once(clock: HandClock) -> None:
    """A-22: no timer is needed for it."""
    async with pooled(up := FakeUpstream(raw_reply(HANG))) as pool:
        task = asyncio.ensure_future(ask(pool))
        await eventually(lambda: len(up.requests) == 1)
        clock.stop()
        task.cancel()
        await asyncio.wait([task])
        assert pool.open_count == 0
        await up.peers[0].gone.wait()


async def test_a_cancelled_request_does_not_close_what_has_moved_on() -> None:
    """The answer came, its connection was lent to somebody else, and only then its task is cancelled."""
    async with pooled(FakeUpstream(ONE)) as pool:
        loop = asyncio.get_running_loop()
        first_answer = Answer(loop.create_future())
        first = asyncio.ensure_future(pool.exchange(first_answer, b"POST / HTTP/1.1\r\n\r\n", b"", LONG))
        second: list[asyncio.Future[Answer]] = []

        def lend_and_cancel(_: object) -> None:
            second.append(asyncio.ensure_future(ask(pool)))
            loop.call_soon(first.cancel)

        first_answer.ready.add_done_callback(lend_and_cancel)
        await asyncio.wait([first])
        assert (await second[0]).body == b'{"n":1}'


async def test_timeouts() -> None:
    """A-18, A-19"""
    half = raw_reply(head(200, [("Content-Length", "10")]) + b"half", HANG)
    async with pooled(FakeUpstream(raw_reply(HANG), half)) as pool:
        for kind, timeouts in (("first_byte", SILENT), ("idle", STALLED)):
            with pytest.raises(UpstreamTimeout) as caught:
                await ask(pool, timeouts=timeouts)
            assert caught.value.kind == kind
            assert pool.open_count == 0


@pytest.mark.parametrize("reads", [True, False])
async def test_an_early_answer_to_a_long_request(reads: bool) -> None:
    """A-39: the upstream answers 413 with megabytes still to come, and closes or goes on listening."""
    early = error_reply(413, "too large", early=True)
    early = replace(early, close=not reads)
    async with pooled(up := FakeUpstream(early)) as pool:
        answer = await ask(pool, b"x" * 20_000_000)
        assert answer.status == 413
        assert b"too large" in (answer.body or b"")
        await eventually(lambda: up.open_count == 0)


async def test_a_long_request_arrives() -> None:
    async with pooled(up := FakeUpstream(ONE)) as pool:
        body = bytes(range(256)) * 40_000
        await ask(pool, body)
        assert up.requests[0].body == body


async def test_what_is_closed_stays_closed() -> None:
    """`aclose` with an answer under way: its connection is not kept."""
    release = asyncio.Event()
    async with pooled(up := FakeUpstream(raw_reply(release, *ONE.steps))) as pool:
        task = asyncio.ensure_future(ask(pool))
        await eventually(lambda: len(up.requests) == 1)
        await pool.aclose()
        release.set()
        assert (await task).body == b'{"n":1}'
        assert pool.open_count == 0


async def test_nothing_is_left_for_the_collector() -> None:
    """H-01: a connection is freed without waiting for the garbage collector."""
    async with pooled(FakeUpstream(ONE)) as pool:
        await ask(pool)
    await asyncio.sleep(0.01)
    gc.collect()
    gc.disable()
    try:
        async with pooled(FakeUpstream(ONE)) as pool:
            await ask(pool)
        await asyncio.sleep(0.01)
        assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "Connection"]
    finally:
        gc.enable()
