"""One response while it arrives: what a connection calls, and the common case of a response that is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gatewayd.errors import GatewayError, ServerBusy, UpstreamBadResponse
from gatewayd.observe.memory import own_memory
from gatewayd.upstream.hiding import Secrets
from gatewayd.wire.headers import Header

if TYPE_CHECKING:
    from gatewayd.upstream.transport import Connection


Fields = dict[bytes, bytes]
"""Header fields, names in lower case. Of repeated ones the first is kept."""


class KnownHead:
    """A head that answers had before, but for their Content-Length."""

    __slots__ = ("_relayed", "fields", "status")

    MOST: Final = 16
    """Deployments at one address that usually share a head."""

    def __init__(self, status: int, fields: Fields) -> None:
        self.status = status
        self.fields = {name: value for name, value in fields.items() if name != b"content-length"}
        self._relayed: dict[Secrets, str] = {}

    def relayed(self, secrets: Secrets) -> str:
        """What of the fields goes to the client, as lines of a head, without a deployment's secrets."""
        relayed = self._relayed.get(secrets)
        if relayed is None:
            if len(self._relayed) >= self.MOST:
                self._relayed.clear()
            relayed = self._relayed[secrets] = lines(secrets.relayed(self.fields))
        return relayed


def lines(headers: Iterable[Header]) -> str:
    """Header fields as a head has them."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a body that is collected: twenty large images in base64 fit."""

STEP: Final = 256 * 1024
"""Bytes of a body after which the memory is looked at again."""


class Answer:
    """One response, collected whole. `ready` is done when `body` is there, or failed with a GatewayError.

    The methods are called by the connection while bytes arrive; they must not raise. A subclass may take the
    pushed bytes elsewhere.
    """

    __slots__ = (
        "_connection", "_limit", "_look", "_parts", "_size", "body", "delimited", "fields", "known", "ready", "status",
    )  # fmt: skip

    alive: bool = True
    """Whether the bytes last pushed put off the timeouts. Any do, unless a subclass knows better."""

    def __init__(self, ready: asyncio.Future[None], limit: int = MAX_BODY) -> None:
        self.ready = ready
        self.status = 0
        self.fields: Fields = {}
        self.known: KnownHead | None = None
        """The head, if it is one that came before."""
        self.body: bytes | None = None
        self.delimited = True
        """Whether the end of the body was marked (RFC 9112, 6.3). False: it ended with the connection, and nothing
        but its content can tell whether it is whole."""
        self._connection: Connection | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._look = min(limit, STEP)

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        self._connection = connection
        self.status = status
        self.fields = fields
        connection.answering()

    def take(self, connection: Connection, known: KnownHead, body: bytes) -> None:
        """`begin` and `push` in one, for a whole answer whose head came before."""
        self.known = known
        self.begin(connection, known.status, {**known.fields, b"content-length": b"%d" % len(body)})
        self.push(body)

    def push(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._look:
            self._look = min(self._limit, self._size + STEP)
            if (error := answer_too_large(self._size, self._limit)) is not None:
                if self._connection is not None:
                    self._connection.abort()
                self.fail(error)
                return
        self._parts.append(data)

    def finish(self, delimited: bool) -> None:
        self._collect(delimited)
        if not self.ready.done():
            self.ready.set_result(None)

    def fail(self, error: GatewayError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)

    def _collect(self, delimited: bool) -> None:
        parts = self._parts
        if len(parts) == 1:
            self.body = parts[0]
        else:
            self.body = b"".join(parts)
            self._parts = []
        self.delimited = delimited


def answer_too_large(size: int, limit: int) -> GatewayError | None:
    """What a request ends with that has got so many bytes of an answer, which is more than the limit or than there is
    memory for; None if it is not."""
    if size > limit:
        return UpstreamBadResponse("The upstream's answer is larger than the gateway's limit.")
    if own_memory().has_room(2 * size):  # it is held twice for a moment
        return None
    return ServerBusy("The gateway's memory is nearly used up: there is no room for this answer.", retry_after=1.0)


class Rest(Answer):
    """Takes what follows the logical end of an answer. Anything but line ends means the connection is not reused."""

    __slots__ = ("_alone",)

    def __init__(self, connection: Connection) -> None:
        self._alone = connection  # what else an answer has is not needed

    def push(self, data: bytes) -> None:
        if data.strip(b"\r\n"):
            self._alone.abort()

    def finish(self, delimited: bool) -> None:
        return None

    def fail(self, error: GatewayError) -> None:
        return None
