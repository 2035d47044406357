"""A reply in another dialect than the caller's, on its way to the caller: read into the neutral form, and written.

The reply below decides when a stream has begun and how it ends. An error event of the upstream's is not passed on: the
reply below raises it, and the caller gets it in its own form (`error_event`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamIncomplete
from gatewayd.upstream.base import Flow, Reply, Sink
from gatewayd.wire.events import End, Ping, Reader, Start, StreamError, StreamEvent, Writer
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage
from gatewayd.wire.sse_decoder import Decoder

MAX_CONVERTED: Final = 16 * 1024 * 1024
"""Bytes of an event that is converted: the last one of a response may have images in it."""
_ALIVE: Final = b": keep-alive\n\n"
_CUT: Final = "The upstream's stream ended before its end mark."


def unix_time() -> int:
    return int(datetime.now(UTC).timestamp())


class ConvertedStream:
    """A `Reply`: a stream of events that are read and written anew."""

    body: bytes | None = None

    def __init__(
        self,
        reply: Reply,
        headers: Sequence[Header],
        reader: Reader,
        writer: Writer,
        at_end: Callable[[], None],
        own_id: str | None,
    ) -> None:
        """`at_end` is called when the stream has ended well. `own_id`: the answer's, instead of the upstream's."""
        self._own_id = own_id
        self._reply = reply
        self._at_end = at_end
        self._reader = reader
        self._writer = writer
        self.status = reply.status
        self.headers = headers
        self.usage: Usage | None = None

    async def pipe(self, sink: Sink) -> None:
        converting = _ConvertingSink(sink, self._reader, self._writer, self._own_id)
        try:
            await self._piped(converting)
        except GatewayError as error:
            error.told = False  # what the upstream said of it has not been passed on
            raise
        finally:
            self.usage = self._reply.usage
        self._at_end()

    async def _piped(self, converting: _ConvertingSink) -> None:
        try:
            await self._reply.pipe(converting)
        except asyncio.CancelledError:
            if converting.failure is None or not converting.has_cancelled:
                raise
            converting.task.uncancel()
            raise converting.failure from None
        converting.finish()

    def error_event(self, error: GatewayError) -> bytes:
        """The event that ends a stream that broke: the writer knows the answer that it is about."""
        return self._writer.error(
            StreamError(message=error.message, type=error.type, code=error.code, param=error.param, status=error.status)
        )

    def close(self) -> None:
        self._reply.close()


class _ConvertingSink:
    """Takes the upstream's events, and writes the caller's."""

    def __init__(self, sink: Sink, reader: Reader, writer: Writer, own_id: str | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        """The one that waits for the end of the stream."""
        self.failure: GatewayError | None = None
        self.has_cancelled = False
        self._sink = sink
        self._reader = reader
        self._writer = writer
        self._own_id = own_id
        self._decoder = Decoder(MAX_CONVERTED)
        self._signs = 0
        self._idle = True
        """Whether the bytes last written say only that the upstream lives."""
        self._over = False
        self._whole = False

    def attach(self, flow: Flow) -> None:
        self._sink.attach(flow)

    def write(self, data: bytes) -> None:
        if self._over:
            return
        try:
            out = self._converted(data)
        except GatewayError as error:
            self._fail(error)
            return
        if out:
            self._sink.write(out)
        elif self._idle and self._decoder.signs != self._signs:
            self._sink.write(_ALIVE)
        self._signs = self._decoder.signs

    def finish(self) -> None:
        """The upstream's stream had a good end. Raises GatewayError if it holds no whole answer all the same."""
        if self.failure is not None:
            raise self.failure
        if not self._over and (out := self._written(self._reader.end())):
            self._sink.write(out)
        if not self._whole:
            raise UpstreamIncomplete(_CUT)

    def _converted(self, data: bytes) -> bytes:
        out = b""
        self._idle = True
        for event in self._decoder.feed(data):
            if event.data is None:
                raise UpstreamBadResponse("The upstream's stream has an event that is too large.")
            out += self._written(self._reader.feed(event.type, event.data))
            if self._over:
                break
        return out

    def _written(self, events: Sequence[StreamEvent]) -> bytes:
        pieces: list[bytes] = []
        for event in events:
            if isinstance(event, StreamError):
                self._over = True
                break
            if isinstance(event, Start):
                event = self._named(event)
            self._idle = self._idle and isinstance(event, Ping)
            pieces += self._writer.feed(event)
            if isinstance(event, End):
                self._over = self._whole = True
                break
        return b"".join(pieces)

    def _named(self, start: Start) -> Start:
        created = unix_time() if start.created is None else start.created
        return msgspec.structs.replace(start, created=created, answer_id=self._own_id or start.answer_id)

    def _fail(self, error: GatewayError) -> None:
        self._over = True
        self.failure = error
        if asyncio.current_task() is self.task:
            raise error
        self.has_cancelled = True
        self.task.cancel()
