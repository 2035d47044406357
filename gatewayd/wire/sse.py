"""Server-sent events, incrementally: a decoder by the book, and the watcher of OpenAI streams.

The grammar is the WHATWG's (HTML, 9.2.6 "Interpreting an event stream"): lines end in CR, LF or CRLF, a leading BOM is
skipped, lines that begin with a colon are comments, several `data:` lines are one event. Any chunking of the same bytes
gives the same events. Nothing here relays, waits or keeps what it has seen: streams are watched, not rebuilt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gatewayd.wire.openai import DONE, Usage
from gatewayd.wire.usage import read_usage

MAX_EVENT: Final = 1024 * 1024
"""Bytes of an unfinished event that are kept for inspection; beyond, the event passes uninspected."""
MAX_HALF: Final = 32 * 1024
"""Bytes of an unfinished event that wait for its end; beyond, they pass as they come."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_ENDS: Final = (b"\n\n", b"\r\n\r\n")


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
        while (end := _LINE_END.search(chunk, at)) is not None:
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


class StreamWatcher:
    """Looks at an OpenAI stream while it passes: has it begun well, has it ended, what did it cost.

    `feed` returns the bytes that may pass: all of them, or those up to the end of the event that ends the stream
    (`[DONE]`, or an error). With `whole` an event passes when all of it is there, unless it is larger than MAX_HALF: a
    stream that is cut inside of an event leaves no half of it, on which clients would choke before they see the error.
    `choices` > 0 is for upstreams known to leave out `[DONE]`: the number of choices that must have had their finish
    reason for an end without it to be good. `hides` says of an error event whether it must not pass.
    """

    __slots__ = (
        "_between",
        "_choices",
        "_decoder",
        "_finished",
        "_half",
        "_hides",
        "_passing",
        "_quick",
        "_usage",
        "_whole",
        "alive",
        "done",
        "error",
        "over",
        "started",
        "surplus",
        "withheld",
    )

    def __init__(self, *, choices: int = 0, whole: bool = False, hides: Callable[[bytes], bool] | None = None) -> None:
        self._whole = whole
        self._hides = hides
        self._half = b""  # of an event that waits for its end
        self._passing = False  # the event under way is too large to wait
        self._decoder = Decoder()
        self._between = False  # the decoder has begun nothing
        self._quick = False  # whole events need not go through the decoder
        self._choices = choices
        self._finished: set[int] = set()
        self._usage = b""  # the last bytes that spoke of usage
        self.started = False
        """Whether an event that is no error and no end mark has been seen."""
        self.alive = False
        """Whether the bytes last fed held a sign of life (see `Decoder.signs`)."""
        self.done = False
        """Whether `[DONE]` has been seen."""
        self.over = False
        """Whether the stream has ended, well or not: nothing more is to be fed."""
        self.error: bytes | None = None
        """The data of an error event; the stream is over with it."""
        self.withheld = False
        """Whether the error event has not passed, because it must not."""
        self.surplus = False
        """Whether more than line ends came behind the end in the same bytes."""

    def feed(self, data: bytes) -> bytes:
        # The common chunk is one or more whole events with nothing to notice: a few substring searches and no parsing.
        # (`rfind`, because on CPython it takes half the time of `in` for needles and haystacks of these sizes.)
        if (
            self._quick
            and data.endswith(_ENDS)
            and data.rfind(b"[DONE]") < 0
            and (
                data.rfind(b"error") < 0 or (b'"error"' not in data and b"event:" not in data and b"error:" not in data)
            )
            and not (self._choices and _FINISHED.search(data))
        ):
            if data.rfind(b'"usage"') >= 0:
                self._usage = data
            return data
        return self._scan(data)

    def end(self) -> bytes | None:
        """The bytes have ended. Returns what is missing to a good end (mostly nothing), or None: it is no good end."""
        if self.done:
            return b""
        if self.error is not None:
            return None
        data, line = self._decoder.pending
        if data == b"[DONE]" and not line:
            self.done = True
            return self._half + b"\n"
        if not data and line in (b"data: [DONE]", b"data:[DONE]"):
            self.done = True
            return self._half + b"\n\n"
        if self._choices and len(self._finished) >= self._choices and self._between:
            self.done = True
            return DONE
        return None

    def usage(self) -> Usage | None:
        """Tokens as told by the last event that spoke of them."""
        for line in reversed(_LINE_END.split(self._usage)):
            if b'"usage"' in line and (usage := read_usage(line.removeprefix(b"data:"))) is not None:
                return usage
        return None

    def _scan(self, data: bytes) -> bytes:
        end = 0
        decoder = self._decoder
        signs = decoder.signs
        for event in decoder.feed(data):
            if self._is_last(event):
                self.over = True
                self.surplus = bool(data[event.end :].strip(b"\r\n"))
                if self._is_hidden(self._half + data[: event.end] if end == 0 else data[end : event.end]):
                    return self._half + data[:end] if end else b""
                # A CR ends the event, but where lines end in CRLF its LF is under way and belongs to it.
                halved = event.end == len(data) and data.endswith(b"\r") and self._decoder.crlf
                return self._half + (data + b"\n" if halved else data[: event.end])
            self.started = True
            end = event.end
        self._between = decoder.between
        if decoder.too_large:
            self.started = True  # too large to look into, so it is not held back either
        self.alive = decoder.signs != signs
        self._quick = self._between and self.started and self.alive
        return self._events(data, end) if self._whole else data

    def _is_hidden(self, event: bytes) -> bool:
        if self.error is not None and self._hides is not None:
            self.withheld = self._hides(event) or self._hides(self.error)
        return self.withheld

    def _events(self, data: bytes, end: int) -> bytes:
        """What may pass of the bytes at hand, whose last whole event ends at `end` (0: none does)."""
        if self._between:
            end = len(data)
        elif end == 0 and self._passing:
            return data
        if end:
            passed, self._half = self._half + data[:end], data[end:]
            self._passing = False
        else:
            passed, self._half = b"", self._half + data
        if len(self._half) > MAX_HALF:
            passed, self._half = passed + self._half, b""
            self._passing = True
        return passed

    def _is_last(self, event: Event) -> bool:
        data = event.data
        if data is None:
            return False
        if data.strip() == b"[DONE]":
            self.done = True
            return True
        suspicious = b'"error"' in data or event.type == b"error"
        if suspicious and _is_error(data, event.type):
            self.error = data
            return True
        if b'"usage"' in data:
            self._usage = data
        if self._choices and _FINISHED.search(data):
            self._finished |= _finished_choices(data)
        return False


def _is_error(data: bytes, type: bytes) -> bool:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return type == b"error"
    if type == b"error":
        return True
    return isinstance(value, dict) and (bool(value.get("error")) or value.get("object") == "error")


def _finished_choices(data: bytes) -> set[int]:
    try:
        value: Any = msgspec.json.decode(data)
        return {choice["index"] for choice in value["choices"] if choice.get("finish_reason")}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError, AttributeError):
        return set()
