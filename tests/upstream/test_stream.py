"""Streams: what begins, what is held back, and that every byte until the end mark arrives unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.errors import UpstreamBadResponse, UpstreamIncomplete, UpstreamStatus, UpstreamTimeout
from gatewayd.upstream.stream import MAX_HELD
from gatewayd.wire.openai import Usage
from tests.replies import DONE, chat_events, chunk, event, head
from tests.upstream.doubles import Clock
from tests.upstream.stream_bench import CHUNKED, CLOSING, GOOD, StreamBench, framed

CHAT = b"".join(
    chat_events("Hello", "wörld 🌍", usage={"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12})
)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_cut_into_segments_at_every_place(framing: str) -> None:
    """A-16"""
    wire = framed(CHAT, framing)
    for at in range(1, len(wire), 1 if framing == "chunked" else 5):
        streaming = StreamBench()
        streaming.feed(wire[:at], wire[at:])
        if framing == "close":
            streaming.bench.fin()
        await streaming.pipe()
        assert await streaming.end() is None
        assert streaming.out == CHAT
        assert streaming.answer.usage == Usage(5, 7, 12)
        assert streaming.bench.reusable == (framing != "close")
        streaming.bench.connection.abort()


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_one_byte_per_segment(framing: str) -> None:
    """A-16"""
    streaming = StreamBench()
    wire = framed(CHAT, framing)
    for at in range(len(wire)):
        streaming.feed(wire[at : at + 1])
        if streaming.begun and not streaming.sink.flow:
            await streaming.pipe()
    streaming.bench.fin()
    assert await streaming.end() is None
    assert streaming.out == CHAT


texts = st.lists(st.text(max_size=30), max_size=12)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
extras = st.sampled_from(
    [b": alive\n\n", b"id: 7\nretry: 5\n\n", b"event: ping\ndata: {}\n\n", b"data: \xff\xfe\n\n", b""]
)


@given(texts, ends, st.lists(extras, max_size=4), st.lists(st.integers(0, 3000), max_size=30), st.integers(1, 400),
       st.sampled_from(["chunked", "length", "close"]), st.binary(max_size=10))  # fmt: skip
@settings(max_examples=150)
def test_bytes_out_are_bytes_in(
    parts: Sequence[str], end: bytes, more: Sequence[bytes], cuts: Sequence[int], room: int, framing: str, late: bytes
) -> None:
    """A-10, A-14, A-16, A-17, A-24: any stream, any segments, a client that is often full, up to the end mark."""

    async def play() -> None:
        body = (b"".join(chat_events(*parts)[:-1]) + b"".join(more) + DONE).replace(b"\n", end)
        wire = framed(body + (late.lstrip(b"\n") if end == b"\r" else late), framing)  # CR and LF are one line end
        places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
        streaming = StreamBench(room=room)
        for segment in (wire[a:b] for a, b in pairwise(places) if a < b):
            if streaming.sink.full:
                streaming.sink.drain()
            streaming.feed(segment)
            if streaming.begun and not streaming.sink.flow:
                await streaming.pipe()
        if not streaming.bench.transport.aborted:
            streaming.bench.fin()
        assert await streaming.end() is None
        assert streaming.out == body
        assert streaming.bench.home.lost or streaming.bench.reusable

    asyncio.run(play())


# --- the beginning


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (event({"error": {"message": "overloaded", "type": "server_error"}}), 502),
        (event({"error": {"message": "slow down", "type": "rate_limit_error", "code": None}}), 429),
        (event({"error": {"message": "wrong", "type": "invalid_request_error"}}), 400),
        (event({"error": {"message": "no", "code": 503}}), 503),
        (b": hello\n\n" + event({"error": "text"}), 502),
        (event({"object": "error", "message": "vLLM", "code": 400}), 400),
    ],
)
async def test_a_first_event_that_is_an_error_fails_the_try(stream: bytes, status: int) -> None:
    """A-08"""
    streaming = StreamBench()
    streaming.feed(CHUNKED + chunk(stream) + chunk(GOOD))
    error = streaming.answer.ready.exception()
    assert isinstance(error, UpstreamStatus)
    assert error.status == status
    assert not error.told
    assert streaming.bench.transport.aborted


@pytest.mark.parametrize("body", [b"", b": only comments\n\n", b"data: unfinished", DONE, b": x\n\n" + DONE])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_stream_without_an_event_fails_the_try(body: bytes, framing: str) -> None:
    """A-12"""
    streaming = StreamBench()
    streaming.feed(framed(body, framing))
    if not streaming.begun:
        streaming.bench.fin()
    assert streaming.begun is UpstreamIncomplete


async def test_nothing_is_committed_before_the_first_event() -> None:
    streaming = StreamBench()
    for piece in (CHUNKED, chunk(b": wait\n\n"), chunk(GOOD[:-1])):
        streaming.feed(piece)
        assert streaming.begun is False
    streaming.feed(chunk(GOOD[-1:]))
    await streaming.pipe()
    assert streaming.out == b": wait\n\n" + GOOD
    assert streaming.answer.headers == [("content-type", "text/event-stream")]
    streaming.answer.close()
    assert streaming.bench.transport.aborted


async def test_waiting_for_the_first_event_ends() -> None:
    """A-18, U-B15: the time to the first event runs from the last comment; half a comment is none."""
    streaming = StreamBench(first_byte=10.0, clock=(clock := Clock()))
    streaming.feed(CHUNKED)
    for _ in range(10):
        clock.wind(9.0)
        streaming.feed(chunk(b": wait\n\n"))
        assert streaming.begun is False
    for _ in range(9):
        clock.wind(1.0)
        streaming.feed(chunk(b": wait"))
    assert streaming.begun is False
    clock.wind(1.5)
    error = streaming.answer.ready.exception()
    assert isinstance(error, UpstreamTimeout)
    assert error.kind == "first_byte"


@pytest.mark.parametrize("drip", [b"d", b"data: x\n", b": ", b"\r"], ids=repr)
async def test_bytes_without_an_event_are_no_life(drip: bytes) -> None:
    """U-F9: the idle timeout counts events and comments, not bytes."""
    streaming = StreamBench(idle=10.0, clock=(clock := Clock()))
    streaming.feed(CHUNKED, chunk(GOOD))
    await streaming.pipe()
    for sign in (b": still here\n\n", GOOD, b"event: ping\n\n"):
        clock.wind(9.0)
        streaming.feed(chunk(sign))
    for _ in range(9):
        clock.wind(1.0)
        streaming.feed(chunk(drip))
    assert not streaming.bench.transport.aborted
    clock.wind(1.5)
    error = await streaming.end()
    assert isinstance(error, UpstreamTimeout)
    assert error.kind == "idle"


async def test_a_large_event_may_take_its_time() -> None:
    """U-F9: an image in base64 is one event, whose every 32 KiB are a sign of life."""
    streaming = StreamBench(idle=10.0, clock=(clock := Clock()))
    streaming.feed(CHUNKED, chunk(GOOD), chunk(b'data: {"x": "'))
    await streaming.pipe()
    for _ in range(20):
        clock.wind(9.0)
        streaming.feed(chunk(b"A" * 33_000))
    assert not streaming.bench.transport.aborted
    clock.wind(10.5)
    assert isinstance(await streaming.end(), UpstreamTimeout)


async def test_comments_without_end_are_refused() -> None:
    """A-15"""
    streaming = StreamBench()
    streaming.feed(CLOSING)
    for _ in range(100):
        streaming.feed(b": " + b"x" * 60_000 + b"\n")
    assert streaming.begun is UpstreamBadResponse


async def test_memory_is_bounded_until_somebody_reads() -> None:
    """A-24, A-25: between `open` and `pipe`, too."""
    streaming = StreamBench()
    streaming.feed(CLOSING + GOOD)
    fed = 0
    while streaming.reading():
        streaming.feed(GOOD)
        fed += len(GOOD)
        assert fed <= MAX_HELD + 1000
    await streaming.pipe()
    assert streaming.reading()
    streaming.feed(DONE)
    assert await streaming.end() is None
    assert streaming.out == GOOD + GOOD * (fed // len(GOOD)) + DONE


async def test_a_sink_that_is_full_from_the_start() -> None:
    """A-24"""
    streaming = StreamBench(room=1)
    streaming.feed(CLOSING + GOOD)
    await streaming.pipe()
    assert not streaming.reading()
    streaming.sink.drain()
    assert streaming.reading()
    streaming.feed(DONE)
    assert await streaming.end() is None


async def test_a_line_of_a_hundred_megabytes_passes() -> None:
    """A-15: in bounded memory, as the first event and later."""
    streaming = StreamBench()
    block = b"x" * 262_144
    streaming.feed(CLOSING + b"data: ")
    fed = 6
    while not streaming.begun:
        streaming.feed(block)
        fed += len(block)
    assert fed < 3 * 1024 * 1024
    await streaming.pipe()
    assert len(streaming.sink.data) == fed
    for _ in range(400):
        streaming.feed(block)
        streaming.sink.data.clear()
    streaming.feed(b"\n\n" + DONE)
    assert await streaming.end() is None
    assert streaming.out == b"\n\n" + DONE


async def test_what_is_no_stream_is_collected() -> None:
    for wire in (
        head(429, [("Content-Type", "text/event-stream"), ("Content-Length", "2")]) + b"{}",
        head(200, [("Content-Type", "application/json"), ("Content-Length", "2")]) + b"{}",
    ):
        streaming = StreamBench()
        streaming.feed(wire)
        assert streaming.begun is True
        assert not streaming.answer.live
        assert streaming.answer.body == b"{}"
        streaming.bench.connection.abort()
