"""Requests to paths that gatewayd knows nothing about: sent as they are with a deployment's key, answered as they come.

Nothing is retried and no deployment is blamed: what such a request does is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from gatewayd.errors import UnknownRoute
from gatewayd.upstream.answer import lines
from gatewayd.upstream.base import Reply, Timeouts, WholeReply
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.opaque import OpaqueAnswer
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.refusal import refused
from gatewayd.upstream.transport import Connection, Fields
from gatewayd.wire.headers import HOP, Header

METHODS: Final = {"GET": "GET", "HEAD": "GET", "POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE"}
"""Methods that pass → how they are sent. What answers HEAD has no body whose end could be seen."""
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class PassedRequest:
    """A client's request, with what of it goes upstream."""

    method: str
    path: str
    """Below the base URL, with a leading slash; percent-encoded, as it came."""
    query: str
    headers: Sequence[Header]
    """Lower-case names, already filtered."""
    body: bytes


class PassedAnswer(OpaqueAnswer):
    """Begins with its head, so it may be empty. Errors are collected: they may hold the deployment's key."""

    __slots__ = ()

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        super().begin(connection, status, fields)
        if self.live and not self.ready.done():
            connection.answering()
            self.ready.set_result(None)

    def _is_stream(self, status: int, fields: Fields) -> bool:
        return 200 <= status < 300


class PassingUpstream:
    """One base URL, with the header lines that go to it."""

    def __init__(self, pool: Pool, path: str, query: str, fields: Sequence[tuple[str, str]], secrets: Secrets) -> None:
        self._pool = pool
        self._path = path
        self._query = query
        self._fields = [pair for pair in fields if pair[0] not in ("accept", "content-type")]
        self._own = frozenset(name for name, _ in self._fields if name != HOP)
        self._secrets = secrets

    def below(self, path: str) -> str:
        """A path of the provider's server as one below the base URL: `/v1/files` and `/files` are the same."""
        for base in (self._path, self._path[self._path.rfind("/") :]):
            if base and path.startswith(f"{base}/"):
                return path.removeprefix(base)
        return path

    async def send(self, request: PassedRequest, timeouts: Timeouts) -> Reply:
        """Raises UpstreamError, and UnknownRoute for a path that leads out of the base URL."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer = PassedAnswer(ready, self._secrets)
        await self._pool.exchange(answer, self._head(request), request.body, timeouts)
        if answer.live:
            return answer
        body = answer.body or b""
        if answer.status < 400 or answer.status in (401, 403) or self._secrets.found_in(body):
            raise refused(answer.status, answer.fields, body, self._secrets)
        return WholeReply(answer.status, self._secrets.relayed(answer.fields), body)

    def _head(self, request: PassedRequest) -> bytes:
        if not stays_below(request.path):
            raise UnknownRoute("The path of the request has segments that lead elsewhere, or invalid characters.")
        query = "&".join(filter(None, (self._query, quote(request.query, safe=_VISIBLE))))
        target = f"{self._path}{request.path}" + (f"?{query}" if query else "")
        theirs = [pair for pair in request.headers if pair[0] not in self._own]
        framing = [("content-length", str(len(request.body)))] if request.body or request.method != "GET" else []
        text = lines([*self._fields, *theirs, *framing])
        return f"{request.method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def stays_below(path: str) -> bool:
    """Whether a path stays below whatever it is appended to, however a server decodes it."""
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        return False
    decoded = unquote(path, errors="replace")
    if "\\" in decoded or "?" in decoded or "#" in decoded or not decoded.isprintable():
        return False
    return not any(segment.split(";")[0] in (".", "..") for segment in decoded.split("/"))
