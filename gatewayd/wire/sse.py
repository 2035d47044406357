"""Watches OpenAI streams while they pass. Nothing here relays, waits or keeps what it has seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gatewayd.wire.openai import DONE, Usage
from gatewayd.wire.sse_decoder import LINE_END, MAX_HALF, Decoder, Event
from gatewayd.wire.usage import read_usage

_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_ENDS: Final = (b"\n\n", b"\r\n\r\n")


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
        "ending",
        "error",
        "over",
        "started",
        "surplus",
        "withheld",
    )

    unmarked = False
    """Whether streams have no end mark: then only the proper end of the bytes can end one well."""

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
        self.ending = False
        """Whether an error event has been seen behind which one more event may come, at once."""
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
        for line in reversed(LINE_END.split(self._usage)):
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
                self.surplus = self._is_surplus(data[event.end :])
                if self._is_hidden(self._half + data[: event.end] if end == 0 else data[end : event.end]):
                    return self._half + data[:end] if end else b""
                # A CR ends the event, but where lines end in CRLF its LF is under way and belongs to it.
                halved = event.end == len(data) and data.endswith(b"\r") and self._decoder.crlf
                return self._half + (data + b"\n" if halved else data[: event.end])
            self.started = self.started or self._begins(event)
            end = event.end
        self._between = decoder.between
        if decoder.too_large:
            self.started = True  # too large to look into, so it is not held back either
        self.alive = decoder.signs != signs
        self._quick = self._between and self.started and self.alive
        return self._events(data, end) if self._whole else data

    def _is_hidden(self, event: bytes) -> bool:
        if self.error is not None and self._hides is not None:
            self.withheld = self.withheld or self._hides(event) or self._hides(self.error)
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

    def _begins(self, event: Event) -> bool:
        """Whether the stream has begun well with an event that is not the last one."""
        return True

    def _is_surplus(self, rest: bytes) -> bool:
        return bool(rest.strip(b"\r\n"))

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
