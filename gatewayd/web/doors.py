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
from gatewayd.web.inherited import Inherited

BACKLOG = 1024
_FILE_MODE = 0o660
"""Of a unix socket: its owner and group may connect."""


class Door:
    """One address that is listened on. Connections queue in the backlog until somebody accepts them."""

    def __init__(
        self,
        address: Address,
        *,
        beside: Iterable[socket.socket] = (),
        inherited: Inherited | None = None,
        copies: int = 1,
    ) -> None:
        """Binds and listens. Raises OSError, then nothing is left open.

        A name may stand for several addresses (`localhost`: IPv4 and IPv6). The socket file of a dead process is
        replaced, that of a living one is not. `beside`: sockets of ours on the same port, which the new one may overlap
        (0.0.0.0 takes in 127.0.0.1) because it is to take their place. `inherited`: where a socket may be open already.
        `copies`: so many processes are to accept at a port, each from a queue of its own.
        """
        self.address = address
        self.rows: list[list[socket.socket]] = []
        """For each place the address stands for: one socket, or one for each process."""
        self.lent = False
        """Whether somebody else goes on listening when this door closes: who waits is left to them."""
        self._inode: int | None = None
        self._inherited = inherited or Inherited()
        try:
            if address.path:
                self._open_file(address.path)
            else:
                self._open_ports(address, tuple(beside), copies)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, address: Address, sockets: Iterable[socket.socket], *, lent: bool) -> Self:
        """A door whose sockets another process has opened, and whose socket file is that process's."""
        door = cls.__new__(cls)
        door.address, door.rows, door.lent, door._inode = address, [[sock] for sock in sockets], lent, None
        return door

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
        """Stops listening; takes the socket file away unless a successor's stands there by now."""
        for sock in self.sockets:
            sock.close()
        path = self.address.path
        if path and self._inode is not None:
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == self._inode:
                    os.unlink(path)
        self._inode = None

    def accept_waiting(self) -> list[socket.socket]:
        """The connections that wait in the backlog now, if they would be reset together with the door."""
        waiting: list[socket.socket] = []
        for sock in () if self.lent else self.sockets:
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(sock.accept()[0])
        return waiting

    def _open_ports(self, address: Address, beside: tuple[socket.socket, ...], copies: int) -> None:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in dict.fromkeys(found):
            row: list[socket.socket] = []
            self.rows.append(row)
            if (lent := self._inherited.at(place)) is not None:
                row.append(lent)
                self.lent = True
                continue
            with _overlapping(beside):
                # The first one alone, so that a port that somebody else has is refused.
                row.append(_bound(family, place, shares=bool(beside)))
                while len(row) < copies:
                    row[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    row.append(_bound(family, row[0].getsockname(), shares=True))
                for sock in row:
                    sock.listen(BACKLOG)
            if copies == 1:
                row[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)

    def _open_file(self, path: str) -> None:
        if (lent := self._inherited.at(path)) is not None:
            self.rows.append([lent])
            self.lent = True
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


def open_doors(
    wanted: Iterable[Address],
    standing: Collection[Door],
    inherited: Inherited | None = None,
    *,
    copies: int = 1,
    others: Collection[Door] = (),
) -> dict[Address, Door]:
    """Opens those of the wanted doors that do not stand yet. Raises OSError with the address as its `filename`, then
    nothing is left open. `others`: more doors that a new one may share its port with."""
    known = {door.address for door in standing}
    opened: dict[Address, Door] = {}
    try:
        for address in dict.fromkeys(wanted):
            if address not in known:
                ours = [door for door in (*standing, *others) if address.port and door.port == address.port]
                beside = [sock for door in ours for sock in door.sockets]
                try:
                    opened[address] = Door(address, beside=beside, inherited=inherited, copies=copies)
                except OSError as error:
                    error.filename = str(address)
                    raise
    except BaseException:
        for door in opened.values():
            door.close()
        raise
    return opened


@contextlib.contextmanager
def _overlapping(sockets: Iterable[socket.socket]) -> Iterator[None]:
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
