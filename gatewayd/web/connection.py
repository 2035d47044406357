"""One client connection: aiohttp's `RequestHandler` with the deadlines, limits and flow control it has not.

What aiohttp 3.14 lacks and this adds: a deadline for a request's head, a write timeout, a hook for back-pressure
without a task, a cap on connections, the parser's errors in OpenAI's shape, and closing an idle connection at once.
Knows nothing of gateways; the handler it is given does. It leans on two undocumented names of aiohttp, `_request_count`
and `_force_close`: tests/web/test_connection.py pins what they are used for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import StreamReader, web

from gatewayd.engine.render import last_words, new_request_id
from gatewayd.errors import InternalError, InvalidRequest, ServerBusy
from gatewayd.upstream.base import Flow

_log = logging.getLogger("gatewayd.web")

KEEPALIVE_SECONDS = 75.0
"""nginx's figure: longer than the idle time of the clients that reuse connections."""
LINGER_SECONDS = 1.0
"""How long a refused body is read and thrown away, so that the client sees the answer and not a reset."""
MOST_ASKING = 16
"""Connections that may ask for the health of an overloaded gateway at a time."""
MAX_HEAD_FIELD = 8190
MAX_HEADERS = 128

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds."""

    head: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of that request's head."""
    body: float = 30.0
    """Longest silence inside a request's body, and the head start of one that comes slowly."""
    idle: float = KEEPALIVE_SECONDS
    """How long a connection is kept after an answer without another request."""
    write: float = 60.0
    """A client that takes no byte for so long, with our buffer full, is gone."""


class Written(web.StreamResponse):
    """What aiohttp gets for an answer that has been written already: only whether the connection is kept."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


CLOSED = Written(keep_alive=False)


class Connection(web.RequestHandler):
    """See the module. `flow` is told to stop and to go on reading when the client is slower than the upstream."""

    __slots__ = (
        "_answered",
        "_head_timer",
        "_stuck_timer",
        "_wire",
        "_writable",
        "asks_only",
        "body",
        "flow",
        "full",
        "listening",
        "peer",
        "retiring",
        "server",
    )

    def __init__(self, server: HttpServer, listening: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp itself passes None to switch it off
            keepalive_timeout=server.deadlines.idle,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
            max_line_size=MAX_HEAD_FIELD,
            max_field_size=MAX_HEAD_FIELD,
            max_headers=MAX_HEADERS,
        )
        self.server = server
        self.listening = listening
        """The listening socket that accepted it. When that closes, the connection ends too."""
        self.flow: Flow | None = None
        self.full = False
        """The client takes less than there is to write."""
        self.peer = ""
        """The client's address without its port, or `unix`."""
        self.body: StreamReader | None = None
        """The request body that is being read."""
        self.retiring = False
        """The answer under way is the last one on this connection."""
        self.asks_only = False
        """Let in although the gateway is overloaded, to ask for its health."""
        self._answered = 0
        self._wire: asyncio.Transport | None = None  # aiohttp forgets its own when it begins to close
        self._head_timer: asyncio.TimerHandle | None = None
        self._stuck_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Event | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.server.is_full():
            self._refuse(transport)
            return
        if self.server.is_overloaded():
            if self.server.asking >= MOST_ASKING:
                self._refuse(transport)
                return
            self.server.asking += 1
            self.asks_only = self.retiring = True
        self._wire = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of asyncio's
        self.server.open.add(self)
        super().connection_made(transport)
        peer = self.peername
        self.peer = peer[0] if isinstance(peer, tuple) else "unix"
        self._head_timer = self._loop.call_later(self.server.deadlines.head, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        for timer in (self._head_timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        self.flow = None
        if self._writable is not None:
            self._writable.set()
        super().connection_lost(exc)
        self.server.asking -= self.asks_only
        self.server.open.discard(self)
        self.server.changed.set()

    @property
    def busy(self) -> bool:
        """Whether a request has been read whose answer is not complete."""
        return self._request_count != self._answered

    @property
    def unused(self) -> bool:
        """Whether no request has come on it yet."""
        return not self._request_count

    @property
    def reading_paused(self) -> bool:
        """Whether aiohttp has stopped reading until somebody takes what there is."""
        return bool(self._reading_paused)

    @property
    def gone(self) -> bool:
        """Whether nothing can be sent to the client any more."""
        return self.transport is None or self.transport.is_closing()

    def retire(self, *, unused: bool = True) -> None:
        """Closes the connection: at once if it is idle, else after the answer under way.

        Without `unused`, one that no request has come on yet may still have its first.
        """
        if self.busy or (not unused and self.unused):
            self.retiring = True
        else:
            self.force_close()

    def abort(self) -> None:
        """Resets the connection, so that the client cannot take what it has for a whole answer."""
        if self._wire is not None:
            self._wire.abort()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        # aiohttp calls this once for every answer, after its last byte, whether or not there is an access log.
        self.answered()

    def answered(self) -> None:
        """An answer is complete."""
        self._answered += 1
        if self.retiring:
            self._loop.call_soon(self.retire)

    def _refuse(self, transport: asyncio.BaseTransport) -> None:
        self._force_close = True
        wire = cast(asyncio.Transport, transport)
        wire.write(last_words(ServerBusy("The gateway is at its limit of connections.", retry_after=1.0)))
        wire.close()

    # --- reading ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        known = self._request_count
        super().data_received(data)
        if self._request_count != known:
            self._head_is_here()
            if self.body is not None and not self.body.is_eof():
                # No request can follow before the body's end: this is the parser's complaint about the body, which
                # aiohttp queues as a message and the reader of the body would wait for in vain.
                self.body.set_exception(web.RequestPayloadError("bad framing"))
        elif self._head_timer is None and not self.busy and not self._force_close:
            # The first bytes of a head that is not complete: a slow one must not hold the connection (B-06).
            self._head_timer = self._loop.call_later(self.server.deadlines.head, self.force_close)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _process_keepalive(self) -> None:
        if self.busy:  # aiohttp does not know of requests that its parser has not seen
            self._keepalive_handle = self._loop.call_later(self.server.deadlines.idle, self._process_keepalive)
        else:
            super()._process_keepalive()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp's parser refuses, in OpenAI's shape. Nothing of the input is repeated, here or in the log."""
        request_id = new_request_id()
        text = not_http(exc, request_id) if status == 400 else broken(exc, request_id)
        if self.transport is not None:
            self.transport.write(text)
        return CLOSED

    # --- writing ------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self.full = True
        if self.flow is not None:
            self.flow.pause()
        self._watch_stuck()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.full = False
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
        if self._writable is not None:
            self._writable.set()
        if self.flow is not None:
            self.flow.resume()

    async def drained(self) -> None:
        """Waits until the write buffer is below its low-water mark, or the client is gone."""
        while self.full and not self.gone:
            self._writable = asyncio.Event()
            await self._writable.wait()

    def _watch_stuck(self) -> None:
        transport = self.transport
        if transport is not None:
            left = transport.get_write_buffer_size()
            self._stuck_timer = self._loop.call_later(self.server.deadlines.write, self._if_stuck, left)

    def _if_stuck(self, before: int) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size() < before:
            self._watch_stuck()
        else:
            self.abort()


def not_http(exc: BaseException | None, request_id: str) -> bytes:
    """The answer to what aiohttp's parser refuses. Nothing of the input is repeated, here or in the log."""
    _log.debug("%s sent invalid HTTP: %s", request_id, type(exc).__name__)
    return last_words(InvalidRequest("The request is not valid HTTP/1.1, or its head is too large."), request_id)


def broken(exc: BaseException | None, request_id: str) -> bytes:
    """The answer to a request whose handler failed, which no handler does."""
    _log.error("request %s failed", request_id, exc_info=exc)
    return last_words(InternalError("The gateway failed on this request; its log has the request id."), request_id)


class HttpServer(web.Server):
    """All connections of one listener, whatever socket accepted them. `handle` answers every request.

    `max_connections` and `is_overloaded` are asked at every new connection. A handler is cancelled when its client
    leaves.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        max_connections: Callable[[], int],
        is_overloaded: Callable[[], bool] = lambda: False,
        deadlines: Deadlines | None = None,
    ) -> None:
        super().__init__(handle, handler_cancellation=True)
        self.is_overloaded = is_overloaded
        self.asking = 0
        """Open connections that were let in only to ask for the gateway's health."""
        self.deadlines = deadlines or Deadlines()
        self.open: set[Connection] = set()
        """Connections whose sockets are open."""
        self.changed = asyncio.Event()
        """Set when a connection has ended; whoever waits for it clears it."""
        self._max_connections = max_connections
        self._told_full = 0.0

    def open_connection(self, listening: object, *, last: bool = False) -> Connection:
        """The protocol factory of one listening socket; a `last` connection ends after its first answer."""
        connection = self.make_connection(listening)
        connection.retiring = last
        return connection

    def make_connection(self, listening: object) -> Connection:
        return Connection(self, listening, self._loop)

    def is_full(self) -> bool:
        if len(self.open) < self._max_connections():
            return False
        now = self._loop.time()
        if now >= self._told_full:  # one line a second, however many knock
            self._told_full = now + 1.0
            _log.warning("%d connections are open, which is the limit: refusing new ones", len(self.open))
        return True
