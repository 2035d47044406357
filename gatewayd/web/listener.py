"""A listener: its listening, changed without losing a connection, and its end, bounded in time.

    staged = await listener.stage(addresses)     # opens what is new; raises OSError, then nothing has changed
    staged.commit()                              # cannot fail: new sockets accept, those not named any more close
    await staged.rollback()                      # or: as if nothing had been asked
    await listener.last_calls(seconds)           # the sockets close; new connections may still send a request
    await listener.drain(seconds)

Connections of a socket that closes are not cut: idle ones are closed, the others after the answer in flight. The data
plane and the admin side use the same class; what they answer is their `HttpServer`'s handler.
"""

from __future__ import annotations

import asyncio
import functools
import resource
import socket
from collections.abc import Callable, Collection, Iterable, Mapping

from gatewayd.config.snapshot import Address, Limits
from gatewayd.tasks import spawn
from gatewayd.web.activation import SocketActivation
from gatewayd.web.connection import HttpServer
from gatewayd.web.listening_socket import BACKLOG, ListeningSocket, open_sockets

_RESERVED_FILES = 128
"""File descriptors kept for everything that is no connection: the log, the watcher, libraries, stores."""
_FEWEST_CONNECTIONS = 16
_AFTER_DEADLINE = 2.0
"""Seconds that interrupted requests get to say so to their clients."""
_TURNS = 5
"""Of the loop, from accepting a connection to its protocol: one for uvloop, two or three for asyncio."""
_REAPING = 0.1
"""Seconds for the handlers of connections that are gone; aiohttp takes 0 for "no limit"."""


def connection_limit(limits: Limits) -> int:
    """`limits.connections`; `auto`: half of the free file descriptors, as each request may need one more upstream."""
    if limits.connections is not None:
        return limits.connections
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return 1 << 30
    return max(_FEWEST_CONNECTIONS, (files - _RESERVED_FILES) // 2)


class Listener:
    """See the module. `interrupt` is called at the end of a drain to end what is still under way; it returns how many
    requests were interrupted."""

    def __init__(
        self,
        server: HttpServer,
        *,
        interrupt: Callable[[], int] = lambda: 0,
        activation: SocketActivation | None = None,
    ) -> None:
        self._server = server
        self._activation = activation
        self._interrupt = interrupt
        self._listening: dict[Address, tuple[ListeningSocket, list[asyncio.Server]]] = {}
        self._arriving: set[asyncio.Task[object]] = set()
        """Connections that waited in the queue of a socket when it closed."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, ports as the system chose them."""
        return tuple(
            address if address.path else Address(address.host, listening.port)
            for address, (listening, _) in self._listening.items()
        )

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.open)

    @property
    def listening(self) -> tuple[ListeningSocket, ...]:
        return tuple(listening for listening, _ in self._listening.values())

    async def stage(
        self,
        addresses: Iterable[Address],
        *,
        opened: Mapping[Address, ListeningSocket] | None = None,
        others: Collection[ListeningSocket] = (),
    ) -> StagedSockets:
        """Opens the listening sockets that are not open yet, without accepting. Raises OSError.

        `opened`: new sockets that are open already; this listener owns them from now on.
        `others`: sockets of another listener of this daemon, whose ports the new ones may take over.
        """
        wanted = tuple(dict.fromkeys(addresses))
        if opened is None:
            opened = open_sockets(wanted, self.listening, self._activation, others=others)
        served: dict[Address, tuple[ListeningSocket, list[asyncio.Server]]] = {
            a: (listening, []) for a, listening in opened.items()
        }
        try:
            for listening, servers in served.values():
                for sock in listening.sockets:
                    servers.append(await self._serve(sock, listening))
        except BaseException:
            for listening, servers in served.values():
                _shut(listening, servers)
            raise
        return StagedSockets(self, wanted, served)

    async def serve(self, addresses: Iterable[Address]) -> None:
        """Stages and commits: for start-up, when there is nothing to swap. Raises OSError."""
        (await self.stage(addresses)).commit()

    def stop_accepting(self) -> None:
        """Closes all listening sockets. Connections stay open."""
        for address in list(self._listening):
            self._close(address)

    async def last_calls(self, seconds: float) -> None:
        """Closes all listening sockets. Waits so long if there are connections without a request so far, because their
        request is most likely on its way: otherwise a restart would reset a few of many clients."""
        self.stop_accepting()
        if self._arriving:
            await asyncio.wait(self._arriving)
        for _ in range(_TURNS):  # the loop may have accepted connections that it has told nobody of yet
            await asyncio.sleep(0)
        for connection in list(self._server.open):
            connection.retire(unused=False)
        if any(connection.unused for connection in self._server.open):
            await asyncio.sleep(seconds)

    async def drain(self, seconds: float) -> int:
        """Lets what is under way end, at most `seconds` long, then interrupts it; closes every connection.

        Returns how many requests were interrupted. Takes at most `seconds` and a little more than two.
        """
        self.stop_accepting()
        for connection in list(self._server.open):
            connection.retire()
        await self._all_closed(seconds)
        interrupted = self._interrupt()
        await self._all_closed(_AFTER_DEADLINE)
        for connection in list(self._server.open):  # clients that do not even take their last bytes
            connection.abort()
        await self._server.shutdown(_REAPING)
        return interrupted

    async def _all_closed(self, seconds: float) -> None:
        """Waits until no connection is open, at most so long."""
        changed = self._server.changed
        try:
            async with asyncio.timeout(seconds):
                while self._server.open:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return

    async def _serve(self, sock: socket.socket, listening: ListeningSocket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        factory = functools.partial(self._server.open_connection, listening)
        if sock.family == socket.AF_UNIX:
            return await loop.create_unix_server(factory, sock=sock, backlog=BACKLOG, start_serving=False)
        return await loop.create_server(factory, sock=sock, backlog=BACKLOG, start_serving=False)

    def _close(self, address: Address) -> None:
        listening, servers = self._listening.pop(address)
        loop = asyncio.get_running_loop()
        last = functools.partial(self._server.open_connection, listening, last=True)
        for sock in listening.accept_waiting():
            arriving = spawn(loop.connect_accepted_socket(last, sock), name="accept the last")
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arriving.discard)
        _shut(listening, servers)
        for connection in [connection for connection in self._server.open if connection.listening is listening]:
            connection.retire(unused=False)

    def _commit(
        self, wanted: tuple[Address, ...], opened: dict[Address, tuple[ListeningSocket, list[asyncio.Server]]]
    ) -> None:
        for address in [address for address in self._listening if address not in wanted]:
            self._close(address)
        self._listening.update(opened)
        for address, (_, servers) in opened.items():
            for server in servers:
                _ = spawn(self._start(address, server), name="start serving")

    async def _start(self, address: Address, server: asyncio.Server) -> None:
        if address in self._listening:  # or it was closed before this task began
            await server.start_serving()


class StagedSockets:
    """The next set of listening, ready; `commit` or `rollback` is called once."""

    def __init__(
        self,
        listener: Listener,
        wanted: tuple[Address, ...],
        opened: dict[Address, tuple[ListeningSocket, list[asyncio.Server]]],
    ) -> None:
        self._listener = listener
        self._wanted = wanted
        self._opened = opened

    def commit(self) -> None:
        """The new sockets accept (queued connections first), those not wanted any more close. Cannot fail."""
        self._listener._commit(self._wanted, self._opened)

    async def rollback(self) -> None:
        for listening, servers in self._opened.values():
            _shut(listening, servers)


def _shut(listening: ListeningSocket, servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    listening.close()
