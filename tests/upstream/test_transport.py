"""One connection: what is a whole answer, what is not, and what may be reused."""

from __future__ import annotations

import asyncio
import ssl
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.errors import (
    GatewayError,
    UpstreamBadResponse,
    UpstreamConnection,
    UpstreamIncomplete,
    UpstreamTimeout,
    UpstreamTls,
)
from gatewayd.upstream.transport import MAX_HEAD, Answer, Connection, StaleConnection
from tests.replies import LAST_CHUNK, chunk, head
from tests.upstream.doubles import Bench, Clock, eventually

LENGTH_5 = head(200, [("Content-Length", "5")])
CHUNKED = head(200, [("Transfer-Encoding", "chunked")])
CLOSING = head(200, [])


def outcome(bench: Bench) -> bytes | type[BaseException] | None:
    """The body, the class of the error, or None while there is neither."""
    ready = bench.answer.ready
    if not ready.done():
        return None
    error = ready.exception()
    return bench.answer.body if error is None else type(error)


async def test_a_whole_answer_and_then_another_on_the_same_connection() -> None:
    bench = Bench()
    for body in (b"first", b"other"):
        bench.ask()
        bench.feed(head(201, [("Content-Length", "5"), ("X-A", "1")]) + body)
        assert outcome(bench) == body
        assert (bench.answer.status, bench.answer.fields) == (201, {b"content-length": b"5", b"x-a": b"1"})
        assert bench.reusable
        bench.home.freed.clear()
    bench.connection.abort()


BODY = b'{"a": "' + b"x" * 40 + b'"}'
SHAPES = {
    "length": head(200, [("Content-Length", str(len(BODY)))]) + BODY,
    "chunked": CHUNKED + chunk(BODY[:7]) + chunk(BODY[7:9]) + chunk(BODY[9:]) + LAST_CHUNK,
    "trailers": CHUNKED + chunk(BODY) + b"0\r\nX-Trailer: 1\r\n\r\n",
    "interim": head(100, []) + head(103, [("Link", "</a>")]) + head(200, [("Content-Length", str(len(BODY)))]) + BODY,
    "close": CLOSING + BODY,
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_any_segmentation_gives_the_same_answer(shape: str) -> None:
    """A-16, A-35"""
    wire = SHAPES[shape]
    for size in (1, 2, 3, 7, 50, len(wire)):
        bench = Bench()
        bench.ask()
        bench.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
        if shape == "close":
            assert outcome(bench) is None
            bench.fin()
        assert outcome(bench) == BODY
        assert bench.answer.status == 200
        assert bench.answer.delimited == (shape != "close")
        assert bench.reusable == (shape != "close")
        bench.connection.abort()


@pytest.mark.parametrize("shape", ["length", "chunked", "trailers"])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_answer_is_never_whole(shape: str, how: str) -> None:
    """A-01, A-02, A-04: cut at every byte"""
    wire = SHAPES[shape]
    begins = wire.index(b"\r\n\r\n") + 4
    for at in range(len(wire)):
        bench = Bench()
        bench.ask()
        bench.feed(wire[:at])
        bench.fin() if how == "fin" else bench.rst()
        assert outcome(bench) == (UpstreamConnection if at < begins else UpstreamIncomplete)
        assert bench.home.lost == [bench.connection]
        assert bench.transport.aborted


async def test_an_answer_ended_by_its_connection() -> None:
    """A-03: a FIN ends it, and says so; a reset does not."""
    bench = Bench()
    bench.ask()
    bench.feed(CLOSING + b"some")
    bench.fin()
    assert outcome(bench) == b"some"
    assert not bench.answer.delimited
    bench = Bench()
    bench.ask()
    bench.feed(CLOSING + b"some")
    bench.rst()
    assert outcome(bench) == UpstreamIncomplete


@pytest.mark.parametrize("surplus", [b"X", b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil"])
async def test_bytes_behind_the_answer_are_ignored_and_end_the_connection(surplus: bytes) -> None:
    """A-05, A-10: in the same segment, in the next one, and when nobody is waiting."""
    bench = Bench()
    bench.ask()
    bench.feed(LENGTH_5 + b"hello" + surplus)
    assert outcome(bench) == b"hello"
    assert bench.answer.fields == {b"content-length": b"5"}
    assert bench.transport.aborted
    assert not bench.home.freed
    bench = Bench()
    bench.ask()
    bench.feed(LENGTH_5 + b"hello")
    bench.feed(surplus)
    assert outcome(bench) == b"hello"
    assert bench.transport.aborted
    assert bench.home.lost == [bench.connection]


async def test_connection_close_is_obeyed() -> None:
    bench = Bench()
    bench.ask()
    bench.feed(head(200, [("Content-Length", "5"), ("Connection", "close")]) + b"hello")
    assert outcome(bench) == b"hello"
    assert bench.transport.aborted


async def test_an_answer_before_the_request_is_sent() -> None:
    """A-39: it counts, and the rest of the request does not run into the next one."""
    bench = Bench()
    bench.ask()
    bench.transport.unsent = 1000
    bench.feed(head(413, [("Content-Length", "5")]) + b"large")
    assert outcome(bench) == b"large"
    assert bench.answer.status == 413
    assert bench.transport.aborted


@pytest.mark.parametrize(
    "wire",
    [
        b"<html>\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        head(200, [("X-A", "a\x00b")]),
        head(200, [("X-A", "a\x07b")]),
        head(200, [("X Y", "1")]),
        head(200, [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]),
        head(200, [("Content-Length", "5"), ("Content-Length", "6")]),
        head(200, [("Content-Length", "-5")]),
        head(200, [("Transfer-Encoding", "gzip, chunked")]),
        head(200, [("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")]),
        head(200, [("Transfer-Encoding", "xchunked")]),
        head(101, [("Upgrade", "websocket"), ("Connection", "upgrade")]),
        head(200, [("X-Large", "x" * 20_000)]),
        head(200, [(f"X-{n}", "1") for n in range(200)]),
        head(200, [("X-Large", "x" * 3 * MAX_HEAD)]),
        head(200, [(f"X-{n}", "y" * 1000) for n in range(100)]),
        head(102, []) * 10_000,
        CHUNKED + b"xyz\r\n",
        CHUNKED + b"5\r\nhelloXX",
        CHUNKED + b"fffffffffffffffff\r\n",
    ],
)
async def test_what_breaks_the_rules_is_refused(wire: bytes) -> None:
    """A-37: at once or in pieces, with one error and without a trace in the log."""
    for size in (len(wire), 1000):
        bench = Bench()
        bench.ask()
        bench.feed(*(wire[at : at + size] for at in range(0, len(wire), size)))
        assert outcome(bench) == UpstreamBadResponse
        assert bench.transport.aborted


async def test_framing_without_end_is_refused() -> None:
    """A-37: trailer fields and chunk extensions are bounded too."""
    for endless in (b"x" * 5000, b"5;" + b"x" * 5000):
        bench = Bench()
        bench.ask()
        bench.feed(CHUNKED + chunk(b"a") + (b"0\r\nX-T: " if endless[0:1] == b"x" else b""))
        for _ in range(40):
            bench.feed(endless)
        assert outcome(bench) == UpstreamBadResponse


async def test_trailer_fields_are_no_header_fields() -> None:
    """RFC 9110, 6.5.1: neither when they come in the same bytes as the head, nor later."""
    stream = CHUNKED + chunk(BODY) + b"0\r\nRetry-After: 9\r\n\r\n"
    for pieces in ([stream], [stream[:30], stream[30:]]):
        bench = Bench()
        bench.ask()
        for piece in pieces:
            bench.feed(piece)
        assert outcome(bench) == BODY
        assert bench.answer.fields == {b"transfer-encoding": b"chunked"}
        bench.connection.abort()


async def test_trailer_fields_do_not_reach_the_next_answer() -> None:
    bench = Bench()
    bench.ask()
    bench.feed(CHUNKED, chunk(b"a"), b"0\r\nContent-Type: evil\r\n\r\n")
    assert outcome(bench) == b"a"
    bench.ask()
    bench.feed(LENGTH_5 + b"hello")
    assert bench.answer.fields == {b"content-length": b"5"}
    bench.connection.abort()


async def test_a_body_larger_than_the_limit_is_refused() -> None:
    bench = Bench()
    bench.ask(Answer(bench.loop.create_future(), limit=100))
    bench.feed(CLOSING, b"x" * 100)
    assert outcome(bench) is None
    bench.feed(b"y")
    assert outcome(bench) == UpstreamBadResponse
    assert bench.transport.aborted


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body(status: int) -> None:
    bench = Bench()
    bench.ask()
    bench.feed(head(status, []))
    assert outcome(bench) == b""
    assert bench.reusable
    bench.connection.abort()


async def test_only_a_reused_connection_without_an_answer_is_stale() -> None:
    """A-30, A-31"""
    bench = Bench()
    bench.ask()
    bench.fin()
    assert outcome(bench) == UpstreamConnection
    for first_bytes, expected in ((b"", StaleConnection), (b"H", UpstreamConnection)):
        for how in (Bench.fin, Bench.rst):
            bench = Bench()
            bench.ask()
            bench.feed(LENGTH_5 + b"hello")
            bench.ask()
            bench.feed(*filter(None, [first_bytes]))
            how(bench)
            assert outcome(bench) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.9, StaleConnection), (4.0, UpstreamConnection)])
async def test_a_kept_connection_that_closes_late_is_not_stale(seconds: float, expected: type[BaseException]) -> None:
    """U-B9: what works for seconds and then closes has failed, and may have been paid for."""
    bench = Bench(clock := Clock())
    bench.ask()
    bench.feed(LENGTH_5 + b"hello")
    clock.wind(5.0)
    bench.ask()
    clock.wind(seconds)
    bench.fin()
    assert outcome(bench) == expected


@pytest.mark.parametrize("status", ["000", "001", "099"])
async def test_a_status_that_there_is_none_of(status: str) -> None:
    """U-F14: refused at once; it is no interim response."""
    bench = Bench()
    bench.ask()
    bench.feed(b"HTTP/1.1 %b X\r\ncontent-length: 0\r\n\r\n" % status.encode())
    assert outcome(bench) == UpstreamBadResponse


async def test_nothing_is_sent_on_a_closed_connection() -> None:
    bench = Bench()
    bench.fin()
    with pytest.raises(UpstreamConnection):
        bench.ask()


async def test_a_broken_tls_session() -> None:
    """A-33: refused after the handshake, as TLS 1.3 does with client certificates"""
    bench = Bench()
    bench.ask()
    bench.connection.connection_lost(ssl.SSLError(1, "alert"))
    assert outcome(bench) == UpstreamTls


# --- time


async def timeout_kind(bench: Bench) -> str:
    await eventually(bench.answer.ready.done)
    error = bench.answer.ready.exception()
    assert isinstance(error, UpstreamTimeout)
    assert bench.transport.aborted
    return error.kind


async def test_silence_before_the_answer() -> None:
    """A-18: interim responses are no answer"""
    bench = Bench(clock := Clock())
    bench.ask(first_byte=30.0)
    bench.feed(head(100, []), b"HTTP/1.1 20")
    clock.wind(29.9)
    assert outcome(bench) is None
    clock.wind(0.2)
    assert await timeout_kind(bench) == "first_byte"


async def test_silence_in_the_answer() -> None:
    """A-19"""
    bench = Bench(clock := Clock())
    bench.ask(idle=30.0)
    bench.feed(LENGTH_5 + b"he")
    clock.wind(29.9)
    assert outcome(bench) is None
    clock.wind(0.2)
    assert await timeout_kind(bench) == "idle"


async def test_every_byte_moves_the_deadline() -> None:
    """A-19: an answer may take longer than its longest silence"""
    bench = Bench(clock := Clock())
    bench.ask(first_byte=20.0, idle=20.0)
    bench.feed(CHUNKED)
    for _ in range(5):
        clock.wind(19.9)
        bench.feed(chunk(b"x"))
    assert outcome(bench) is None
    bench.feed(LAST_CHUNK)
    assert bench.reusable
    bench.connection.abort()


async def test_nobody_is_blamed_while_the_client_is_slow() -> None:
    """A-24"""
    bench = Bench(clock := Clock())
    bench.ask(idle=20.0)
    bench.feed(CHUNKED + chunk(b"x"))
    bench.connection.pause()
    clock.wind(100.0)
    assert outcome(bench) is None
    assert bench.transport.reading is False
    bench.connection.resume()
    clock.wind(19.9)
    assert outcome(bench) is None
    clock.wind(0.2)
    assert await timeout_kind(bench) == "idle"


async def test_a_long_request_has_the_time_it_needs_while_it_moves() -> None:
    bench = Bench(clock := Clock())
    bench.transport.unsent = 100_000
    bench.ask(first_byte=30.0)
    bench.connection.pause_writing()
    for _ in range(5):
        bench.transport.unsent -= 10
        clock.wind(29.9)
    assert outcome(bench) is None
    bench.connection.resume_writing()
    clock.wind(30.1)
    assert await timeout_kind(bench) == "first_byte"


async def test_a_request_that_nobody_takes_times_out() -> None:
    bench = Bench()
    bench.transport.unsent = 100_000
    bench.ask(first_byte=0.03)
    bench.connection.pause_writing()
    assert await timeout_kind(bench) == "first_byte"


async def test_an_idle_connection_expires() -> None:
    bench = Bench()
    bench.ask()
    bench.feed(LENGTH_5 + b"hello")
    bench.connection.expire_in(0.02)
    await eventually(lambda: bench.transport.aborted)
    assert bench.home.lost == [bench.connection]


async def test_one_timer_serves_all_requests() -> None:
    """The timer is not touched while deadlines only move back and forth behind it."""
    bench = Bench()
    timers = set()
    for _ in range(20):
        bench.ask()
        bench.feed(LENGTH_5 + b"hello")
        bench.connection.expire_in(10.0)
        timers.add(id(bench.connection._timer))
    assert len(timers) == 1
    bench.connection.abort()


# --- whatever comes


class Careful(Answer):
    """Notes what it is told, and that it is told the end once."""

    __slots__ = ("begun", "ends", "taken")

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.loop.create_future())
        self.begun = 0
        self.ends = 0
        self.taken = b""

    def begin(self, connection: Connection, status: int, fields: dict[bytes, bytes]) -> None:
        self.begun += 1
        super().begin(connection, status, fields)

    def push(self, data: bytes) -> None:
        assert data
        assert self.begun == 1
        assert self.ends == 0
        self.taken += data

    def finish(self, delimited: bool) -> None:
        assert self.begun == 1
        self.ends += 1

    def fail(self, error: GatewayError) -> None:
        self.ends += 1


wires = st.lists(
    st.sampled_from([*SHAPES.values(), LENGTH_5, CHUNKED, chunk(b"ab"), LAST_CHUNK, b"hello", b"\r\n", b"HTTP/1.1 "])
    | st.binary(max_size=20),
    max_size=6,
).map(b"".join)


@given(wires, st.lists(st.integers(0, 600), max_size=8), st.booleans())
@settings(max_examples=150)
def test_every_answer_ends_once_whatever_comes(wire: bytes, cuts: list[int], clean: bool) -> None:
    async def play() -> None:
        bench = Bench()
        answer = Careful(bench)
        bench.ask(answer)
        places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
        bench.feed(*(wire[a:b] for a, b in pairwise(places) if a < b))
        bench.fin() if clean else bench.rst()
        assert answer.ends == 1
        assert bench.home.lost == [bench.connection]

    asyncio.run(play())


class Full(Answer):
    """Stops the connection at every piece, and does not say when to go on."""

    def push(self, data: bytes) -> None:
        super().push(data)
        assert self._connection is not None
        self._connection.pause()


async def test_a_connection_that_was_stopped_at_the_end_is_read_again() -> None:
    """Nobody starts it who does not know that it was stopped."""
    bench = Bench()
    bench.ask(Full(bench.loop.create_future()))
    bench.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    assert bench.reusable
    assert bench.transport.reading
