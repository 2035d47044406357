"""A request as aiohttp parsed it, made safe: what its head may say, and its body within limits of size and time.

aiohttp's parser accepts some messages that a proxy in front may read in another way (a second transfer coding, a
version it does not speak); here they are refused, and the connection is closed.
"""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.http_parser import RawRequestMessage

from gatewayd.access.keys import is_valid_host
from gatewayd.engine.client import ClientGone, too_large
from gatewayd.engine.head import ClientHeaders
from gatewayd.errors import GatewayError, InvalidRequest, RequestTimeout, UnsupportedMediaType, UpgradeRefused
from gatewayd.web.bodies import Bodies
from gatewayd.web.connection import Connection
from gatewayd.wire.multipart import is_form

BODY_RATE = 1024
"""Bytes per second that a body must reach on average over the last `Deadlines.body` seconds."""
_SCHEMES = frozenset({"http", "https"})


class ClientBody:
    """A request's body that is still arriving (`engine.client.IncomingBody`)."""

    __slots__ = ("_bodies", "_connection", "_due", "_expects", "_given", "_payload", "held", "length")

    def __init__(
        self, message: RawRequestMessage, payload: StreamReader, connection: Connection, bodies: Bodies
    ) -> None:
        """Whoever makes it takes `held` from `bodies.held` when the request is over."""
        self._bodies = bodies
        self.held = 0
        self._connection = connection
        self._payload = payload
        length = message.headers.get("content-length")
        self.length = None if length is None else int(length)  # digits only: the parser saw to it
        self._due = self._given = 0.0
        self._expects = "expect" in message.headers and message.version != HttpVersion10

    @property
    def begun(self) -> bool:
        return self._given > 0.0

    async def read(self, limit: int) -> bytes:
        if (self.length or 0) > limit:
            raise too_large(limit)
        pieces: list[bytes] = []
        while piece := await self.next():
            if self.held + len(piece) > limit:
                raise too_large(limit)
            self._bodies.admit(len(piece))
            self.held += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    async def next(self) -> bytes:
        """What has come of it, at least one byte; b"" at the end. Until it is asked for, little more is read."""
        payload = self._payload
        loop = asyncio.get_running_loop()
        seconds = self._connection.server.deadlines.body
        if not self._due:
            self._connection.body = payload
            self._welcome()
            self._due = loop.time() + seconds
        elif self._given:  # the time that the piece before took to go on is not the client's
            self._due += loop.time() - self._given
        while not payload.at_eof():
            try:
                async with asyncio.timeout_at(self._due):
                    piece = await payload.readany()
            except TimeoutError:
                raise RequestTimeout("The request body did not arrive in time.") from None
            except web.RequestPayloadError:
                raise InvalidRequest(
                    "The framing of the request body is invalid, or its chunks have more framing than body."
                ) from None
            except ConnectionError:
                raise ClientGone from None
            # Each byte buys time, of which none can be saved up: a client that has sent much must go on sending.
            self._due = min(self._due + len(piece) / BODY_RATE, loop.time() + seconds)
            if piece:
                self._given = loop.time()
                return piece
        return b""

    def _welcome(self) -> None:
        """Answers `Expect: 100-continue` (RFC 9110, 10.1.1), only now: a refused request need not send its body."""
        if self._expects and not self._connection.gone:
            assert self._connection.transport is not None
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def whole_body(payload: StreamReader, connection: Connection) -> bytes:
    """A body whose last byte has arrived, as small bodies do with their heads."""
    # `read_nowait` tells the protocol to go on reading, though it has not stopped: a twentieth of a whole request.
    if connection.reading_paused or type(payload) is not StreamReader:
        return payload.read_nowait()
    pieces = payload._buffer
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    pieces.clear()
    payload._size = 0
    return body


def target_of(message: RawRequestMessage) -> tuple[str, str]:
    """Path and query."""
    path = message.path
    if not path.startswith("/"):  # absolute-form: its authority says nothing about what we serve (B-04)
        path = message.url.raw_path_qs
    path, _, query = path.partition("?")
    return path, query


def complaint(message: RawRequestMessage) -> GatewayError | None:
    """Why a request's head is refused, or None."""
    headers = message.headers
    if message.version not in (HttpVersion11, HttpVersion10):
        return InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are supported.")
    coding = headers.get("transfer-encoding")
    if coding is not None and (coding.strip().lower() != "chunked" or message.version == HttpVersion10):
        return InvalidRequest("The only accepted transfer coding is chunked, in HTTP/1.1.")
    hosts = headers.getall("host", [])
    if len(hosts) > 1 or (hosts and not is_valid_host(hosts[0])):
        return InvalidRequest("The request must have one valid Host header.")
    if message.method == "CONNECT":
        return InvalidRequest("This is not a proxy: CONNECT is not supported.")
    if not message.path.startswith(("/", "*")) and not _is_own_target(message):
        return InvalidRequest("The request target must be a path, or an http URL without user and password.")
    if len(headers.getall("authorization", [])) > 1:
        return InvalidRequest("The request has two Authorization headers.")
    if message.version == HttpVersion10:  # upgrades and expectations do not exist there (RFC 9110, 7.8 and 10.1.1)
        return None
    if message.upgrade and "websocket" in headers.get("upgrade", "").lower():
        return UpgradeRefused("There is no WebSocket endpoint here. Send the request as a POST over HTTP.")
    expect = headers.get("expect")
    if expect is not None and expect.strip().lower() != "100-continue":
        error = InvalidRequest("The only supported expectation is 100-continue.")
        error.status = 417  # RFC 9110, 15.5.18
        return error
    return None


def _is_own_target(message: RawRequestMessage) -> bool:
    """Whether a request target in absolute form (RFC 9112, 3.2.2) is one that a server may take for itself."""
    url = message.url
    return url.scheme in _SCHEMES and bool(url.raw_host) and "@" not in message.path.split("/", 3)[2]


def content_problem(headers: ClientHeaders, *, forms: bool = False) -> GatewayError | None:
    """Why a request's body cannot be read, by its head; or None. `forms`: it may be a form instead of JSON."""
    coding = headers.get("content-encoding")
    if coding is not None and coding.strip().lower() not in ("", "identity"):
        # Never unpacked: half a megabyte of gzip can be half a gigabyte of zeros.
        return UnsupportedMediaType("Compressed request bodies are not accepted; send the body as it is.")
    kind = headers.get("content-type")
    if kind is None or _is_json(kind) or (forms and is_form(kind)):
        return None
    if forms:
        return UnsupportedMediaType(
            "The request body must be a form or JSON: send 'Content-Type: multipart/form-data'."
        )
    return UnsupportedMediaType("The request body must be JSON: send 'Content-Type: application/json'.")


def _is_json(content_type: str) -> bool:
    if content_type == "application/json":
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("", "application/json") or kind.endswith("+json")
