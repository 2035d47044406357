"""How much of a client's bytes is parsed at a time: one message, or a few kilobytes of chunks, in each turn of the
event loop.

Message by message, because aiohttp's parser forgets the good requests of a segment in which it finds a bad one, and so
that nothing behind the last request of a connection is read (RFC 9112, 9.6). A little at a time, because pipelined
requests and chunks may cost microseconds for every five bytes (`web.turns`). A chunked body must not be mostly framing.

One whole message and the body whose length was announced are given to the parser as they come.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.http_parser import RawRequestMessage

from gatewayd.web.connection import Connection, HttpServer
from gatewayd.web.turns import Turns
from gatewayd.wire.heads import split

PIECE: Final = 4 * 1024
"""Bytes that are parsed in one turn: at most eight hundred chunks."""
FRAMING: Final = 16 * 1024
"""Bytes of framing that a chunked body may have beyond one for each byte of the body itself."""
IN_HEAD: Final = -1
_END: Final = b"\r\n\r\n"


class PiecewiseConnection(Connection):
    """See the module."""

    __slots__ = (
        "_at", "_chunked", "_chunked_size", "_head_end", "_is_last", "_owed", "_rest", "_stepping", "_turns",
    )  # fmt: skip

    def __init__(self, server: HttpServer, listening: object, loop: asyncio.AbstractEventLoop, turns: Turns) -> None:
        super().__init__(server, listening, loop)
        self._turns = turns
        self._owed: int | None = 0
        """Bytes to the end of the message that the parser is in; 0 between messages, IN_HEAD, None when it is not
        known."""
        self._head_end = b""
        """The last three bytes of a head that is not complete."""
        self._is_last = False
        """The message that began last is the last one on this connection, for its client says so."""
        self._rest = b""
        """Bytes that the parser has not got yet, from `_at` on. Reading is paused meanwhile."""
        self._at = 0
        self._stepping = False
        """A turn for the next piece has been asked for."""
        self._chunked: StreamReader | None = None
        """The chunked body that the parser is in,"""
        self._chunked_size = 0
        """and how many bytes have come of it."""

    def give(self, data: bytes) -> None:
        """Lets the parser have these bytes, in pieces unless they are of one message."""
        if self._close or self._force_close:
            return
        if self._rest:
            self._rest = self._rest[self._at :] + data
            self._at = 0
        elif not data or self._is_of_one_message(data):
            self._parse(data)
        else:
            self._rest, self._at = data, 0
            self._step()

    def began(self, message: RawRequestMessage, key: bytes) -> None:
        """A message has begun at a place where one was certain to begin; `key` of its head as of `wire.heads`."""

    def _is_of_one_message(self, data: bytes) -> bool:
        owed = self._owed
        if owed is None:
            return len(data) <= PIECE
        if owed > 0:
            return len(data) <= owed
        if owed == IN_HEAD or self._is_last:
            return False
        if (found := split(data)) is None:
            return data.find(_END) + 4 == len(data)
        _, at, length = found
        return len(data) <= at + length

    # --- pieces

    def _step(self) -> None:
        """Parses the next piece of what there is."""
        self._stepping = False
        if self._force_close or self._close:
            self._rest = b""
        budget = PIECE
        while self._rest and budget > 0 and not self._is_waiting():
            if self._is_last and self._owed == 0:
                self._rest = b""  # nothing behind the last request is read
                break
            piece = self._rest[self._at : self._piece_end(budget)]
            budget -= len(piece)
            self._at += len(piece)
            if self._at == len(self._rest):
                self._rest = b""
            self._parse(piece)
            if self._owed == 0:
                break
        if self._rest:
            if not self._buffer_paused:
                self._pause_reading_for_buffer()
            if not self._is_waiting():
                self._go_on()
        elif self._buffer_paused and not self._is_waiting():
            self._resume_reading_for_buffer()

    def _piece_end(self, budget: int) -> int:
        owed = self._owed
        if owed is None:
            return self._at + budget
        if owed > 0:
            return self._at + owed
        if self._head_end:  # its end may have begun in an earlier piece
            known = len(self._head_end)
            if (end := (self._head_end + self._rest[self._at : self._at + 3]).find(_END)) >= 0:
                return self._at + end + 4 - known
        end = self._rest.find(_END, self._at)
        return len(self._rest) if end < 0 else end + 4

    def _is_waiting(self) -> bool:
        """Whether what has been parsed must be taken before more is."""
        return self.reading_paused or len(self._messages) >= self._max_msg_queue_size

    def _go_on(self) -> None:
        if self._rest and not self._stepping:
            self._stepping = True
            self._turns.call(self._step)

    # --- where the parser is

    def _parse(self, data: bytes) -> None:
        owed, known, chunked = self._owed, self._request_count, self._chunked
        super().data_received(data)
        if self._request_count != known:
            message, payload = self._messages[-1]
            self._head_end, self._chunked = b"", None
            if isinstance(message, RawRequestMessage):
                self._begun(message, payload, data, at_boundary=owed == 0)
            else:
                self._owed = None
                if chunked is not None:  # the parser complains of a body, whose reader it has not told
                    chunked.set_exception(web.RequestPayloadError("bad framing"))
        elif not data:
            return
        elif owed == 0 or owed == IN_HEAD:
            self._owed = IN_HEAD
            self._head_end = (self._head_end + data[-3:])[-3:]
        elif owed:
            self._owed = owed - len(data)
        elif chunked is not None:
            self._check_framing(chunked, len(data))

    def _begun(self, message: RawRequestMessage, payload: StreamReader, data: bytes, *, at_boundary: bool) -> None:
        self._is_last = message.should_close
        if message.upgrade:
            self._owed = None
        elif message.chunked:
            self._owed = None
            self._chunked, self._chunked_size = payload, 0
        else:
            self._owed = int(message.headers.get("content-length", "0"))
            if at_boundary and (found := split(data)) is not None:
                key, at, _ = found
                self._owed -= len(data) - at
                self.began(message, key)

    def _check_framing(self, body: StreamReader, size: int) -> None:
        self._chunked_size += size
        if body.is_eof():
            self._chunked = None
        elif self._chunked_size > 2 * body.total_bytes + FRAMING + PIECE:
            body.set_exception(web.RequestPayloadError("more framing than body"))
            self._chunked, self._rest = None, b""
            self._close = True  # what still comes is not read

    # --- aiohttp calls these when what was parsed has been taken

    def resume_reading(self, resume_parser: bool = True) -> None:
        super().resume_reading(resume_parser)
        self._go_on()

    def _resume_reading_for_buffer(self) -> None:
        if self._rest:
            self._go_on()
        else:
            super()._resume_reading_for_buffer()
