"""Fetches what a caller's address names (an image, a file), for providers whose API takes no addresses.

The address is the caller's and the request is made from where the gateway is, so it goes to public addresses only.
The host name is resolved once, every address found is checked, and the connection is made to one of those: a name
that resolves differently a moment later changes nothing. Redirects are checked in the same way. The body is bounded
while it arrives.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin

from gatewayd._version import __version__
from gatewayd.errors import ConfigurationError, UpstreamError
from gatewayd.upstream.answer import Answer
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.dial import Dialler, Origin
from gatewayd.upstream.inside import leads_inside
from gatewayd.upstream.pool import Pool
from gatewayd.wire.coding import is_identity

MAX_FETCH_BYTES: Final = 20 * 1024 * 1024
"""Of all media that are fetched for one call."""
_MAX_REDIRECTS: Final = 5
_CONNECT: Final = 10.0
_AZURE: Final = "168.63.129.16"
"""Inside every virtual machine of Azure this public address is the host's."""


class FetchError(Exception):
    """The message says why, and nothing about what answered: callers must not learn what is inside."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return found.is_global and not found.is_multicast and address != _AZURE and not leads_inside(address)


class Fetcher:
    """One for the process. `http` follows the live configuration."""

    def __init__(
        self, *, http: bool = False, is_allowed: Callable[[str], bool] = is_public, tls: ssl.SSLContext | None = None
    ) -> None:
        """`is_allowed` decides over IP addresses; `tls` replaces the system's trust."""
        self.http = http
        """Whether plain http is fetched too."""
        self._is_allowed = is_allowed
        self._tls = tls

    async def get(self, url: str, timeouts: Timeouts, limit: int = MAX_FETCH_BYTES) -> tuple[bytes, str]:
        """The body, and its content type without parameters. Raises FetchError."""
        try:
            async with asyncio.timeout(timeouts.total):
                for _ in range(_MAX_REDIRECTS + 1):
                    answer = await self._ask(url, timeouts, limit)
                    if answer.status not in (301, 302, 303, 307, 308) or b"location" not in answer.fields:
                        return _body(answer)
                    url = urljoin(url, answer.fields[b"location"].decode("latin-1"))
        except (UpstreamError, TimeoutError, OSError, UnicodeError, ValueError):
            raise FetchError("it could not be read") from None
        raise FetchError("it is redirected too often")

    async def _ask(self, url: str, timeouts: Timeouts, limit: int) -> Answer:
        origin, head = self._request(url)
        dialler = _Checked(origin, self._tls, self._is_allowed)
        pool = Pool(origin, max_idle=0, dialler=dialler)
        answer = Answer(asyncio.get_running_loop().create_future(), limit)
        connect = min(timeouts.connect, _CONNECT)
        await pool.exchange(answer, head, b"", Timeouts(connect, timeouts.total, timeouts.idle, timeouts.total))
        return answer

    def _request(self, url: str) -> tuple[Origin, bytes]:
        try:
            origin, parts = Origin.of(url)
        except ConfigurationError:
            raise FetchError("it is not an https address") from None
        if not origin.tls and not self.http:
            raise FetchError(
                "gatewayd does not fetch plain http (`gatewayd: {fetch: {http: true}}` in the configuration allows it)"
            )
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        lines = [f"GET {path} HTTP/1.1", f"host: {origin.authority}", f"user-agent: gatewayd/{__version__}"]
        text = "\r\n".join([*lines, "accept: */*", "accept-encoding: identity", "connection: close", "", ""])
        if any(not "!" <= char <= "~" for char in path):
            raise FetchError("it holds characters that are not percent-encoded")
        return origin, text.encode("ascii")


class _Checked(Dialler):
    """Connects to addresses that have been checked, and to no others."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, is_allowed: Callable[[str], bool]) -> None:
        super().__init__(origin, tls)
        self._is_allowed = is_allowed

    async def _look_up(self) -> list[tuple[Any, ...]]:
        found = await super()._look_up()
        if not all(self._is_allowed(entry[4][0]) for entry in found):
            raise OSError("not a public address")
        return found


def _body(answer: Answer) -> tuple[bytes, str]:
    if answer.status != 200 or not is_identity(answer.fields.get(b"content-encoding", b"identity")):
        raise FetchError("it could not be read")
    kind = answer.fields.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return answer.body or b"", kind
