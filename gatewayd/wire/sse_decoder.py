"""Decodes server-sent events incrementally. Needs the standard library only.

The grammar is the WHATWG's (HTML, 9.2.6 "Interpreting an event stream"): lines end in CR, LF or CRLF, a leading BOM is
skipped, lines that begin with a colon are comments, several `data:` lines are one event. Any chunking of the same bytes
gives the same events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_EVENT: Final = 1024 * 1024
"""Bytes of an unfinished event that are kept for inspection; beyond, the event passes uninspected."""
MAX_HALF: Final = 32 * 1024
"""Bytes of an unfinished event that wait for its end; beyond, they pass as they come."""

_BOM: Final = b"\xef\xbb\xbf"
LINE_END: Final = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """`id:` and `retry:` concern clients that reconnect and are not kept."""

    type: bytes
    """The `event:` field; empty when there was none."""
    data: bytes | None
    """None when the event was larger than the decoder keeps."""
    end: int
    """Where the event ends in the bytes last fed: the offset behind its empty line."""


class Decoder:
    """Bytes in, events out. Memory is bounded by `limit` whatever is fed."""

    __slots__ = (
        "_bom", "_data", "_limit", "_partial", "_size", "_skip_lf", "_too_large", "_type", "_unsettled", "crlf",
        "signs",
    )  # fmt: skip

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._bom = 0  # bytes of the BOM seen so far; 3: past the start
        self._skip_lf = False  # the last line ended in CR at the end of a chunk
        self._partial = bytearray()  # the line under way
        self._data: list[bytes] = []  # of the event under way
        self._type = b""
        self._size = 0
        self._too_large = False
        self._unsettled = 0  # bytes since the last sign of life
        self.signs = 0
        """How many signs of life there were: events, comments, and each MAX_HALF bytes of a larger one."""
        self.crlf = False
        """Whether the last line whose end is known for certain ended in CRLF."""

    @property
    def between(self) -> bool:
        """Whether the stream stands between two events, with nothing begun."""
        return not (self._partial or self._data or self._type or self._too_large or self._skip_lf or 0 < self._bom < 3)

    @property
    def too_large(self) -> bool:
        """Whether the event under way is larger than is kept."""
        return self._too_large

    @property
    def pending(self) -> tuple[bytes, bytes]:
        """Data of the event that was begun, and of the line that was begun, for a stream that stops here."""
        return b"\n".join(self._data), bytes(self._partial)

    def feed(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        at = self._start(chunk) if self._bom < 3 and chunk else 0
        if self._skip_lf and at < len(chunk):
            self._skip_lf = False
            self.crlf = chunk[at] == 0x0A
            at += self.crlf
        while (end := LINE_END.search(chunk, at)) is not None:
            line = chunk[at : end.start()]
            if self._partial:
                line = bytes(self._partial) + line
                self._partial.clear()
            at = end.end()
            if at < len(chunk) or chunk[at - 1] == 0x0A:
                self.crlf = at - end.start() == 2
            if line:
                self._field(line)
            else:
                self._dispatch(events, at)
        if at < len(chunk):
            self._keep(chunk[at:])
        self._unsettled += len(chunk)
        if self._unsettled > MAX_HALF:
            self._live()
        self._skip_lf = chunk.endswith(b"\r") if chunk else self._skip_lf
        return events

    def _start(self, chunk: bytes) -> int:
        at = 0
        while self._bom < 3 and at < len(chunk):
            if chunk[at] != _BOM[self._bom]:
                self._partial += _BOM[: self._bom]
                self._bom = 3
                return at
            self._bom += 1
            at += 1
        return at

    def _keep(self, piece: bytes) -> None:
        # A line that is too long is kept as the name of its field: "data: " is enough to know an event came.
        if len(self._partial) + len(piece) + self._size <= self._limit:
            self._partial += piece
        elif not self._too_large:
            self._too_large = True
            self._partial += piece[:8]
            del self._partial[8:]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if not name:
            self._live()
        if name == b"error":  # llama.cpp until September 2025, for `data: {"error": ...}`
            self._type = name
        if name == b"data" or name == b"error":
            self._size += len(value)
            if self._too_large or self._size > self._limit:
                self._too_large = True
                self._data = [b""]
            else:
                self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._type = value.removeprefix(b" ")[:256]

    def _live(self) -> None:
        self.signs += 1
        self._unsettled = 0

    def _dispatch(self, events: list[Event], end: int) -> None:
        if self._data or self._type:
            self._live()
        if self._data:
            data = None if self._too_large else self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(self._type, data, end))
            self._data = []
        self._type = b""
        self._size = 0
        self._too_large = False
