from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.errors import UpstreamConnection, UpstreamIncomplete, UpstreamRedirect, UpstreamTimeout
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.litellm.bridge import Exchange, LitellmTransport, Pools, current
from gatewayd.upstream.litellm.translate import load_litellm
from tests.fakeup import FIN, HANG, FakeUpstream, body_reply, head, json_reply, raw_reply, split, sse_reply
from tests.stand_ins import anthropic
from tests.upstream.doubles import LONG, SILENT, call, eventually
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, WAYS, translating
from tests.upstream.sinks import ListSink

pytestmark = KNOWN_WARNINGS


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=LitellmTransport(), follow_redirects=True) as made:
        yield made


@contextmanager
def exchange(timeouts: Timeouts = LONG, end_mark: re.Pattern[bytes] | None = None) -> Iterator[Exchange]:
    made = Exchange(Pools(), timeouts, end_mark)
    token = current.set(made)
    try:
        yield made
    finally:
        current.reset(token)
        made.close()


# --- the transport by itself


async def test_a_request_goes_out_as_it_is(client: httpx.AsyncClient) -> None:
    async with FakeUpstream(json_reply({"a": 1}, headers=[("set-cookie", "s=1"), ("x-a", "b")])) as up:
        with exchange() as seen:
            response = await client.post(f"{up.base_url}/x?q=%20", json={"b": 2}, headers={"x-c": "d"})
            again = await client.post(f"{up.base_url}/x", content=b"")
        assert response.json() == {"a": 1}
        assert response.headers["x-a"] == "b"
        assert "set-cookie" not in response.headers
        assert again.status_code == 200
        assert seen.status == 200
        first, second = up.requests
        assert (first.method, first.target, first.json()) == ("POST", "/v1/x?q=%20", {"b": 2})
        assert first.headers["host"] == f"127.0.0.1:{up.port}"
        assert first.headers["x-c"] == "d"
        assert first.headers["accept-encoding"] == "identity"
        assert "cookie" not in second.headers
        assert up.connection_count == 1


async def test_there_are_no_requests_outside_a_call(client: httpx.AsyncClient) -> None:
    async with FakeUpstream() as up:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get(up.base_url)
        with exchange() as seen:
            seen.close()
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.get(up.base_url)
        assert up.connection_count == 0


async def test_no_header_can_break_out_of_its_line(client: httpx.AsyncClient) -> None:
    async with FakeUpstream() as up:
        with exchange(), pytest.raises(httpx.LocalProtocolError):
            await client.get(up.base_url, headers={"x-a": "b\r\nx-evil: 1"})
        assert not up.requests


async def test_other_schemes_are_not_spoken(client: httpx.AsyncClient) -> None:
    with exchange(), pytest.raises(httpx.UnsupportedProtocol):
        await client.get("ftp://127.0.0.1/")


async def test_what_happened_is_written_down(client: httpx.AsyncClient) -> None:
    async with FakeUpstream(
        body_reply(b"x" * 100_000, status=500, headers=[("retry-after", "3")]),
        json_reply({}, status=302, headers=[("location", "http://127.0.0.1:1/")]),
        raw_reply(HANG),
        raw_reply(head(200, [("content-length", "5")]) + b"abc", FIN),
    ) as up:
        with exchange() as seen:
            response = await client.post(up.base_url)
            assert response.status_code == 500
            assert (seen.status, seen.fields[b"retry-after"], len(seen.error_body)) == (500, b"3", 64 * 1024)
            with pytest.raises(httpx.ReadError):
                await client.post(up.base_url)
            assert isinstance(seen.failure, UpstreamRedirect)
        with exchange(SILENT) as seen:
            with pytest.raises(httpx.ReadError):
                await client.post(up.base_url)
            assert isinstance(seen.failure, UpstreamTimeout)
        with exchange() as seen:
            with pytest.raises(httpx.ReadError):
                await client.post(up.base_url)
            assert isinstance(seen.failure, UpstreamIncomplete)
    with exchange() as seen:
        with pytest.raises(httpx.ReadError):
            await client.post(up.base_url)
        assert isinstance(seen.failure, UpstreamConnection)


async def test_a_callers_errand_is_not_the_upstreams_doing(client: httpx.AsyncClient) -> None:
    async with FakeUpstream(json_reply({}, status=404), raw_reply(FIN)) as up:
        with exchange() as seen:
            assert (await client.get(up.base_url)).status_code == 404
            with pytest.raises(httpx.ReadError):
                await client.get(up.base_url)
            assert (seen.status, seen.failure) == (0, None)
        await eventually(lambda: up.open_count == 0)


async def test_a_packed_answer_is_unpacked(client: httpx.AsyncClient) -> None:
    """A-07: although it was not asked for."""
    packed = body_reply(gzip.compress(b'{"a": 1}'), headers=[("content-encoding", "gzip")])
    async with FakeUpstream(packed) as up:
        with exchange():
            assert (await client.get(up.base_url)).json() == {"a": 1}


@given(cuts=st.sets(st.integers(1, 199), max_size=12), mark=st.integers(0, 180))
@settings(max_examples=25)
def test_bytes_arrive_as_they_were_sent_and_the_mark_is_seen(cuts: set[int], mark: int) -> None:
    """A-16."""
    body = bytearray(b"\xe2\x82\xac" * 67)[:200]
    body[mark : mark + 10] = b'"the-end"\n'

    async def relay() -> None:
        async with (
            FakeUpstream(sse_reply(split(bytes(body), cuts))) as up,
            httpx.AsyncClient(transport=LitellmTransport()) as client,
        ):
            with exchange(end_mark=re.compile(rb'"the-end"')) as seen:
                assert (await client.post(up.base_url)).content == bytes(body)
                assert seen.marked
            with exchange(end_mark=re.compile(rb"another")) as seen:
                await client.post(up.base_url)
                assert not seen.marked

    asyncio.run(relay())


async def test_an_upstream_that_is_ahead_waits(client: httpx.AsyncClient) -> None:
    """A-24."""
    total = 64 * 1024 * 1024
    async with FakeUpstream(body_reply(b"x" * total)) as up:
        with exchange():
            async with client.stream("GET", up.base_url) as response:
                chunks = response.aiter_raw()
                await anext(chunks)
                sent = -1
                while sent != up.peers[0].sent:
                    sent = up.peers[0].sent
                    await asyncio.sleep(0.05)
                assert sent < total / 2
                size = 0
                async for chunk in chunks:
                    size += len(chunk)
                assert size > total / 2


# --- with litellm on top of it


def working() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if "fake-upstream" not in task.get_name()}


@WAYS
async def test_leaving_before_the_answer_closes_the_connection_at_once(direct: bool) -> None:
    """A-21, A-22."""
    await load_litellm()
    async with FakeUpstream(raw_reply(HANG)) as up:
        before = working()
        for stream in (False, True):
            opening = asyncio.get_running_loop().create_task(
                translating(up, direct=direct).open(call(messages=MESSAGES, stream=stream))
            )
            await eventually(lambda: len(up.requests) == up.connection_count == len(up.peers) and up.open_count == 1)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await eventually(lambda: up.open_count == 0)
            await eventually(lambda: working() == before)


@WAYS
async def test_leaving_in_the_middle_of_a_whole_answer(direct: bool) -> None:
    """A-22."""
    await load_litellm()
    partial = raw_reply(head(200, [("content-type", "application/json"), ("content-length", "500")]) + b'{"id":', HANG)
    async with FakeUpstream(partial) as up:
        opening = asyncio.get_running_loop().create_task(translating(up, direct=direct).open(call(messages=MESSAGES)))
        await eventually(lambda: bool(up.peers) and up.peers[0].sent > 0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await eventually(lambda: up.open_count == 0)


@WAYS
@pytest.mark.parametrize("full", [False, True])
async def test_leaving_in_the_middle_of_a_stream(full: bool, direct: bool) -> None:
    """A-20: the upstream is silent, or the client's buffer is full; either way nothing is there to notice it by."""
    silent = anthropic.cut([anthropic.start(), anthropic.delta("a"), anthropic.delta("b")], by=HANG)
    async with FakeUpstream(silent) as up:
        before = working()
        reply = await translating(up, direct=direct).open(call(messages=MESSAGES, stream=True))
        sink = ListSink(pause_after=1 if full else None)
        piping = asyncio.get_running_loop().create_task(reply.pipe(sink))
        await eventually(lambda: len(sink.writes) == (1 if full else 2))
        piping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await piping
        reply.close()
        reply.close()
        await eventually(lambda: up.open_count == 0)
        await eventually(lambda: working() == before)


@WAYS
async def test_a_stream_that_is_never_read_is_closed_too(direct: bool) -> None:
    silent = anthropic.cut([anthropic.start(), anthropic.delta("a")], by=HANG)
    async with FakeUpstream(silent) as up:
        before = working()
        reply = await translating(up, direct=direct).open(call(messages=MESSAGES, stream=True))
        assert up.open_count == 1
        reply.close()
        await eventually(lambda: up.open_count == 0)
        await eventually(lambda: working() == before)


@WAYS
async def test_leaving_at_any_moment_leaves_nothing_behind(direct: bool) -> None:
    """H-04: no connection, no task, no coroutine that nobody awaits (which would be a warning, hence an error here)."""
    await load_litellm()
    async with FakeUpstream(anthropic.answer) as up:
        before = working()
        for turns in range(0, 120, 3):
            upstream = translating(up, direct=direct)
            opening = asyncio.get_running_loop().create_task(
                upstream.open(call(messages=MESSAGES, stream=turns % 2 == 0))
            )
            for _ in range(turns):
                await asyncio.sleep(0.0005 if turns > 60 else 0)
            opening.cancel()
            try:
                (await opening).close()
            except asyncio.CancelledError:
                pass
            await upstream.aclose()
        await eventually(lambda: up.open_count == 0)
        await eventually(lambda: working() == before)
