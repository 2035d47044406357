"""Whether an upstream is gatewayd itself, so that a request would loop."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from gatewayd.config.snapshot import Address

_LOOPBACK = "loopback"
_ANY = "any"
_PORTS = {"http": 80, "https": 443}


class Listeners:
    """gatewayd's own TCP listeners, to recognize a base URL that leads to one of them."""

    def __init__(self, addresses: Iterable[Address] = ()) -> None:
        self._by_port: dict[int, list[Address]] = {}
        for address in addresses:
            if address.port:
                self._by_port.setdefault(address.port, []).append(address)

    def reached_by(self, url: str) -> Address | None:
        """The listener behind a well-formed http(s) address, if it is recognizable without resolving names."""
        parts = urlsplit(url)
        own = self._by_port.get(parts.port or _PORTS.get(parts.scheme, 0))
        if not own:
            return None
        host = (parts.hostname or "").rstrip(".")
        place = _place(host)
        return next((address for address in own if _leads(host, place, address)), None)


def _leads(host: str, place: str, address: Address) -> bool:
    listens = _place(address.host)
    if host == address.host or (listens == place == _LOOPBACK):
        return True
    if place == _ANY:  # a connection to 0.0.0.0 reaches this machine, through loopback
        return listens in (_LOOPBACK, _ANY)
    return listens == _ANY and (place == _LOOPBACK or _is_of_this_machine(host))


def _place(host: str) -> str:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, 6.3
        return _LOOPBACK
    number = _number(host)
    if number is None:
        return ""
    mapped = getattr(number, "ipv4_mapped", None) or number
    return _LOOPBACK if mapped.is_loopback else _ANY if mapped.is_unspecified else ""


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as an IP address; the system accepts `127.1`, `2130706433` and `0x7f.1` as addresses too."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _is_of_this_machine(host: str) -> bool:
    """Whether the host is one of this machine's addresses or its name, without sending anything or resolving names."""
    number = _number(host)
    if number is None:
        return host == socket.gethostname().lower()
    family = socket.AF_INET if number.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(number), 0))
    except OSError:
        return False
    return True
