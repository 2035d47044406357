"""The answer's way to the client: straight to the transport, framed here, with back-pressure and without a task.

One write for a whole answer; for a stream one for the head with the first piece and one for each piece after. aiohttp's
StreamWriter is not used: it costs more than all the rest of an answer, and it has no way to write without awaiting.
Framing rules are those of RFC 9112: Content-Length for whole answers, chunked for streams, for HTTP/1.0 clients the end
of the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import StreamReader

from gatewayd.engine.render import head
from gatewayd.upstream.base import Flow, Sink
from gatewayd.wire.headers import Header
from gatewayd.wire.large import LARGE

if TYPE_CHECKING:
    from gatewayd.web.loop import LoopConnection

_BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""Line ends that complete an event (WHATWG, server-sent events)."""
_LONGEST_BOUNDARY = 4
UPGRADE_REQUIRED = 426


class ClientResponder:
    """The answer to one request on one connection; also the `Sink` of its stream. See `engine.client.Client`."""

    __slots__ = (
        "_chunked", "_connection", "_head", "_head_only", "_http10", "_keep", "_last", "_payload", "asks_only", "peer",
    )  # fmt: skip

    def __init__(
        self,
        connection: LoopConnection,
        payload: StreamReader | None = None,
        http10: bool = False,
        keep_alive: bool = True,
        head_only: bool = False,
    ) -> None:
        """`payload` is the rest of the request's body: a connection on which some of it is still to come is not
        kept."""
        self._connection = connection
        self._payload = payload
        self._http10 = http10
        self._keep = keep_alive
        self._head_only = head_only
        self._chunked = False
        self.asks_only = connection.asks_only
        self.peer = connection.peer
        self._head: bytes | None = None
        self._last = b""

    @property
    def gone(self) -> bool:
        return self._connection.gone

    def send(self, status: int, headers: Sequence[Header], body: bytes, *, last: bool = False) -> None:
        self._keep = self._keep and not last
        made = head(status, headers, f"content-length: {len(body)}\r\n")
        closes = b"upgrade, close" if status == UPGRADE_REQUIRED else b"close"
        self.send_made(made, b"" if self._head_only else body, closes)

    def send_made(self, head: bytes, body: bytes, closes: bytes = b"close") -> None:
        connection = self._connection
        self._keep = keep = self._keep and not connection.retiring and (self._payload is None or self._payload.is_eof())
        if not keep or self._http10:
            head = head.replace(b"\r\n", b"\r\nconnection: %b\r\n" % (b"keep-alive" if keep else closes), 1)
        transport = connection.transport
        if transport is not None and not transport.is_closing():
            if len(body) <= LARGE:
                transport.write(head + body)
            else:  # joined, they would be copied
                transport.write(head)
                transport.write(body)

    def start(self, status: int, headers: Sequence[Header]) -> Sink:
        eof = self._payload is None or self._payload.is_eof()
        self._keep = self._keep and not self._http10 and not self._connection.retiring and eof
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

    def done(self) -> None:
        self._connection.done(self._keep)

    # --- Sink ---------------------------------------------------------------------------------------------------

    def attach(self, flow: Flow) -> None:
        self._connection.flow = flow
        if self._connection.full:
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

    def _write(self, data: bytes) -> None:
        transport = self._connection.transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
