"""The answer's way to the client: straight to the transport, framed here, with back-pressure and without a task.

One write for a whole answer; for a stream one for the head with the first piece and one for each piece after. aiohttp's
StreamWriter is not used: it costs more than all the rest of an answer, and it has no way to write without awaiting.
Framing rules are those of RFC 9112: Content-Length for whole answers, chunked for streams, for HTTP/1.0 clients the end
of the connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import StreamReader

from gatewayd.upstream.base import Flow, Sink
from gatewayd.web.connection import Connection
from gatewayd.web.render import head
from gatewayd.wire.headers import Header
from gatewayd.wire.large import LARGE

_BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""Line ends that complete an event (WHATWG, server-sent events)."""
_LONGEST_BOUNDARY = 4
UPGRADE_REQUIRED = 426


class ClientResponder:
    """The answer to one request on one connection; also the `Sink` of its stream. See `web.exchange.Responder`."""

    __slots__ = ("_chunked", "_connection", "_head", "_head_only", "_http10", "_keep", "_last", "_payload")

    def __init__(
        self, connection: Connection, payload: StreamReader, *, http10: bool, keep_alive: bool, head_only: bool
    ) -> None:
        """`payload` is the request's body: a connection on which some of it is still to come is not kept."""
        self._connection = connection
        self._payload = payload
        self._http10 = http10
        self._keep = keep_alive
        self._head_only = head_only
        self._chunked = False
        self._head: bytes | None = None
        self._last = b""

    @property
    def gone(self) -> bool:
        return self._connection.gone

    @property
    def keeps(self) -> bool:
        """Whether another request may follow on the connection."""
        return self._keep

    def send(self, status: int, headers: Sequence[Header], body: bytes, *, last: bool = False) -> None:
        self._decide(last)
        last_one = "connection: upgrade, close\r\n" if status == UPGRADE_REQUIRED else "connection: close\r\n"
        connection = last_one if not self._keep else "connection: keep-alive\r\n" if self._http10 else ""
        text = head(status, headers, f"content-length: {len(body)}\r\n{connection}")
        if len(body) <= LARGE:
            self._write(text if self._head_only else text + body)
        else:  # joined, they would be copied
            self._write(text)
            self._write(b"" if self._head_only else body)

    def start(self, status: int, headers: Sequence[Header]) -> Sink:
        self._decide(self._http10)
        self._chunked = not self._http10
        framing = "transfer-encoding: chunked\r\n" if self._chunked else ""
        # Held until the first piece, so that both leave in one segment.
        self._head = head(status, headers, framing if self._keep else f"{framing}connection: close\r\n")
        return self

    def finish(self) -> None:
        self._write(self._take_head() + (b"0\r\n\r\n" if self._chunked else b""))
        self._connection.flow = None

    def fail(self, event: bytes) -> None:
        self._keep = False
        if event:
            # A piece of an event may have gone out: an empty line ends it, or the error would become a part of it.
            ended = not self._last or self._last.endswith(_BOUNDARIES)
            self.write(event if ended else b"\n\n" + event)
        self.finish()

    def abort(self) -> None:
        self._keep = False
        self._connection.flow = None
        self._connection.abort()

    # --- Sink ---------------------------------------------------------------------------------------------------

    def attach(self, flow: Flow) -> None:
        self._connection.flow = flow
        if self._connection.writing_paused:
            flow.pause()

    def write(self, data: bytes) -> None:
        if not data:  # as a chunk it would be the end mark
            return
        # Kept whole, not cut: its end is looked at only if the stream breaks.
        self._last = data if len(data) >= _LONGEST_BOUNDARY else self._last[-_LONGEST_BOUNDARY:] + data
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head is not None:
            data = self._take_head() + data
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def _take_head(self) -> bytes:
        text, self._head = self._head, None
        return text or b""

    def _decide(self, last: bool) -> None:
        self._keep = self._keep and not last and not self._connection.retiring and self._payload.is_eof()

    def _write(self, data: bytes) -> None:
        transport = self._connection.transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
