"""The data plane of one process: listening sockets that follow the configuration, load shedding when memory runs short,
and the drain at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from gatewayd.config.snapshot import Address, Snapshot
from gatewayd.engine.runtime import Gateway
from gatewayd.observe.memory import ABOVE_REST, HIGHEST, Memory, give_back, own_memory
from gatewayd.observe.metrics import Metrics
from gatewayd.upstream.pool import busy_connections, idle_connections
from gatewayd.web.activation import SocketActivation
from gatewayd.web.app import data_listener
from gatewayd.web.listener import StagedSockets
from gatewayd.web.listening_socket import ListeningSocket

_log = logging.getLogger("gatewayd.web")

_LAST_CALLS = 0.25
"""Seconds for the first request on a connection that is open when the listening sockets close."""
_LOOK = 0.25
"""Seconds between two looks at the memory."""
_NEAR, _QUICK_LOOK = 0.6, 0.05
"""The part of the limit from which on looks are more frequent, until load is shed."""
_OVERLOADED = 0.85
_RELIEVED = 0.75
"""Parts of the memory limit at which load is shed, and no longer."""
_TRIM_EVERY = 4
"""Looks between two attempts to give memory back while load is shed."""
_FOR_BODIES = 0.4
"""Part of the memory that is free at the start: a body is held twice for a moment."""


class DataPlane:
    """See the module.

    `processes`: how many share the memory.
    """

    def __init__(
        self,
        gateway: Gateway,
        metrics: Metrics,
        *,
        activation: SocketActivation | None = None,
        processes: int = 1,
        memory: Memory | None = None,
    ) -> None:
        self._gateway = gateway
        self.overload_changed: Callable[[], None] = lambda: None
        """Called when load begins to be shed, and when it no longer is."""
        self._memory = memory or own_memory()
        room = int(self._memory.free() * _FOR_BODIES / processes)
        self._listener = data_listener(gateway, metrics, activation=activation, room=room)
        metrics.count_open(
            clients=lambda: self._listener.open_connections,
            busy=busy_connections,
            idle=idle_connections,
            tasks=lambda: len(asyncio.all_tasks()),
        )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, ports as the system chose them."""
        return self._listener.addresses

    @property
    def listening(self) -> tuple[ListeningSocket, ...]:
        return self._listener.listening

    async def stage(
        self,
        snapshot: Snapshot,
        listen: Iterable[Address] | None = None,
        opened: Mapping[Address, ListeningSocket] | None = None,
        others: Collection[ListeningSocket] = (),
    ) -> StagedSockets:
        """Opens the listening sockets of a snapshot, as `Listener.stage` does. Raises OSError."""
        listen = snapshot.server.listen if listen is None else listen
        return await self._listener.stage(listen, opened=opened, others=others)

    async def drain(self, seconds: float) -> int:
        """Turns readiness off, closes the listening sockets, and waits up to `seconds` for requests in flight. A second
        call with 0 ends it at once. Returns how many requests were interrupted."""
        began = time.monotonic()
        self._gateway.stopping = True
        if seconds:
            await self._listener.last_calls(min(seconds, _LAST_CALLS))
        self._gateway.draining = True
        return await self._listener.drain(max(0.0, seconds - (time.monotonic() - began)))

    @property
    def memory_limited(self) -> bool:
        """Whether there is anything for `watch_memory` to watch."""
        return self._memory.limited

    async def watch_memory(self) -> None:
        """Sheds load while memory is nearly used up (F-08): dying of it would end every request. Never returns, unless
        there is no limit."""
        rest = 0.0
        looks = 0
        while self._memory.limited:
            fullness = self._memory.fullness()
            idle = not self._listener.open_connections
            self._memory.rest = rest = fullness if idle else min(rest, fullness)
            above = max(_OVERLOADED, min(rest + ABOVE_REST, HIGHEST))
            if not self._gateway.overloaded and fullness > above and not idle:
                gc.collect()
                give_back()
                looks = 0
                if (fullness := self._memory.fullness()) > above:
                    self._shed(True, fullness, "refusing new connections and large bodies")
            elif self._gateway.overloaded:
                looks += 1
                if idle or looks % _TRIM_EVERY == 0:
                    give_back()
                    fullness = self._memory.fullness()
                if idle or fullness < max(_RELIEVED, (rest + above) / 2):
                    self._shed(False, fullness, "no longer refusing")
            near = not self._gateway.overloaded and fullness > _NEAR
            await asyncio.sleep(_QUICK_LOOK if near else _LOOK)

    def _shed(self, overloaded: bool, fullness: float, what: str) -> None:
        self._gateway.overloaded = overloaded
        _log.warning("memory is %d %% used: %s", round(fullness * 100), what)
        self.overload_changed()
