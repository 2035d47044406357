"""Comments into streams that have fallen silent, so that proxies on the way to the client do not cut them off.

One timer for all streams with the same setting, and no clock for each piece: a stream is silent when the last bytes it
wrote are the very same object as when it was looked at before. Without the setting nothing of this exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gatewayd.upstream.base import Flow, Sink

COMMENT: Final = b": keep-alive\n\n"
"""WHATWG, server-sent events: a line that begins with a colon is ignored. The empty line is for clients that cut at
empty lines and look at nothing but the beginning of each part."""
LOOKS: Final = 4
"""Looks in the time after which a comment is due: it comes up to a quarter of that time late."""
_BOUNDARIES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class KeepAlives:
    """All streams that want comments. One for each listener."""

    def __init__(self) -> None:
        self._rounds: dict[float, _Round] = {}

    @contextmanager
    def watching(self, sink: Sink, seconds: float) -> Iterator[Sink]:
        """A sink before `sink` that adds a comment after every so many seconds of silence, while this lasts."""
        stream = _Stream(sink)
        found = self._rounds.get(seconds)
        if found is None:
            found = self._rounds[seconds] = _Round(seconds / LOOKS)
        found.streams[stream] = (stream.tail, 0)
        try:
            yield stream
        finally:
            stream.flow = None  # it refers to this stream, and nothing is to be left for the garbage collector
            del found.streams[stream]
            if not found.streams:
                found.timer.cancel()
                del self._rounds[seconds]


class _Stream:
    """A stream on its way to `sink`; to its upstream a `Sink`, to the client's connection a `Flow`."""

    __slots__ = ("_full", "_sink", "flow", "tail")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.flow: Flow | None = None
        self._full = False
        self.tail = b""
        """The last bytes written; a new object with every write."""

    def attach(self, flow: Flow) -> None:
        self.flow = flow
        self._sink.attach(self)

    def write(self, data: bytes) -> None:
        self.tail = data[-4:] if len(data) >= 4 else (self.tail + data)[-4:]
        self._sink.write(data)

    def pause(self) -> None:
        self._full = True
        if self.flow is not None:
            self.flow.pause()

    def resume(self) -> None:
        self._full = False
        if self.flow is not None:
            self.flow.resume()

    def keep_alive(self) -> None:
        """Adds a comment, unless an event is only half written or the client has not taken what there is."""
        if not self._full and self.tail.endswith(_BOUNDARIES):
            self.write(COMMENT)


class _Round:
    """The streams of one setting, looked at together."""

    def __init__(self, period: float) -> None:
        self.streams: dict[_Stream, tuple[bytes, int]] = {}
        """What each had written at the last look, and for how many looks nothing has followed."""
        self._loop = asyncio.get_running_loop()
        self._period = period
        self.timer = self._loop.call_later(period, self._look)

    def _look(self) -> None:
        self.timer = self._loop.call_later(self._period, self._look)
        for stream, (seen, times) in self.streams.items():
            if stream.tail is not seen:
                self.streams[stream] = (stream.tail, 0)
            elif times + 1 < LOOKS:
                self.streams[stream] = (seen, times + 1)
            else:
                stream.keep_alive()
                self.streams[stream] = (stream.tail, 0 if stream.tail is not seen else times)
