"""The connections to one origin: kept while idle, bounded in number, lent to one exchange at a time.

The youngest idle connection is taken first, so that the others grow old and close. Who finds all of them busy waits in
line, within the connect timeout.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections import deque
from typing import Final, TypeVar

from gatewayd.errors import UpstreamConnection, UpstreamTimeout
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.dial import Dialler, Origin
from gatewayd.upstream.transport import Answer, Connection, StaleConnection

MAX_CONNECTIONS: Final = 32_768
"""More than the local ports that the system has for one origin. Each busy connection serves a client's request, so how
many there are is bounded by `limits.connections`; a smaller figure here would refuse clients that have been let in."""
MAX_IDLE: Final = 256
IDLE_EXPIRY: Final = 50.0
"""Seconds. Below the 60 after which common load balancers drop an idle connection without a word."""


Made = TypeVar("Made", bound=Connection)

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def busy_connections() -> int:
    """How many connections of this process are being made or carry a request."""
    return sum(pool.open_count - pool.idle_count for pool in list(_pools))


def idle_connections() -> int:
    """How many connections of this process wait for a request."""
    return sum(pool.idle_count for pool in list(_pools))


class Pool:
    """Implements `transport.Home`. `tls` replaces the system's trust (for https origins)."""

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_idle: int = MAX_IDLE,
        idle_expiry: float = IDLE_EXPIRY,
        dialler: Dialler | None = None,
    ) -> None:
        self._dialler = dialler or Dialler(origin, tls)
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._idle_expiry = idle_expiry
        self._idle: dict[Connection, None] = {}  # an ordered set, oldest first
        self._connections: set[Connection] = set()
        self._open = 0  # connections, dials under way, and room promised to waiters
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        _pools.add(self)

    @property
    def open_count(self) -> int:
        """Connections that exist or are being made."""
        return self._open

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    async def exchange(
        self, answer: Answer, head: bytes, body: bytes, timeouts: Timeouts, *, fresh: bool = False
    ) -> None:
        """Sends a request and waits until `answer.ready`; over a new connection if it has to be `fresh`.

        A reused connection that turns out to be closed costs nothing but a second dial, once: no byte of an answer has
        come, so most likely the upstream closed it before it saw the request. (It may have seen it: RFC 9110, 9.2.2
        leaves this risk to the client, and the price of it is a completion computed twice.)

        Raises UpstreamError. Cancelling it closes the connection.
        """
        connection = (None if fresh else self.take()) or await self._get(timeouts.connect, fresh=fresh)
        try:
            connection.send(answer, head, body, first_byte=timeouts.first_byte, idle=timeouts.idle)
            await answer.ready
            return
        except StaleConnection:
            pass
        except BaseException:
            connection.drop(answer)
            raise
        answer.ready = asyncio.get_running_loop().create_future()
        connection = await self._get(timeouts.connect, fresh=True)
        try:
            connection.send(answer, head, body, first_byte=timeouts.first_byte, idle=timeouts.idle)
            await answer.ready
        except BaseException:
            connection.drop(answer)
            raise

    def take(self) -> Connection | None:
        """An idle connection, the youngest; whoever takes it sends on it at once."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                return connection
        return None

    async def aclose(self) -> None:
        """Closes what is idle now, and everything else as it becomes idle."""
        self._closed = True
        for connection in list(self._idle):
            connection.abort()

    # --- Home

    def free(self, connection: Connection) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._closed or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        self._idle[connection] = None
        connection.expire_in(self._idle_expiry)

    def gone(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        if connection in self._connections:  # one that broke before its dial returned is counted by the dial
            self._connections.remove(connection)
            self._vacate()

    # --- inside

    async def connect(self, seconds: float, kind: type[Made]) -> Made:
        """A new connection of a kind of its own. Raises UpstreamError."""
        connection = await self._get(seconds, fresh=True, kind=kind)
        assert isinstance(connection, kind)
        return connection

    async def _get(self, seconds: float, *, fresh: bool = False, kind: type[Connection] = Connection) -> Connection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._open >= self._max_connections:
            if fresh and self._idle:
                next(iter(self._idle)).abort()
                continue
            given = await self._wait(deadline)
            if given is None:
                break
            if given.usable and kind is Connection:
                return given
            given.abort()
        else:
            self._open += 1
        try:
            connection = await self._dialler.dial(lambda: kind(self, loop), deadline - loop.time())
            if not connection.usable:
                raise UpstreamConnection("The upstream closed the connection at once.")
        except BaseException:
            self._vacate()
            raise
        self._connections.add(connection)
        return connection

    async def _wait(self, deadline: float) -> Connection | None:
        """A connection that another exchange gave back, or None: room to make one, already counted in `_open`."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # what came in the same moment goes to the next in line
                given = waiter.result()
                if given is None:
                    self._vacate()
                elif given.usable:
                    self.free(given)
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout("All connections to the upstream are busy.", kind="connect") from None
            raise

    def _vacate(self) -> None:
        self._open -= 1
        while self._waiters and self._open < self._max_connections:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._open += 1
                waiter.set_result(None)
