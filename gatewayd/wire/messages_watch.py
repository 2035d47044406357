"""Watches streams of Anthropic's Messages API while they pass, and reads token usage of its answers.

A stream ends with the event `message_stop`; nothing follows it. Usage comes in two parts: `message_start` has the
tokens of the input, `message_delta` those of the output so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gatewayd.wire.openai import Usage
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.sse_decoder import LINE_END, Event

MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
"""The end mark of a stream."""

_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_STOP: Final = b"message_stop"
_TAIL: Final = 4096
"""Bytes at the end of a body in which `usage` is looked for."""


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Counts | None = None


class _Document(msgspec.Struct):
    type: str = ""
    usage: _Counts | None = None
    message: _Message | None = None


_decoder: Final = msgspec.json.Decoder(_Document)


class MessagesWatcher(StreamWatcher):
    """See `StreamWatcher`. `choices` is of no use here: every stream of this API has its end mark."""

    __slots__ = ("_first",)

    def __init__(self, *, choices: int = 0, whole: bool = False, hides: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(whole=whole, hides=hides)
        self._first = b""  # the first bytes that spoke of usage

    def feed(self, data: bytes) -> bytes:
        # As in StreamWatcher: the common chunk costs a few substring searches.
        if (
            self._quick
            and data.endswith(_ENDS)
            and data.rfind(_STOP) < 0
            and (
                data.rfind(b"error") < 0
                or (b'"error"' not in data and b"event: error" not in data and b"event:error" not in data)
            )
        ):
            if data.rfind(b'"usage"') >= 0:
                self._note(data)
            return data
        return self._scan(data)

    def end(self) -> bytes | None:
        if self.done:
            return b""
        if self.error is not None:
            return None
        data, line = self._decoder.pending
        if _type_of(data if data and not line else b"" if data else line.removeprefix(b"data:")) == _STOP:
            self.done = True
            return self._half + (b"\n" if data else b"\n\n")
        return None

    def usage(self) -> Usage | None:
        counts = [
            found
            for text in (self._first, self._usage)
            for line in LINE_END.split(text)
            if b'"usage"' in line and (found := _counts_of(line.removeprefix(b"data:"))) is not None
        ]
        return _usage(counts)

    def _note(self, data: bytes) -> None:
        if not self._first:
            self._first = data
        else:
            self._usage = data

    def _is_last(self, event: Event) -> bool:
        data = event.data
        if data is None:
            return False
        if (event.type == _STOP or _STOP in data) and (_type_of(data) or event.type) == _STOP:
            self.done = True
            return True
        if (event.type == b"error" or b'"error"' in data) and (_type_of(data) or event.type) == b"error":
            self.error = data
            return True
        if b'"usage"' in data:
            self._note(data)
        return False


def messages_usage(body: bytes) -> Usage | None:
    """The usage of a whole answer, looked for near its end."""
    at = body.rfind(b'"usage"', max(0, len(body) - _TAIL))
    counts = None if at < 0 else _counts_of(b"{" + body[at:])
    return None if counts is None else _usage([counts])


def _type_of(data: bytes) -> bytes:
    """The `type` of an event's data; empty if it has none, or is no JSON object."""
    try:
        return _decoder.decode(data).type.encode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""


def _counts_of(data: bytes) -> _Counts | None:
    try:
        document = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document.usage if document.message is None else document.message.usage


def _usage(found: Iterable[_Counts]) -> Usage | None:
    """What the counts say together; of two numbers for one thing the later one holds, unless it is 0."""
    total: _Counts | None = None
    for counts in found:
        if total is None:
            total = counts
            continue
        for name in _Counts.__struct_fields__:
            if value := getattr(counts, name):
                setattr(total, name, value)
    if total is None:
        return None
    cached = (total.cache_creation_input_tokens or 0) + (total.cache_read_input_tokens or 0)
    prompt, completion = (total.input_tokens or 0) + cached, total.output_tokens or 0
    return Usage(prompt, completion, prompt + completion)
