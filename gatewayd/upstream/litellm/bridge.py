"""litellm's HTTP, done by our own connections: an httpx transport over `upstream.pool`.

Whatever litellm's client does around it, a request that comes through here goes out once, follows no redirect, takes
no proxy from the environment, keeps no cookie, and obeys the timeouts of the call it belongs to. What happened is
written into that call's `Exchange`, so that it need not be guessed from litellm's exceptions. Closing the exchange
closes its connections at once.

Knows httpx, not litellm. Imported only when litellm is.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx

from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamRedirect
from gatewayd.upstream.answer import MAX_BODY, STEP, Answer, Fields, answer_too_large
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.dial import Origin
from gatewayd.upstream.inside import leads_inside
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.stream import MAX_INFLATED
from gatewayd.upstream.transport import Connection
from gatewayd.wire.coding import CodingError, Inflater, is_identity
from gatewayd.wire.sse_decoder import Decoder

_HIGH = 256 * 1024
_LOW = 64 * 1024
_ERROR_BODY = 64 * 1024
_OURS = frozenset({b"accept-encoding", b"connection", b"cookie", b"transfer-encoding", b"content-length", b"host"})
_NOT_BACK = frozenset({b"set-cookie", b"content-encoding"})  # the body is decoded here, within bounds
_NOT_WITH_ERRORS = _NOT_BACK | {b"content-length", b"transfer-encoding"}  # the body may be cut


class Pools:
    """The connections of one deployment, by origin: its provider's host, and where its tokens come from.

    `tls` replaces the system's trust.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}

    def of(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, tls=self._tls)
        return pool

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


@dataclass(slots=True)
class Exchange:
    """One call's traffic. While `current` holds it, requests made through litellm belong to it."""

    pools: Pools
    timeouts: Timeouts
    end_mark: re.Pattern[bytes] | None = None
    """What a body must have in it to be whole, where nothing else checks that; at most 64 bytes."""
    status: int = 0
    """Of the last answer; 0 while none has come."""
    fields: Fields = field(default_factory=dict)
    error_body: bytes = b""
    """Of the last answer, if it was an error (4xx, 5xx)."""
    failure: GatewayError | None = None
    """What kept the last request from being answered, or its answer from being complete."""
    last: bytes = b""
    """The last piece of a stream, or the first 64 KiB of a whole answer."""
    marked: bool = False
    """Whether `end_mark` has come."""
    closed: bool = False
    waited: float = 0.0
    """Seconds spent waiting for bytes."""
    on_sign: Callable[[], None] | None = None
    """Called for every sign of life of a stream: an event or a comment."""
    _asking: set[asyncio.Task[Any]] = field(default_factory=set)
    _open: list[_Incoming] = field(default_factory=list)

    async def ask(self, pool: Pool, incoming: _Incoming, head: bytes, body: bytes) -> None:
        """Sends a request; returns when its answer's head is there. Raises GatewayError; cancelled by `close`."""
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        since = time.monotonic()
        try:
            await pool.exchange(incoming, head, body, self.timeouts)
        finally:
            self.waited += time.monotonic() - since
            self._asking.discard(task)
        self._open.append(incoming)

    def close(self) -> None:
        """Closes every connection that is still busy with this call, and lets it make no new one."""
        self.closed = True
        for task in self._asking:
            task.cancel()
        for incoming in self._open:
            incoming.close()
        self._open.clear()


current: ContextVar[Exchange] = ContextVar("gatewayd.exchange")


class LitellmTransport(httpx.AsyncBaseTransport):
    """Holds nothing; the connections are the exchange's."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = current.get(None)
        if exchange is None or exchange.closed:
            raise httpx.UnsupportedProtocol("litellm makes requests inside a call only")
        origin = _origin(request.url)
        # With GET litellm fetches images whose address the caller gave: what comes of that is not the upstream's doing,
        # and callers must not decide to which hosts connections are kept.
        is_fetch = request.method != "POST"
        if is_fetch and leads_inside(request.url.host):
            raise httpx.UnsupportedProtocol("not a public address")
        facts = Exchange(exchange.pools, exchange.timeouts) if is_fetch else exchange
        pool = Pool(origin, max_idle=0) if is_fetch else exchange.pools.of(origin)
        incoming = _Incoming(asyncio.get_running_loop().create_future(), facts)
        try:
            content = await request.aread()
            await exchange.ask(pool, incoming, _head(request, len(content)), content)
            if 300 <= incoming.status < 400:
                incoming.close()
                raise UpstreamRedirect("The upstream answered with a redirect.")
            facts.status, facts.fields, facts.error_body = incoming.status, incoming.fields, b""
            facts.failure, facts.last = None, b""
            if incoming.status >= 400:
                facts.error_body = await incoming.text(_ERROR_BODY)
        except GatewayError as error:
            facts.failure = error
            raise httpx.ReadError(error.message) from None  # of another class, litellm would send it once more
        without = _NOT_BACK if incoming.status < 400 else _NOT_WITH_ERRORS
        headers = [(name, value) for name, value in incoming.fields.items() if name not in without]
        body = _Body(incoming) if incoming.status < 400 else httpx.ByteStream(facts.error_body)
        return httpx.Response(incoming.status, headers=headers, stream=body)


class _Incoming(Answer):
    """An answer that is read as it comes: `ready` with its head, then by chunks; too far ahead, the upstream waits."""

    __slots__ = ("_chunks", "_decoder", "_error", "_exchange", "_finished", "_held", "_news", "alive")

    def __init__(self, ready: asyncio.Future[None], exchange: Exchange) -> None:
        super().__init__(ready)
        self._exchange = exchange
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._finished = False
        self._error: GatewayError | None = None
        self._decoder: Decoder | None = None
        self.alive = True

    # --- called by the connection

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        if fields.get(b"content-type", b"").startswith(b"text/event-stream") and b"content-encoding" not in fields:
            self._decoder = Decoder()
        super().begin(connection, status, fields)
        if not self.ready.done():
            self.ready.set_result(None)

    def push(self, data: bytes) -> None:
        if self._decoder is not None:
            signs = self._decoder.signs
            self._decoder.feed(data)
            self.alive = self._decoder.signs != signs
            if self.alive and self._exchange.on_sign is not None:
                self._exchange.on_sign()
        self._chunks.append(data)
        self._held += len(data)
        if self._held > _HIGH and self._connection is not None:
            self._connection.pause()
        self._news.set()

    def finish(self, delimited: bool) -> None:
        self._finished = True
        self._news.set()

    def fail(self, error: GatewayError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        self._error = error
        self._news.set()

    # --- called by the reader

    async def read(self) -> bytes | None:
        """The next chunk; None at the end. Raises GatewayError."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._finished:
                return None
            self._news.clear()
            since = time.monotonic()
            await self._news.wait()
            self._exchange.waited += time.monotonic() - since
        data = self._chunks.popleft()
        self._held -= len(data)
        if self._held < _LOW and self._connection is not None and not self._finished:
            self._connection.resume()
        return data

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, decoded. Raises httpx.ReadError; what happened is in the exchange."""
        exchange, tail, size, looked = self._exchange, b"", 0, STEP
        endless = b"json" not in self.fields.get(b"content-type", b"")
        coding = self.fields.get(b"content-encoding")
        try:
            inflater = None if coding is None or is_identity(coding) else Inflater(coding, MAX_INFLATED)
            while (data := await self.read()) is not None:
                if inflater is not None:
                    data = inflater.feed(data)
                size += len(data)
                if size > looked and not endless:
                    looked = size + STEP
                    if (error := answer_too_large(size, MAX_BODY)) is not None:
                        raise error
                if exchange.end_mark is not None and not exchange.marked:
                    seen = tail + data
                    exchange.marked = exchange.end_mark.search(seen) is not None
                    tail = seen[-64:]
                if endless:
                    exchange.last = data
                elif len(exchange.last) < _ERROR_BODY:
                    exchange.last += data[:_ERROR_BODY]
                yield data
            if inflater is not None and not inflater.complete:
                raise CodingError("truncated content coding")
        except CodingError as error:
            exchange.failure = UpstreamBadResponse(f"The upstream's answer cannot be read: {error}.")
            raise httpx.ReadError(exchange.failure.message) from None
        except GatewayError as error:
            exchange.failure = error
            raise httpx.ReadError(error.message) from None

    async def text(self, limit: int) -> bytes:
        """The body's first bytes, at most `limit`."""
        body = b""
        while len(body) < limit and (data := await self.read()) is not None:
            body += data
        self.close()
        return body[:limit]

    def close(self) -> None:
        if not self._finished and self._error is None:
            self._error = UpstreamBadResponse("The answer was closed before its end.")
            self._news.set()
            if self._connection is not None:
                self._connection.drop(self)


class _Body(httpx.AsyncByteStream):
    def __init__(self, incoming: _Incoming) -> None:
        self._incoming = incoming

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._incoming.chunks()

    async def aclose(self) -> None:
        self._incoming.close()


def _origin(url: httpx.URL) -> Origin:
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise httpx.UnsupportedProtocol("only http and https are spoken")
    tls = url.scheme == "https"
    return Origin(url.raw_host.decode("ascii"), url.port or (443 if tls else 80), tls)


def _head(request: httpx.Request, size: int) -> bytes:
    fields = [(name, value) for name, value in request.headers.raw if name.lower() not in _OURS]
    fields.append((b"accept-encoding", b"identity"))
    fields.append((b"content-length", b"%d" % size))
    fields.insert(0, (b"host", request.headers["host"].encode("ascii")))
    line = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)
    lines = [line, *(b"%b: %b" % pair for pair in fields)]
    if any(char in text for text in lines for char in (b"\r", b"\n", b"\0")):
        raise httpx.LocalProtocolError("a header of the request holds a control character")
    return b"\r\n".join(lines) + b"\r\n\r\n"
