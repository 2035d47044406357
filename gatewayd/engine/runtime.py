"""The live objects of one configuration, and the one pointer that says which configuration is live.

A `Runtime` is made by `engine.build`, leased by requests, and retired when a newer one has taken its place and its last
lease has ended. `Gateway` owns the pointer and what outlives every configuration: health and open upstreams.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final

from gatewayd.access.keys import Keyring
from gatewayd.config.snapshot import Deployment, Snapshot
from gatewayd.engine.deadline import Deadlines
from gatewayd.engine.incidents import Incidents
from gatewayd.policy.stages import Stage
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.health import HealthBook, Policy
from gatewayd.routing.table import Table
from gatewayd.tasks import Yielder, spawn
from gatewayd.upstream.base import Timeouts, Upstream
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.response_memory import ResponseMemory
from gatewayd.wire.response_ids import IdSealer
from gatewayd.wire.response_store import ResponseStore

MOST_RESPONSES: Final = 10_000
MOST_RESPONSE_BYTES: Final = 64 * 1024 * 1024
RESPONSE_AGE: Final = 24 * 3600.0
"""Bounds of the responses that are kept for callers of deployments that keep none; the age in seconds."""

_log = logging.getLogger("gatewayd.engine")


class UpstreamPool:
    """Open upstreams, counted: an upstream lives as long as any runtime that is not yet buried uses it.

    The key is the deployment's identity, so an unchanged deployment keeps its connections over a reload.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Upstream, int]] = {}

    def acquire(self, key: str, make: Callable[[], Upstream]) -> Upstream:
        upstream, users = self._entries.get(key) or (make(), 0)
        self._entries[key] = upstream, users + 1
        return upstream

    async def release(self, key: str) -> None:
        """Closes the upstream when nobody else uses it. An error in closing is logged, not raised."""
        upstream, users = self._entries[key]
        if users > 1:
            self._entries[key] = upstream, users - 1
            return
        del self._entries[key]
        try:
            await upstream.aclose()
        except Exception as error:  # a broken upstream must not keep the others from being closed
            _log.warning("closing an upstream failed: %s", type(error).__name__)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment with all it takes to try it."""

    deployment: Deployment
    candidate: Candidate
    upstream: Upstream
    timeouts: Timeouts
    stream_timeouts: Timeouts


class Runtime:
    """One configuration, live. `Gateway.lease` counts a request in, `release` counts it out; so does leaving the
    runtime as a context manager."""

    def __init__(
        self, snapshot: Snapshot, table: Table, targets: Mapping[str, Target], health: HealthBook, pool: UpstreamPool
    ) -> None:
        """`targets` by deployment id; their upstreams have been acquired from `pool` for this runtime."""
        self.snapshot = snapshot
        self.table = table
        self.targets = targets
        self.health = health
        routing = snapshot.routing
        self.policy = Policy(routing.allowed_fails, routing.cooldown_time, routing.disable_cooldowns)
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self.keyring = Keyring(snapshot.server)
        self.stages: tuple[Stage, ...] = ()
        """In the order in which a request passes them."""
        self.begun = 0
        """Requests that have taken a lease so far."""
        self._ended = 0
        self.notes: dict[Any, Any] = {}
        """What others have worked out about this configuration; it goes with it."""
        self._pool = pool
        self._idle: asyncio.Event | None = None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Ends a lease."""
        self._ended += 1
        if self._ended == self.begun and self._idle is not None:
            self._idle.set()

    @property
    def leases(self) -> int:
        """Requests in flight on this configuration."""
        return self.begun - self._ended

    async def retire(self) -> None:
        """Waits until the last lease has ended, then lets go of the upstreams and of all else that is big.

        Piece by piece: the last reference to ten thousand deployments, dropped at once, holds up the loop for long. And
        whoever still holds this object, knowingly or in a cycle, holds a hollow one.
        """
        await self.idle()
        yielder = Yielder()
        targets, deployments, groups = (
            list(self.targets.values()),
            list(self.snapshot.deployments),
            [*self.table.groups()],
        )
        self.targets, self.table = {}, Table({})
        self.snapshot = replace(self.snapshot, deployments=(), effective={})
        while targets:
            await self._pool.release(targets.pop().deployment.identity)
            await yielder()
        for rest in (groups, deployments):
            while rest:
                rest.pop()
                await yielder()

    async def idle(self) -> None:
        """Waits until no request holds a lease."""
        while self.leases:
            self._idle = asyncio.Event()
            await self._idle.wait()


class Gateway:
    """The one mutable pointer to the live runtime, and what outlives each of them."""

    def __init__(self, *, serves: bool = True, instance: str | None = None, id_secret: bytes | None = None) -> None:
        """`id_secret`: see `engine.installation`; without one, ids are valid as long as this object is there."""
        self.instance = instance or secrets.token_hex(8)
        """What tells this gateway from all others in the requests that it sends; the same in all its workers."""
        self.serves = serves
        """Whether requests are answered in this process; else its runtimes are only looked at."""
        self.health = HealthBook(
            jitter=lambda: random.uniform(0.8, 1.2),  # no herd when cooldowns end
            observer=Incidents(self._deployment),
        )
        self.upstreams = UpstreamPool()
        self.fetcher = Fetcher()
        self._sealer = IdSealer(id_secret or secrets.token_bytes(32))
        self._responses = ResponseStore(max_count=MOST_RESPONSES, max_bytes=MOST_RESPONSE_BYTES, max_age=RESPONSE_AGE)
        self.loading = False
        """Set while a start still loads what some deployments need: requests are answered, readiness is off."""
        self.stopping = False
        """Set when the process is about to stop: readiness goes off."""
        self.draining = False
        """Set a moment later: new requests are refused."""
        self.overloaded = False
        """Set while memory is nearly used up: new connections and large bodies are refused."""
        self._current: Runtime | None = None
        self._retiring: dict[Runtime, asyncio.Task[None]] = {}

    @property
    def current(self) -> Runtime:
        """The live runtime, for the daemon and the admin listener; a request uses `lease`."""
        if self._current is None:
            raise RuntimeError("no configuration is live yet")
        return self._current

    @property
    def ready(self) -> bool:
        return self._current is not None and not (self.loading or self.stopping or self.draining)

    def lease(self) -> Runtime:
        """The live runtime, until its `release`: all of a request runs on this one configuration."""
        runtime = self._current
        if runtime is None:
            raise RuntimeError("no configuration is live yet")
        runtime.begun += 1
        return runtime

    def swap(self, runtime: Runtime) -> None:
        """Makes a runtime the live one: one assignment, which cannot fail. The old one is retired in the background."""
        old, self._current = self._current, runtime
        self.fetcher.http = runtime.snapshot.server.fetch.http
        self.health.keep_only(target.candidate.identity for target in runtime.targets.values())
        if old is not None:
            self._retiring[old] = task = spawn(old.retire(), name=f"retire {old.snapshot.revision}")
            task.add_done_callback(lambda _: self._retiring.pop(old, None))

    def _deployment(self, candidate: Candidate) -> Deployment | None:
        """Of the live configuration, if it has the very same one, else of the one before."""
        for runtime in (self._current, *reversed(self._retiring)):
            target = None if runtime is None else runtime.targets.get(candidate.id)
            if target is not None and target.candidate.identity == candidate.identity:
                return target.deployment
        return None

    def memory(self, owner: str) -> ResponseMemory:
        """The responses that one caller may refer to; `owner` is the name of its key."""
        return ResponseMemory(self._responses, self._sealer, owner)

    @property
    def in_flight(self) -> int:
        """Requests that hold a lease, on whichever configuration."""
        live = 0 if self._current is None else self._current.leases
        return live + sum(runtime.leases for runtime in self._retiring)

    @property
    def begun(self) -> int:
        """Requests that have begun on the live configuration and on those that still have some in flight."""
        live = 0 if self._current is None else self._current.begun
        return live + sum(runtime.begun for runtime in self._retiring)

    async def idle(self) -> None:
        """Waits until no request is left on any configuration."""
        for runtime in (*self._retiring, *([self._current] if self._current else [])):
            await runtime.idle()

    async def close(self) -> None:
        """Retires everything; waits for every lease, so cancel or drain the requests first."""
        if self._current is not None:
            old, self._current = self._current, None
            await old.retire()
        await asyncio.gather(*self._retiring.values(), return_exceptions=True)
