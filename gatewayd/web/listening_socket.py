"""Listening sockets, opened before anything is swapped: an address in use refuses an edit and touches nothing else.

Only sockets; who speaks on them is `web.listener`'s business, or that of worker processes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Self

from gatewayd.config.snapshot import Address
from gatewayd.web.activation import SocketActivation

BACKLOG = 1024
_FILE_MODE = 0o660
"""Of a unix socket: its owner and group may connect."""


class ListeningSocket:
    """One address that is listened on. Connections queue in the backlog until somebody accepts them."""

    def __init__(
        self,
        address: Address,
        *,
        overlapping: Iterable[socket.socket] = (),
        activation: SocketActivation | None = None,
        copies: int = 1,
    ) -> None:
        """Binds and listens. Raises OSError, then nothing is left open.

        A name may stand for several addresses (`localhost`: IPv4 and IPv6). The socket file of a dead process is
        replaced, that of a living one is not. `overlapping`: our own sockets on the same port, which
        the new one may overlap (0.0.0.0 contains 127.0.0.1) because it replaces them. `activation`: inherited sockets.
        `copies`: how many processes accept at a port, each from its own queue.
        """
        self.address = address
        self.rows: list[list[socket.socket]] = []
        """For each place the address stands for: one socket, or one for each process."""
        self.inherited = False
        """Whether another process keeps the socket open, and accepts the connections that wait in its queue."""
        self._inode: int | None = None
        self._activation = activation or SocketActivation()
        try:
            if address.path:
                self._open_file(address.path)
            else:
                self._open_ports(address, tuple(overlapping), copies)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, address: Address, sockets: Iterable[socket.socket], *, inherited: bool) -> Self:
        """Sockets that another process has opened. It also owns the socket file."""
        listening = cls.__new__(cls)
        listening.address, listening.rows, listening.inherited, listening._inode = (
            address,
            [[sock] for sock in sockets],
            inherited,
            None,
        )
        return listening

    @property
    def sockets(self) -> list[socket.socket]:
        return [sock for row in self.rows for sock in row]

    def share(self, number: int) -> list[socket.socket]:
        """The sockets at which one of several processes accepts; they are counted from 0."""
        return [row[number % len(row)] for row in self.rows]

    @property
    def port(self) -> int:
        """The TCP port, which the system chose if the address has port 0; 0 for a unix socket."""
        name = self.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def close(self) -> None:
        """Stops listening. Removes the socket file, unless it is a successor's by now."""
        for sock in self.sockets:
            sock.close()
        path = self.address.path
        if path and self._inode is not None:
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == self._inode:
                    os.unlink(path)
        self._inode = None

    def accept_waiting(self) -> list[socket.socket]:
        """The connections that wait in the backlog now, if they would be reset together with the listening."""
        waiting: list[socket.socket] = []
        for sock in () if self.inherited else self.sockets:
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(sock.accept()[0])
        return waiting

    def _open_ports(self, address: Address, overlapping: tuple[socket.socket, ...], copies: int) -> None:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in dict.fromkeys(found):
            row: list[socket.socket] = []
            self.rows.append(row)
            if (inherited := self._activation.at(place)) is not None:
                row.append(inherited)
                self.inherited = True
                continue
            with _share_ports(overlapping):
                # The first one alone, so that a port that somebody else has is refused.
                row.append(_bound(family, place, shares=bool(overlapping)))
                while len(row) < copies:
                    row[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    row.append(_bound(family, row[0].getsockname(), shares=True))
                for sock in row:
                    sock.listen(BACKLOG)
            if copies == 1:
                row[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)

    def _open_file(self, path: str) -> None:
        if (inherited := self._activation.at(path)) is not None:
            self.rows.append([inherited])
            self.inherited = True
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.rows.append([sock])
        sock.setblocking(False)
        _remove_dead(path)
        sock.bind(path)
        self._inode = os.stat(path).st_ino
        os.chmod(path, _FILE_MODE)  # nobody can connect before `listen`, so the mode is never too wide
        sock.listen(BACKLOG)


def _bound(family: int, place: Any, *, shares: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for TIME_WAIT
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        sock.bind(place)
    except BaseException:
        sock.close()
        raise
    return sock


def open_sockets(
    wanted: Iterable[Address],
    standing: Collection[ListeningSocket],
    activation: SocketActivation | None = None,
    *,
    copies: int = 1,
    others: Collection[ListeningSocket] = (),
) -> dict[Address, ListeningSocket]:
    """Opens the wanted addresses that are not open yet. Raises OSError with the address as its `filename`, and then
    nothing is left open. `others`: more sockets with which a new one may share its port."""
    known = {listening.address for listening in standing}
    opened: dict[Address, ListeningSocket] = {}
    try:
        for address in dict.fromkeys(wanted):
            if address not in known:
                ours = [
                    listening for listening in (*standing, *others) if address.port and listening.port == address.port
                ]
                overlapping = [sock for listening in ours for sock in listening.sockets]
                try:
                    opened[address] = ListeningSocket(
                        address, overlapping=overlapping, activation=activation, copies=copies
                    )
                except OSError as error:
                    error.filename = str(address)
                    raise
    except BaseException:
        for listening in opened.values():
            listening.close()
        raise
    return opened


@contextlib.contextmanager
def _share_ports(sockets: Iterable[socket.socket]) -> Iterator[None]:
    """Lets these sockets share their port, for as long as it takes to bind: afterwards nobody else can join them."""
    alone = [sock for sock in sockets if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)]
    for sock in alone:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        yield
    finally:
        for sock in alone:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _remove_dead(path: str) -> None:
    """Removes a socket file on which nobody listens any more; anything else in the way is left for `bind` to report."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
