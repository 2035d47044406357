"""One response while it arrives: what a connection calls, and the common case of a response that is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gatewayd.errors import UpstreamBadResponse, UpstreamError
from gatewayd.wire.headers import client_headers

if TYPE_CHECKING:
    from gatewayd.upstream.transport import Connection


class Fields(dict[bytes, bytes]):
    """Header fields, names in lower case. Of repeated ones the first is kept."""

    __slots__ = ("_memo",)

    def __init__(self, fields: Mapping[bytes, bytes] = MappingProxyType({})) -> None:
        super().__init__(fields)
        self._memo: list[str] = []

    def with_length(self, length: int) -> Fields:
        """The fields of a head that differs in nothing but its Content-Length."""
        fields = Fields.__new__(Fields)
        fields.update(self)
        fields[b"content-length"] = b"%d" % length
        fields._memo = self._memo  # which holds nothing of the length
        return fields

    def relayed(self) -> str:
        """What of them goes to the client, as lines of a head; made once for all answers with the same head."""
        memo = self._memo
        if not memo:
            memo.append("".join([f"{name}: {value}\r\n" for name, value in client_headers(self)]))
        return memo[0]


MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a body that is collected: twenty large images in base64 fit."""


class Answer:
    """One response, collected whole. `ready` is done when `body` is there, or failed with an UpstreamError.

    The four methods are called by the connection while bytes arrive; they must not raise. A subclass may take the
    pushed bytes elsewhere.
    """

    __slots__ = ("_connection", "_limit", "_parts", "_size", "body", "delimited", "fields", "ready", "status")

    def __init__(self, ready: asyncio.Future[None], limit: int = MAX_BODY) -> None:
        self.ready = ready
        self.status = 0
        self.fields = Fields()
        self.body: bytes | None = None
        self.delimited = True
        """Whether the end of the body was marked (RFC 9112, 6.3). False: it ended with the connection, and nothing
        but its content can tell whether it is whole."""
        self._connection: Connection | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        self._connection = connection
        self.status = status
        self.fields = fields
        connection.answering()

    def push(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            if self._connection is not None:
                self._connection.abort()
            self.fail(UpstreamBadResponse("The upstream's answer is larger than the gateway takes."))
        else:
            self._parts.append(data)

    def finish(self, delimited: bool) -> None:
        parts = self._parts
        self.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self.delimited = delimited
        if not self.ready.done():
            self.ready.set_result(None)

    def fail(self, error: UpstreamError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
