"""Addresses to listen on, as people write them: `127.0.0.1:4000`, `[::1]:4000`, `unix:/run/gatewayd/api.sock`."""

from __future__ import annotations

import re

from gatewayd.config.snapshot import Address

_LONGEST_SOCKET_PATH = 107
"""Bytes in `sockaddr_un.sun_path` on Linux, without the final zero (unix(7))."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")


def parse_address(value: object) -> Address:
    """Raises ValueError with a sentence for the user. A relative socket path stays relative."""
    if not isinstance(value, str):
        raise ValueError("an address is text like 127.0.0.1:4000 or unix:/run/gatewayd/api.sock")
    text = value.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path or "\0" in path:
            raise ValueError("a path must follow unix:")
        if len(path.encode("utf-8", "surrogatepass")) > _LONGEST_SOCKET_PATH:
            raise ValueError(f"the path of a unix socket may have at most {_LONGEST_SOCKET_PATH} bytes")
        return Address(path=path)
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdecimal():
        raise ValueError("a port is missing: write host:port, such as 127.0.0.1:4000")
    if len(port_text) > 5 or int(port_text) > 65_535:
        raise ValueError("a port is a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _IPV6.fullmatch(host):
            raise ValueError("the text in brackets must be an IPv6 address, such as [::1]:4000")
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets, such as [::1]:4000")
    elif host == "*":
        host = "0.0.0.0"
    elif not host:
        raise ValueError("a host is missing: write 127.0.0.1 for this machine only, 0.0.0.0 for every address")
    elif not _HOST.fullmatch(host):
        raise ValueError("this is not a host name")
    return Address(host=host.lower(), port=int(port_text))
