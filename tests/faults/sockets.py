"""Sockets of which the k-th operation fails: the kernel's part in a test, played by a subclass of Python's own class.

It takes the place of `socket.socket`, so asyncio's selector loop and everything else in the process uses it. Counted
are the operations on the gateway's side only, told by the ports: its connections to the upstreams, or to its clients.
Setting options is not counted: Linux refuses none of those set here, and asyncio would lose the socket.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

Counts = Callable[[socket.socket, str, tuple[Any, ...]], bool]


class Saboteur:
    """Decides which operation fails. `log` names those that were counted."""

    def __init__(self) -> None:
        self._upstreams: frozenset[int] = frozenset()
        self._clients: frozenset[int] = frozenset()
        self._at = 0
        self.error = errno.ECONNRESET
        self.log: list[str] = []

    def arm(self, at: int, *, upstreams: Collection[int] = (), clients: Collection[int] = ()) -> None:
        """The `at`-th operation from now on fails, on connections to these ports or accepted on those."""
        self._at, self._upstreams, self._clients = at, frozenset(upstreams), frozenset(clients)
        self.log.clear()

    def disarm(self) -> None:
        self.arm(0)

    @property
    def struck(self) -> bool:
        return 0 < self._at <= len(self.log)

    def passes(self, sock: socket.socket, operation: str, port: int | None = None) -> None:
        """Called before each operation. Raises OSError when it is the one that fails."""
        if not self._at or len(self.log) >= self._at:
            return
        if port not in self._upstreams if port is not None else not self._is_ours(sock):
            return
        self.log.append(operation)
        if len(self.log) == self._at:
            raise OSError(self.error, "sabotage")

    def _is_ours(self, sock: socket.socket) -> bool:
        if sock.family != socket.AF_INET:  # the event loop's own pair
            return False
        try:
            if self._clients and sock.getsockname()[1] in self._clients:
                return True
            return bool(self._upstreams) and sock.getpeername()[1] in self._upstreams
        except OSError:
            return False


@contextmanager
def sabotaged() -> Iterator[Saboteur]:
    """While it lasts, every new socket of the process asks the saboteur first."""
    saboteur = Saboteur()
    real = socket.socket

    class FailingSocket(real):  # type: ignore[misc,valid-type]
        def connect(self, address: Any) -> None:
            saboteur.passes(self, "connect", address[1])
            super().connect(address)

        def recv(self, *arguments: Any) -> bytes:
            saboteur.passes(self, "recv")
            return bytes(super().recv(*arguments))

        def recv_into(self, *arguments: Any) -> int:
            saboteur.passes(self, "recv")
            return int(super().recv_into(*arguments))

        def send(self, *arguments: Any) -> int:
            saboteur.passes(self, "send")
            return int(super().send(*arguments))

        def sendmsg(self, *arguments: Any) -> int:
            saboteur.passes(self, "sendmsg")
            return int(super().sendmsg(*arguments))

        def shutdown(self, how: int) -> None:
            saboteur.passes(self, "shutdown")
            super().shutdown(how)

        def getsockopt(self, *arguments: Any) -> Any:
            saboteur.passes(self, "getsockopt")
            return super().getsockopt(*arguments)

    socket.socket = FailingSocket  # type: ignore[misc]
    try:
        yield saboteur
    finally:
        socket.socket = real  # type: ignore[misc]
