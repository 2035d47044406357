"""From an origin to a connected socket, TLS done: names, addresses, handshakes, and which error is whose.

Addresses are tried one after the other, each with its share of the time that is left (RFC 8305's happy eyeballs would
race them). Connections are kept and reused, so a dial is rare; a host whose first address is dead costs a share of the
connect timeout once, and a race would double the connections that a burst opens. Names are asked of the system
(`getaddrinfo` in a thread) at every dial and kept nowhere, so a changed address is seen at once; dials that happen
together share one question, so that a slow name server occupies one thread and not all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from gatewayd.config.snapshot import Deployment, Trust
from gatewayd.errors import ConfigurationError, UpstreamConnection, UpstreamError, UpstreamTimeout, UpstreamTls
from gatewayd.tasks import spawn
from gatewayd.upstream.transport import Connection

_SYSTEM = Trust()
_AddressInfo = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454) of an http or https URL."""

    host: str
    """As the resolver and the certificate want it: no brackets, IDNA-encoded."""
    port: int
    tls: bool

    @classmethod
    def of(cls, url: str) -> tuple[Self, SplitResult]:
        """The origin of a URL, and the URL taken apart. Raises ConfigurationError for anything but http(s)://host."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            if not _is_ip(host):
                host = host.encode("idna").decode("ascii")
        except (ValueError, UnicodeError):
            raise ConfigurationError("the upstream's base URL is malformed", config_key="api_base") from None
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise ConfigurationError(
                "the upstream's base URL must be http:// or https:// and a host, without user and password",
                config_key="api_base",
            )
        tls = parts.scheme == "https"
        return cls(host, port or (443 if tls else 80), tls), parts

    @property
    def authority(self) -> str:
        """The `Host` header (RFC 9110, 7.2): the default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@functools.lru_cache(maxsize=64)
def tls_context(trust: Trust = _SYSTEM) -> ssl.SSLContext:
    """TLS 1.2 or later, HTTP/1.1, and by default the system's trust. Made once: it takes 20 ms.

    Raises ConfigurationError if the file of authorities cannot be loaded.
    """
    try:
        context = ssl.create_default_context(cafile=trust.ca_file or None)
    except OSError:  # ssl.SSLError is one
        raise ConfigurationError("the file of ssl_verify cannot be loaded", config_key="ssl_verify") from None
    if not trust.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def configured_tls(deployment: Deployment) -> ssl.SSLContext | None:
    """The context of a deployment that has its own `ssl_verify`; None stands for the system's trust, made when it is
    needed. Raises ConfigurationError."""
    return None if deployment.trust == _SYSTEM else tls_context(deployment.trust)


class Dialler:
    """Makes connections to one origin."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._tls = (tls or tls_context()) if origin.tls else None
        self._asking: asyncio.Task[list[_AddressInfo] | UpstreamConnection] | None = None

    async def dial(self, make: Callable[[], Connection], seconds: float) -> Connection:
        """Raises UpstreamConnection, UpstreamTls, or UpstreamTimeout after `seconds`. Cancelling leaves no socket."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._resolve()
            sock = await self._connect(addresses, deadline)
        except TimeoutError:
            raise UpstreamTimeout("No connection to the upstream in time.", kind="connect") from None
        try:
            async with asyncio.timeout_at(deadline):
                name = self._origin.host if self._tls else None
                _, connection = await loop.create_connection(make, sock=sock, ssl=self._tls, server_hostname=name)
        except TimeoutError:
            _hang_up(sock)
            raise UpstreamTls("The TLS handshake with the upstream took too long.") from None
        except OSError as error:  # ssl.SSLError is one
            _hang_up(sock)
            raise _translated(error, handshake=self._tls is not None) from None
        except BaseException:
            _hang_up(sock)
            raise
        return connection

    async def _connect(self, addresses: list[_AddressInfo], deadline: float) -> socket.socket:
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now = loop.time()
            sock = None
            try:
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                async with asyncio.timeout_at(now + (deadline - now) / left):
                    await loop.sock_connect(sock, address)
                return sock
            except OSError as error:  # TimeoutError is one
                failure = error
            except BaseException:
                if sock is not None:
                    sock.close()
                raise
            if sock is not None:
                sock.close()
        if failure is None or isinstance(failure, TimeoutError):
            raise TimeoutError
        raise _translated(failure, handshake=False)

    async def _resolve(self) -> list[_AddressInfo]:
        task = self._asking
        if task is None:
            task = self._asking = spawn(self._ask(), name=f"resolve {self._origin.host}")
        answer = await asyncio.shield(task)
        if isinstance(answer, UpstreamConnection):
            raise answer
        return answer

    async def _ask(self) -> list[_AddressInfo] | UpstreamConnection:
        try:
            return await self._look_up()
        except (OSError, UnicodeError):
            return UpstreamConnection("The upstream's host name cannot be resolved.")
        finally:
            self._asking = None

    async def _look_up(self) -> list[_AddressInfo]:
        loop = asyncio.get_running_loop()
        return list(await loop.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM))


def _hang_up(sock: socket.socket) -> None:
    # The socket belongs to a transport by now. Closing it behind the transport's back would let the next socket have
    # its number while the loop still watches it; and asyncio forgets to close a transport that is cancelled before its
    # handshake begins. Shut down, it ends by itself at the loop's next turn.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _translated(error: OSError, *, handshake: bool) -> UpstreamError:
    """Names the cause without host names, certificate text or anything else the other side wrote."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reasons = {
            10: "it has expired",
            18: "it is self-signed",
            62: "it is for another host",
            64: "it is for another host",
        }
        reason = reasons.get(error.verify_code, "it is not signed by an authority that this machine trusts")
        return UpstreamTls(f"The upstream's certificate is not valid: {reason}.")
    if isinstance(error, ssl.SSLError) or handshake:
        reason = getattr(error, "reason", None) or "connection closed"
        return UpstreamTls(f"The TLS handshake with the upstream failed: {reason.replace('_', ' ').lower()}.")
    return unreachable(error)


def unreachable(error: OSError) -> UpstreamConnection:
    """No connection, and why: `No connection to the upstream: Connection refused.`"""
    cause = os.strerror(error.errno) if error.errno else "closed"
    refused = error.errno == errno.ECONNREFUSED
    return UpstreamConnection(f"No connection to the upstream: {cause}.", refused=refused)
