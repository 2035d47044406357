"""Listening sockets that somebody else opened for us: systemd's socket activation (sd_listen_fds(3)).

The configuration stays the truth about where gatewayd listens: a socket handed over is used where the configuration
names its address, instead of a socket of our own. As systemd keeps the socket open, connections that come while no
gatewayd runs wait in its queue, and a restart drops none of them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_FIRST = 3
"""sd_listen_fds(3): SD_LISTEN_FDS_START."""
_MOST = 1024
VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class SocketActivation:
    """The sockets, open for as long as the process lives; `used` at an address as often as the configuration says."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Takes what `$LISTEN_FDS` names if `$LISTEN_PID` is this process."""
        self._sockets: dict[str, socket.socket] = {}
        self.unusable: list[str] = []
        """What was handed over and cannot be listened on."""
        self._used: set[str] = set()
        environ = environ or {}
        count = environ.get("LISTEN_FDS", "")
        if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
            return
        for number in range(_FIRST, _FIRST + min(int(count), _MOST)):
            self._take(number)

    def at(self, place: object) -> socket.socket | None:
        """A duplicate of the socket at an address as `getsockname` tells it, which is the caller's to close."""
        found = self._sockets.get(_name(place))
        if found is None:
            return None
        self._used.add(_name(place))
        return found.dup()

    @property
    def unused(self) -> list[str]:
        """Addresses that were handed over and that no configuration has named so far."""
        return [name for name in self._sockets if name not in self._used] + self.unusable

    def _take(self, number: int) -> None:
        try:
            os.set_inheritable(number, False)
            sock = socket.socket(fileno=os.dup(number))
        except OSError:
            self.unusable.append(f"descriptor {number}")
            return
        os.close(number)
        listening = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listening or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            self.unusable.append(f"descriptor {number}")
            sock.close()
            return
        sock.setblocking(False)
        self._sockets[_name(sock.getsockname())] = sock


def _name(place: object) -> str:
    """`host:port` or a path; an IPv6 address comes with flow and scope, which do not count."""
    if isinstance(place, tuple):
        host, port, *_ = place
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return place.decode("utf-8", "surrogateescape") if isinstance(place, bytes) else str(place)
