"""An event stream on its way from one connection to another: what `open` returns for a streaming call.

Until the first good event arrives everything is held back, so that a stream that begins with an error, or is empty,
fails the try and not the request. From `pipe` on the bytes go from the socket to the sink without waking a task. The
stream is complete when its end mark was seen and for no other reason: not because the connection ended, however
properly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamIncomplete
from gatewayd.upstream.base import Sink
from gatewayd.upstream.hiding import NONE, Secrets
from gatewayd.upstream.refusal import failed_event
from gatewayd.upstream.transport import Answer, Connection, Fields
from gatewayd.wire.coding import CodingError, Inflater, is_identity
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage
from gatewayd.wire.sse_decoder import MAX_EVENT

MAX_HELD: Final = 64 * 1024
"""Bytes held back for a sink that is not there yet, before reading stops."""
MAX_BEFORE: Final = 2 * MAX_EVENT
"""Bytes of comments and unfinished events before the first event; more is no stream."""
MAX_INFLATED: Final = 4 * 1024 * 1024
"""Bytes that one segment of a compressed stream may become."""
LAST_WORDS: Final = 1.0
"""Seconds for the event that may come behind an error event."""
_EVENTS: Final = b"text/event-stream"


class EventWatcher(Protocol):
    """What decides over a stream's bytes: `wire.sse.StreamWatcher`, or something that makes others of them."""

    started: bool
    alive: bool
    """Whether the bytes last fed held a sign of life: a complete event or comment, or much of a large one."""
    done: bool
    over: bool
    ending: bool
    """Whether the stream is over but for one event, which comes at once or not at all."""
    surplus: bool
    withheld: bool
    unmarked: bool
    """Whether streams have no end mark: then only the proper end of the bytes can end one well."""
    error: bytes | None

    def feed(self, data: bytes) -> bytes:
        """What may pass on of it, or for it."""

    def end(self) -> bytes | None:
        """The bytes have ended. Returns what is missing to a good end, or None: it is no good end."""

    def usage(self) -> Usage | None: ...


class StreamAnswer(Answer):
    """A `Reply` if `live`; else the upstream has answered with something else than a stream, collected whole."""

    __slots__ = ("_end", "_error", "_held", "_held_size", "_inflater", "_last_call", "_settled", "_sink", "_sink_full",
                 "_watcher", "alive", "headers", "live", "secrets", "usage")  # fmt: skip

    nothing: str = "The upstream's stream had no event."
    """The error's message for one that ends before it has begun."""

    def __init__(self, ready: asyncio.Future[None], watcher: EventWatcher) -> None:
        super().__init__(ready)
        self._watcher = watcher
        self._inflater: Inflater | None = None
        self._sink: Sink | None = None
        self._sink_full = False
        self._held: list[bytes] = []
        self._held_size = 0
        self._end: asyncio.Future[None] | None = None
        self._settled = False
        self._last_call: asyncio.TimerHandle | None = None
        self._error: GatewayError | None = None
        self.alive = False
        self.live = False
        """Whether the answer is an event stream."""
        self.headers: Sequence[Header] = ()
        self.usage: Usage | None = None
        self.secrets: Secrets = NONE
        """What no header value and no error may show."""

    # --- Reply

    async def pipe(self, sink: Sink) -> None:
        sink.attach(self)
        for data in self._held:
            sink.write(data)
        self._held.clear()
        self._sink = sink
        if not self._settled:
            self._end = asyncio.get_running_loop().create_future()
            if self._connection is not None and not self._sink_full:
                self._connection.resume()
            await self._end
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._settled = True
        if self._last_call is not None:
            self._last_call.cancel()
        if self._connection is not None:
            self._connection.drop(self)
            self._connection = None

    # --- Flow

    def pause(self) -> None:
        self._sink_full = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        self._sink_full = False
        if self._connection is not None:
            self._connection.resume()

    # --- Answer

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        if not self._is_stream(status, fields):
            self.alive = True
            super().begin(connection, status, fields)
            return
        self._connection = connection
        self.status = status
        self.fields = fields
        self.headers = self._headers(fields)
        connection.narrow()
        self.live = True  # the first-byte timeout goes on until the first event
        coding = fields.get(b"content-encoding")
        if coding is not None and not is_identity(coding):
            try:
                self._inflater = Inflater(coding, MAX_INFLATED)
            except CodingError as error:
                self._break(UpstreamBadResponse(f"The upstream's stream cannot be read: {error}."))

    def push(self, data: bytes) -> None:
        if not self.live:
            super().push(data)
            return
        if self._inflater is not None:
            try:
                data = self._inflater.feed(data)
            except CodingError as error:
                self._break(UpstreamBadResponse(f"The upstream's stream cannot be read: {error}."))
                return
        watcher = self._watcher
        data = watcher.feed(data)
        self.alive = watcher.alive
        sink = self._sink
        if sink is None:
            self._hold(data)
        elif data:
            sink.write(data)
        if watcher.over:
            self._over()
        elif watcher.ending and self._last_call is None:
            self._last_call = asyncio.get_running_loop().call_later(LAST_WORDS, self._over)

    def finish(self, delimited: bool) -> None:
        if self.live:
            self._connection = None
            self._stop(UpstreamIncomplete("The upstream's stream ended before its end mark."))
        else:
            super().finish(delimited)

    def fail(self, error: GatewayError) -> None:
        if self.live:
            self._connection = None
            if self._watcher.unmarked:
                self._settle(self._failure() or error)
            else:
                self._stop(error)
        else:
            super().fail(error)

    # --- for subclasses

    def _is_stream(self, status: int, fields: Fields) -> bool:
        return status == 200 and fields.get(b"content-type", _EVENTS).lower().startswith(_EVENTS)

    def _headers(self, fields: Fields) -> Sequence[Header]:
        headers = self.secrets.relayed(fields)
        if fields.get(b"content-type", b"").startswith(_EVENTS):
            return headers
        # It goes for a stream all the same (see `_is_stream`), so the client is told that it is one.
        return [("content-type", "text/event-stream"), *(pair for pair in headers if pair[0] != "content-type")]

    def _failure(self) -> GatewayError | None:
        """What the watcher found to be wrong with the stream."""
        error, told = self._watcher.error, self.ready.done() and not self._watcher.withheld
        return None if error is None else failed_event(error, told=told, secrets=self.secrets)

    # --- inside

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
        self._held_size += len(data)
        if self._watcher.started:
            if not self.ready.done():
                self.ready.set_result(None)
                if self._connection is not None:
                    self._connection.answering()
            if self._held_size > MAX_HELD and self._connection is not None:
                self._connection.pause()
        elif self._held_size > MAX_BEFORE:
            self._break(UpstreamBadResponse("The upstream's stream does not start."))

    def _over(self) -> None:
        """The watcher has seen the end of the stream; its message may have some bytes of framing left."""
        connection, self._connection = self._connection, None
        watcher = self._watcher
        if connection is not None:
            if watcher.done and not watcher.surplus:
                connection.rest()
            else:
                connection.abort()
        self._settle(self._failure())

    def _stop(self, error: GatewayError) -> None:
        """The bytes have ended, or will not come."""
        missing = self._watcher.end()
        if missing is None:
            self._settle(self._failure() or error)
            return
        if missing:
            if self._sink is not None:
                self._sink.write(missing)
            else:
                self._hold(missing)
        self._settle(None)

    def _break(self, error: GatewayError) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._settle(error)

    def _settle(self, error: GatewayError | None) -> None:
        if self._settled:
            return
        self._settled = True
        if self._last_call is not None:
            self._last_call.cancel()
        self.usage = self._watcher.usage()
        if not self.ready.done():
            if error is None or (isinstance(error, UpstreamIncomplete) and not self._held_size):
                error = UpstreamIncomplete(self.nothing)
            self.ready.set_exception(error)
        self._error = error
        end = self._end
        if end is not None and not end.done():
            end.set_result(None)
