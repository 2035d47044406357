"""One HTTP/1.1 client connection: bytes of a request out, bytes of its answer pushed to whoever asked.

Parsing is llhttp's (through `httptools`); what is decided here is what a proxy must not get wrong: when an answer is
whole, when a connection may carry another one, and whom silence is to be blamed on. No task is woken while an answer
arrives: `data_received` parses and calls the `Answer`, which either collects or passes on at once.

Left out on purpose: redirects, cookies, proxies, upgrades, pipelining. Knows nothing of OpenAI, JSON or events.
Framing rules are those of RFC 9112, chapter 6.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from gatewayd.errors import (
    UpstreamBadResponse,
    UpstreamConnection,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamTimeout,
    UpstreamTls,
)
from gatewayd.upstream.answer import MAX_BODY, Answer, Fields, KnownHead, Rest
from gatewayd.upstream.narrow import Narrow
from gatewayd.wire.heads import HeadCache, split

__all__ = ["MAX_BODY", "Answer", "Connection", "Fields", "Home", "StaleConnection"]

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response head, interim responses before it included."""
MAX_HEADER: Final = 16 * 1024
"""Bytes of one header, name and value."""
_MAX_FIELDS: Final = 128
LINGER: Final = 1.0
"""Seconds from the logical end of an answer (`[DONE]`) to the end of its message; longer: the connection is closed."""
STALE_WITHIN: Final = 1.0
"""Seconds. The news of a connection that was closed before the request came is a round trip away, not more."""
_TICK: Final = 0.002  # a timer may fire this much early: libuv counts in milliseconds


class StaleConnection(UpstreamConnection):
    """A reused connection was closed at once, before any byte of an answer: it is sent again on a fresh one."""


class Home(Protocol):
    """Where a connection goes when it is not needed: its pool."""

    def free(self, connection: Connection) -> None:
        """The answer is whole and the connection may carry another one."""

    def gone(self, connection: Connection) -> None:
        """The connection is closed; called exactly once."""


_heads: HeadCache[KnownHead] = HeadCache(512 * 1024)
"""A busy upstream's heads are the same for as long as its `Date` is."""


class Connection(asyncio.Protocol):
    """Made by `Pool`. Idle, or busy with the one answer given to `send`.

    One timer serves all timeouts: `_deadline` moves with every event, the timer only when it fires too early, or when
    it would fire too late because a shorter timeout begins.
    """

    __slots__ = (
        "_answer", "_armed_for", "_begun", "_closed", "_deadline", "_delimited", "_ended", "_fields", "_first_byte",
        "_fresh", "_head_size", "_home", "_idle", "_keep", "_loop", "_named", "_narrow", "_parser", "_paused",
        "_pieces", "_sent_at", "_status", "_surplus", "_timer", "_touched", "_transport", "_unsent", "_waiting",
        "on_body", "on_header", "reused",
    )  # fmt: skip

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self._loop = loop
        self._transport: asyncio.Transport
        self.reused = False
        """Whether it has carried an answer before."""
        self._answer: Answer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = self._deadline = 0.0
        self._first_byte = self._idle = self._sent_at = 0.0
        self._closed = False
        self._narrow = False
        self._fresh: tuple[bytes, bytes] | None = None  # key of a head that was never seen, and what came behind it
        self._unsent = 0  # request bytes still to go when the socket refused more, 0 = all handed over
        # The parser calls list.append and dict.setdefault themselves: no Python frame for a header or a piece of body.
        self._fields: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self.on_header: Callable[[bytes, bytes], bytes] = self._fields.setdefault
        self.on_body: Callable[[bytes], None] = self._pieces.append
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._status = 0  # 0 until the final response's head is complete
        self._named = 0  # fields of the head
        self._head_size = 0  # bytes since the last ones that were body
        self._begun = False  # the answer has its head
        self._ended = False  # the message is complete
        self._surplus = False  # something came after it
        self._keep = False
        self._delimited = True
        self._waiting = True  # for the first byte that counts: the first-byte timeout runs
        self._paused = False
        self._touched = False  # any byte has come back
        self._fresh = None
        self._fields.clear()  # may hold trailer fields of the answer before

    # --- for the pool and the answer

    def send(self, answer: Answer, head: bytes, body: bytes, *, first_byte: float, idle: float) -> None:
        """Sends a request (`head` ends in the empty line) and pushes what comes back to `answer`. Seconds.

        Raises UpstreamConnection if the connection has been closed in the meantime.
        """
        if self._closed:
            raise _too_early(self.reused)
        self._reset()
        self._answer = answer
        self._first_byte = first_byte
        self._idle = idle
        if len(body) < 16384:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        self._sent_at = self._loop.time()
        self._until(self._sent_at + first_byte)

    def answering(self) -> None:
        """What came counts as an answer: from now on silence is measured from the last byte."""
        self._waiting = False

    def narrow(self) -> None:
        """From now on reads no more than 32 KiB at a time. What has been read is held until a slow client takes it, and
        event loops read eight times as much when it is there (A-25)."""
        if not self._narrow and not self._closed:
            self._narrow = True
            self._transport.set_protocol(Narrow(self, self._narrowed, self._loop))

    def rest(self) -> None:
        """The answer has seen its logical end; what follows of the message is thrown away, the connection kept if it
        ends soon and with nothing more to say."""
        if not self._closed:
            self._answer = Rest(self)
            self.resume()
            self._waiting = False
            self._idle = LINGER
            self._until(self._loop.time() + LINGER)

    def expire_in(self, seconds: float) -> None:
        """Closes itself then, unless it is used before."""
        self._until(self._loop.time() + seconds)

    def drop(self, answer: Answer) -> None:
        """Closes the connection if it is still busy with `answer`; a connection that has moved on is left alone."""
        if self._answer is answer:
            self.abort()

    def abort(self) -> None:
        """Closes the connection at once, whatever it is doing; the answer is not told."""
        if self._closed:
            return
        self._closed = True
        self._answer = None
        self._parser = None  # parser and connection refer to each other
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._home.gone(self)

    def pause(self) -> None:
        if not self._paused and not self._closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            self._until(self._loop.time() + self._idle)
            self._transport.resume_reading()

    @property
    def usable(self) -> bool:
        return not self._closed and not self._transport.is_closing()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of asyncio's

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if not self._touched and answer is not None and (found := split(data)) is not None:
            key, at, length = found
            if len(data) - at == length:  # the whole answer, if it is one
                known = _heads.get(key)
                if known is not None:
                    self._touched = self._keep = self._begun = True
                    answer.take(self, known, data[at:])
                    if not self._closed:
                        self._complete()
                    return
                self._fresh = key, data[at:]
        self._parse(data)

    def _narrowed(self, data: memoryview) -> None:
        if self._touched:
            self._parse(data)
        else:
            self.data_received(bytes(data))

    def _parse(self, data: bytes | memoryview) -> None:
        answer = self._answer
        parser = self._parser
        if answer is None or parser is None:
            self.abort()  # nobody asked: whatever it is, it must not become the answer to the next request
            return
        self._touched = True
        broken = False
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._ended:
                broken = True
            self._surplus = True
        self._head_size += len(data)
        if not self._begun and not self._begin(answer, broken):
            return
        pieces = self._pieces
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            answer.push(body)
            if self._closed:
                return
            self._head_size = 0
            if self._fresh is not None:
                self._remember(answer, body)
        if self._ended:
            self._complete()
        elif broken:
            self._lose(UpstreamBadResponse("The upstream's answer breaks the rules of HTTP."))
        elif self._head_size > MAX_HEAD:  # chunk extensions or trailer fields without end
            self._lose(UpstreamBadResponse("The upstream's answer has more framing than body."))
        elif answer.alive:
            self._until(self._loop.time() + (self._first_byte if self._waiting else self._idle))

    def eof_received(self) -> None:
        self._end(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError) and not self._touched and not self.reused:
            self._lose(UpstreamTls("The upstream ended the TLS session before it answered."))
        else:
            self._end(clean=False)

    def pause_writing(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self._unsent = 0
        if self._waiting and not self._closed:  # the upstream has only now got the request
            self._until(self._loop.time() + self._first_byte)

    # --- called by the parser

    def on_message_begin(self) -> None:
        if self._ended:
            raise ValueError("bytes after the answer")  # stops the parser, which would mix them into this answer

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 100:
            raise ValueError("no status")  # stops the parser
        if status < 200:
            self._fields.clear()  # an interim response (RFC 9110, 15.2): swallowed
        else:
            self._status = status
            self._named = len(self._fields)
            self._keep = parser.should_keep_alive()

    def on_message_complete(self) -> None:
        if self._status:
            self._ended = True

    # --- inside

    def _begin(self, answer: Answer, broken: bool) -> bool:
        """Hands over the head if it is complete. False: there is nothing more to do with the bytes at hand."""
        if self._status == 0:
            if broken:
                self._lose(UpstreamBadResponse("The upstream's answer is not HTTP, or breaks its rules."))
            elif self._head_size > MAX_HEAD:
                self._lose(UpstreamBadResponse("The head of the upstream's answer is too large."))
            return False
        while len(self._fields) > self._named:  # trailer fields that came in the same bytes
            self._fields.popitem()
        fields = {name.lower(): value for name, value in self._fields.items()}
        self._fields.clear()
        if len(fields) > _MAX_FIELDS or (
            self._head_size > MAX_HEADER and any(len(name) + len(value) > MAX_HEADER for name, value in fields.items())
        ):
            self._lose(UpstreamBadResponse("The head of the upstream's answer is too large."))
            return False
        coding = fields.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            self._lose(UpstreamBadResponse("The upstream's answer has an unknown transfer coding."))
            return False
        self._delimited = coding is not None or b"content-length" in fields or self._status in (204, 304)
        self._begun = True
        answer.begin(self, self._status, fields)
        return True

    def _complete(self) -> None:
        answer = self._answer
        assert answer is not None
        self._answer = None
        # A request whose body is not all sent (the upstream answered early) leaves bytes that would run into the next.
        if self._keep and not self._surplus and self._delimited and not self._transport.get_write_buffer_size():
            self.reused = True
            if self._paused:  # whoever had it stopped may be done with it; the next answer is to be read
                self.resume()
            self._home.free(self)
        else:
            self.abort()
        answer.finish(True)

    def _remember(self, answer: Answer, body: bytes) -> None:
        """The parser has found one whole answer behind a head that it will find again."""
        fresh, self._fresh = self._fresh, None
        if fresh is None or not self._ended or body != fresh[1] or not self._keep or self._surplus:
            return
        if self._delimited and b"transfer-encoding" not in answer.fields:
            _heads.remember(fresh[0], KnownHead(answer.status, answer.fields))

    def _end(self, *, clean: bool) -> None:
        """The upstream closed the connection (`clean`) or it broke."""
        answer = self._answer
        self.abort()
        if answer is None:
            return
        if not self._begun:
            stale = self.reused and not self._touched and self._loop.time() < self._sent_at + STALE_WITHIN
            answer.fail(_too_early(stale))
        elif self._delimited or not clean:
            answer.fail(UpstreamIncomplete("The upstream's answer ended before it was complete."))
        else:
            answer.finish(False)

    def _lose(self, error: UpstreamError) -> None:
        answer = self._answer
        self.abort()
        if answer is not None:
            answer.fail(error)

    def _until(self, deadline: float) -> None:
        self._deadline = deadline
        timer = self._timer
        if timer is None or deadline < self._armed_for:
            if timer is not None:
                timer.cancel()
            self._armed_for = deadline
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._answer is not None and (self._paused or self._sending()):
            # While the client is slow nothing is read, and while the request is being taken nothing is due.
            self._until(now + (self._idle if self._paused else self._first_byte))
        elif self._deadline > now + _TICK:
            self._until(self._deadline)
        elif self._answer is None:
            self.abort()
        elif self._waiting:
            self._lose(UpstreamTimeout("The upstream did not begin to answer in time.", kind="first_byte"))
        else:
            self._lose(UpstreamTimeout("The upstream stopped sending in the middle of its answer.", kind="idle"))

    def _sending(self) -> bool:
        """Whether the upstream took some of a long request body since the last look."""
        if not self._unsent or not self._waiting:
            return False
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        return self._unsent < before


def _too_early(stale: bool) -> UpstreamConnection:
    return (StaleConnection if stale else UpstreamConnection)("The upstream closed the connection before it answered.")
