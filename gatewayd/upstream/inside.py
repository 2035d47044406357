"""Addresses that look public and lead inside: IPv6 has ways to write an IPv4 address that `ipaddress`, and so litellm's
guard over addresses that callers give, takes for public ones."""

from __future__ import annotations

import ipaddress
from typing import Final

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL: Final = ipaddress.ip_network("64:ff9b:1::/48")  # RFC 8215


def leads_inside(host: str) -> bool:
    """Whether a host is such an address. A name is none: who looks it up has to decide."""
    try:
        address = ipaddress.IPv6Address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    behind = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        behind.append(ipaddress.IPv4Address(address.packed[-4:]))
    return (
        address.is_site_local or address in _NAT64_LOCAL or not all(each is None or each.is_global for each in behind)
    )
