"""Who is calling. Authentication by key, and the guard of a gateway that needs no key.

Knows headers and settings, nothing of HTTP servers. A failure is final; no other key is tried. Without a configured key
every program on this machine may call (the validator allows that on loopback addresses only), except web pages: a page
of another site, or one whose name was rebound to 127.0.0.1, does not act for the user.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gatewayd.config.snapshot import ServerSettings
from gatewayd.errors import Forbidden, GatewayError, InvalidApiKey, InvalidRequest

_KEY_HEADERS = ("x-api-key", "api-key")
"""Anthropic's and Azure's header for a key, beside `Authorization: Bearer` (RFC 6750)."""
_BEARER = re.compile(r"bearer[ \t]+(.*)", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535
_PRIVATE_SUFFIXES = (".localhost", ".internal")
"""Names that cannot be registered (RFC 6761; ICANN reserved `.internal` in 2024), so no attacker's page has them."""


class RequestHeaders(Protocol):
    """A request's headers: names are case-insensitive, a name may stand several times."""

    def get(self, name: str, /) -> str | None: ...

    def getall(self, name: str, default: list[str], /) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as the access record names it."""

    name: str


ANONYMOUS = Principal("anonymous")
MASTER = Principal("master_key")


class PresentedCredential:
    """What a head presents, parsed once. It holds no decision: a `Keyring` looks at it for each request."""

    def __init__(self, headers: RequestHeaders) -> None:
        self.headers = headers
        self.key: bytes | None = None
        # Bytes, not str: compare_digest refuses str beyond ASCII, and header bytes that are no UTF-8 arrive as
        # surrogates.
        if len(headers.getall("authorization", [])) < 2 and (key := presented_key(headers)) is not None:
            self.key = key.encode("utf-8", "surrogateescape")

    @functools.cached_property
    def is_foreign(self) -> bool:
        """Whether a web page of another site sent it."""
        try:
            refuse_foreign_pages(self.headers)
        except Forbidden:
            return True
        return False


class Keyring:
    """The keys of one configuration."""

    __slots__ = ("_is_open", "_master")

    def __init__(self, server: ServerSettings) -> None:
        self._is_open = server.master_key is None
        self._master = b""
        if server.master_key is not None:
            self._master = server.master_key.reveal().encode("utf-8", "surrogateescape")

    def admit(self, credential: PresentedCredential) -> Principal:
        """Names the caller. Raises InvalidApiKey, InvalidRequest (two Authorization headers) or Forbidden (a web
        page)."""
        if self._is_open:
            if credential.is_foreign:
                refuse_foreign_pages(credential.headers)
            return ANONYMOUS
        if credential.key is not None and self._master and hmac.compare_digest(credential.key, self._master):
            return MASTER
        raise _refusal(credential.headers)


def _refusal(headers: RequestHeaders) -> GatewayError:
    """Why no key of a head is a good one. Raises InvalidRequest for two Authorization headers."""
    if presented_key(headers) is not None:
        return InvalidApiKey("The API key is not one this gateway knows.")
    if headers.get("authorization"):  # its value is not repeated: most likely it is the key
        return InvalidApiKey(
            "The Authorization header does not start with 'Bearer '. Send the key as 'Authorization: Bearer KEY'."
        )
    return InvalidApiKey("No API key was sent. Send it as 'Authorization: Bearer KEY'.")


def authenticate(headers: RequestHeaders, server: ServerSettings) -> Principal:
    """`Keyring.admit` for a listener that keeps no keyring."""
    return Keyring(server).admit(PresentedCredential(headers))


def presented_key(headers: RequestHeaders) -> str | None:
    """The key a request carries: `Authorization: Bearer` first, then `x-api-key`, then `api-key`; None without one."""
    authorization = headers.getall("authorization", [])
    if len(authorization) > 1:
        raise InvalidRequest("The request has two Authorization headers.")
    if authorization and (match := _BEARER.fullmatch(authorization[0].strip())) is not None:
        return match[1].strip()
    for name in _KEY_HEADERS:
        if (key := headers.get(name)) is not None:
            return key.strip()
    return None


def refuse_foreign_pages(headers: RequestHeaders) -> None:
    """Raises Forbidden for a request that a web page of another site made.

    SDKs and command lines send no Origin, and a Host that is an address, `localhost` or a private name; they pass.
    """
    host = headers.get("host")
    if host and not is_private_host(host):
        raise Forbidden(
            "The Host header names a public domain, and this gateway has no key. "
            "Use the address, localhost or a name without a dot, or configure a master key."
        )
    origin = headers.get("origin")
    if origin is not None and not is_own_origin(origin, host):
        raise Forbidden("Web pages of other sites may not use a gateway without a key.")


def is_valid_host(host: str) -> bool:
    """Whether a Host header is a host and perhaps a port (RFC 9110, 7.2), and nothing a URL could be bent with."""
    match = _HOST.fullmatch(host)
    return match is not None and int(match["port"] or 0) <= _MAX_PORT


def is_private_host(host: str) -> bool:
    """Whether a Host header cannot carry a DNS name that an attacker owns: an IP address or a private name."""
    name = _name_of(host)
    if name is None:
        return False
    return "." not in name or _is_private_name(name) or _address(name) is not None


def is_own_origin(origin: str, host: str | None) -> bool:
    """Whether an Origin is this gateway's own, a page of this machine, or an installed application's.

    Applications have schemes of their own (`vscode-webview://...`); `null` may be anybody's page.
    """
    scheme, separator, authority = origin.partition("://")  # RFC 6454, 6.1: nothing else is in it
    if not scheme or not separator:
        return False
    if scheme.lower() not in ("http", "https") or authority == host:
        return True
    name = _name_of(authority)
    if name is None:
        return False
    address = _address(name)
    if address is not None:
        return address.is_loopback
    return f".{name.lower()}".endswith(".localhost")


def _name_of(host: str) -> str | None:
    match = _HOST.fullmatch(host)
    return None if match is None else match["v6"] or match["name"]


def _is_private_name(name: str) -> bool:
    return f".{name.lower().rstrip('.')}".endswith(_PRIVATE_SUFFIXES)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
