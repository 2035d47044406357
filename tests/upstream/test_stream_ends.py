"""How streams end: properly, too early, with an error, or compressed although nobody asked."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from gatewayd.errors import UpstreamBadResponse, UpstreamIncomplete, UpstreamStatus, UpstreamTimeout
from tests.replies import DONE, LAST_CHUNK, chat_chunk, chat_events, chunk, event, head
from tests.upstream.doubles import Bench, Clock, eventually
from tests.upstream.stream_bench import CHUNKED, CLOSING, GOOD, SSE, StreamBench, framed

CHAT = b"".join(chat_events("Hello", "wörld"))


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_stream_cut_off(framing: str, how: str) -> None:
    """A-01, A-02, A-03, A-04: three events, then the end of the connection; a properly ended message too."""
    events = [event(chat_chunk(text)) for text in "abc"]
    body = b"".join(events)
    streaming = StreamBench()
    match framing:
        case "chunked":
            streaming.feed(CHUNKED + b"".join(chunk(one) for one in events))
        case "length":
            streaming.feed(head(200, [SSE, ("Content-Length", str(len(body) + 9))]) + body)
        case _:
            streaming.feed(CLOSING + body)
    await streaming.pipe()
    streaming.bench.fin() if how == "fin" else streaming.bench.rst()
    assert isinstance(await streaming.end(), UpstreamIncomplete)
    assert streaming.out == body


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_message_that_ends_before_the_stream(framing: str) -> None:
    """A-01: the message is whole, the stream is not."""
    streaming = StreamBench()
    streaming.feed(framed(GOOD * 3, framing))
    await streaming.pipe()
    if framing == "close":
        streaming.bench.fin()
    assert isinstance(await streaming.end(), UpstreamIncomplete)
    assert streaming.out == GOOD * 3


async def test_a_stream_that_fell_silent() -> None:
    """A-19"""
    streaming = StreamBench(idle=20.0, clock=(clock := Clock()))
    streaming.feed(CHUNKED + chunk(GOOD))
    await streaming.pipe()
    clock.wind(19.9)
    assert streaming.begun is True
    clock.wind(0.2)
    error = await streaming.end()
    assert isinstance(error, UpstreamTimeout)
    assert error.kind == "idle"
    assert error.code == "upstream_idle_timeout"
    assert streaming.out == GOOD


async def test_keep_alive_comments_are_activity() -> None:
    """A-19"""
    streaming = StreamBench(idle=20.0, clock=(clock := Clock()))
    streaming.feed(CHUNKED + chunk(GOOD))
    await streaming.pipe()
    for _ in range(5):
        clock.wind(19.9)
        streaming.feed(chunk(b": alive\n\n"))
    streaming.feed(chunk(DONE) + LAST_CHUNK)
    assert await streaming.end() is None


async def test_an_error_in_the_middle_is_relayed_once() -> None:
    """A-09"""
    bad = event({"error": {"message": "overloaded", "type": "server_error", "code": "x"}})
    for segments in ([GOOD + bad + GOOD + DONE], [GOOD, bad, GOOD + DONE], [GOOD, bad[:9], bad[9:] + DONE]):
        streaming = StreamBench()
        streaming.feed(CLOSING)
        streaming.feed(segments[0])
        await streaming.pipe()
        streaming.feed(*segments[1:])
        error = await streaming.end()
        assert isinstance(error, UpstreamStatus)
        assert error.told
        assert error.message == "overloaded"
        assert streaming.out == GOOD + bad
        assert streaming.bench.transport.aborted


@pytest.mark.parametrize("late", [b"data: more\n\n", b"x"])
async def test_what_comes_behind_done_ends_the_connection(late: bytes) -> None:
    """A-10: in the same chunk, in the same segment, in a later one."""
    for wire in (
        [CHUNKED + chunk(GOOD + DONE + late) + LAST_CHUNK],
        [CHUNKED + chunk(GOOD + DONE) + chunk(late) + LAST_CHUNK],
        [CHUNKED + chunk(GOOD + DONE), chunk(late) + LAST_CHUNK],
    ):
        streaming = StreamBench()
        streaming.feed(*wire)
        await streaming.pipe()
        assert await streaming.end() is None
        assert streaming.out == GOOD + DONE
        assert streaming.bench.transport.aborted
        assert streaming.bench.home.freed == []


async def test_the_end_of_the_message_may_come_later() -> None:
    """The client does not wait for it, the connection is kept if it comes soon."""
    streaming = StreamBench()
    streaming.feed(CHUNKED + chunk(GOOD + DONE))
    await streaming.pipe()
    assert await streaming.end() is None
    assert streaming.bench.home.freed == []
    streaming.feed(chunk(b"\r\n"), LAST_CHUNK)
    assert streaming.bench.reusable
    streaming.bench.connection.abort()


async def test_a_message_that_does_not_end_is_not_waited_for() -> None:
    streaming = StreamBench()
    streaming.feed(CHUNKED + chunk(GOOD + DONE))
    await streaming.pipe()
    assert await streaming.end() is None
    await eventually(lambda: streaming.bench.transport.aborted)


async def test_done_counts_whatever_the_transport_does_after_it() -> None:
    """F6: the end mark decides; also when its empty line is what got lost."""
    for wire, how in ((CHUNKED + chunk(GOOD + DONE[:-1]), Bench.rst), (CLOSING + GOOD + DONE[:-2], Bench.fin)):
        streaming = StreamBench()
        streaming.feed(wire)
        await streaming.pipe()
        how(streaming.bench)
        assert await streaming.end() is None
        assert streaming.out == GOOD + DONE


async def test_an_upstream_known_to_omit_done() -> None:
    """A-11"""
    last = event(chat_chunk(finish="stop"))
    for choices, body, good in (
        (1, GOOD + last, True),
        (1, GOOD, False),
        (0, GOOD + last, False),
        (2, GOOD + last, False),
    ):
        for framing in ("chunked", "close"):
            streaming = StreamBench(choices=choices)
            streaming.feed(framed(body, framing))
            if not streaming.bench.home.freed:
                streaming.bench.fin()
            await streaming.pipe()
            error = await streaming.end()
            assert (error is None) == good
            assert streaming.out == (body + DONE if good else body)
            streaming.bench.connection.abort()


async def test_closing_a_stream_closes_its_connection() -> None:
    """A-20"""
    streaming = StreamBench()
    streaming.feed(CHUNKED + chunk(GOOD))
    await streaming.pipe()
    streaming.answer.close()
    streaming.answer.close()
    assert streaming.bench.transport.aborted
    assert streaming.bench.home.lost == [streaming.bench.connection]
    streaming.answer.pause()
    streaming.answer.resume()


async def test_closing_a_finished_stream_leaves_its_connection_alone() -> None:
    streaming = StreamBench()
    streaming.feed(CHUNKED + chunk(GOOD + DONE) + LAST_CHUNK)
    await streaming.pipe()
    assert await streaming.end() is None
    streaming.bench.ask()
    streaming.answer.close()
    streaming.answer.pause()
    assert streaming.reading()
    assert not streaming.bench.transport.aborted
    streaming.bench.connection.abort()


async def test_a_cancelled_pipe_leaves_the_rest_to_close() -> None:
    """A-20"""
    streaming = StreamBench()
    streaming.feed(CHUNKED + chunk(GOOD))
    await streaming.pipe()
    assert streaming._task is not None
    streaming._task.cancel()
    await asyncio.wait([streaming._task])
    streaming.feed(b"broken")
    streaming.answer.close()
    assert streaming.bench.transport.aborted


# --- compressed all the same


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_stream(coding: str) -> None:
    """A-07"""
    packed = gzip.compress(CHAT) if coding == "gzip" else zlib.compress(CHAT)
    top = head(200, [SSE, ("Content-Encoding", coding), ("Transfer-Encoding", "chunked")])
    for size in (1, 10, len(packed)):
        streaming = StreamBench()
        streaming.feed(top, *(chunk(packed[at : at + size]) for at in range(0, len(packed), size)), LAST_CHUNK)
        await streaming.pipe()
        assert await streaming.end() is None
        assert streaming.out == CHAT
        streaming.bench.connection.abort()


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_compressed_stream_cut_off(framing: str) -> None:
    """A-06: whatever the message says about its own end."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(GOOD) + packer.flush(zlib.Z_SYNC_FLUSH) + packer.compress(GOOD * 5 + DONE) + packer.flush()
    fields = [SSE, ("Content-Encoding", "gzip")]
    if framing == "chunked":
        wire = head(200, [*fields, ("Transfer-Encoding", "chunked")]) + chunk(packed[:-20]) + LAST_CHUNK
    else:
        wire = head(200, fields) + packed[:-20]
    streaming = StreamBench()
    streaming.feed(wire)
    assert streaming.begun is True
    await streaming.pipe()
    if framing == "close":
        streaming.bench.fin()
    assert isinstance(await streaming.end(), UpstreamIncomplete)
    assert streaming.out.startswith(GOOD)


async def test_codings_that_cannot_be_read() -> None:
    """A-07"""
    streaming = StreamBench()
    streaming.feed(head(200, [SSE, ("Content-Encoding", "br")]) + b"x")
    assert streaming.begun is UpstreamBadResponse
    assert streaming.bench.transport.aborted
    streaming = StreamBench()
    streaming.feed(head(200, [SSE, ("Content-Encoding", "gzip")]) + b"no gzip at all")
    assert streaming.begun is UpstreamBadResponse


async def test_a_compressed_bomb() -> None:
    """A-07: one segment may not become more than some megabytes."""
    streaming = StreamBench()
    streaming.feed(
        head(200, [SSE, ("Content-Encoding", "gzip")]) + gzip.compress(GOOD + b"data: " + b"x" * 100_000_000)
    )
    assert streaming.begun is UpstreamBadResponse
    assert streaming.sink.data == b""
