"""From "the configuration may have changed" to a new live runtime, or to a refusal that changed nothing.

Strictly serial: one load, one build, one swap at a time. Requests that come while one runs share the next one, so a
thousand signals cost two loads and the last state of the file wins. Everything that can fail happens before the swap.

This module must not know how changes are noticed (engine.watch), how listeners work (they are staged through a
callback), nor who is told about outcomes (a callback too).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from gatewayd.config.changes import losses, steps
from gatewayd.config.problems import Problem, warnings
from gatewayd.config.snapshot import Snapshot
from gatewayd.config.validator import Result
from gatewayd.engine.build import build, load_translators
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import ConfigInvalid
from gatewayd.gc_tuning import collect_frozen, gc_paused
from gatewayd.tasks import Yielder, spawn

_log = logging.getLogger("gatewayd.reload")


@dataclass(frozen=True, slots=True)
class Applied:
    revision: str
    changes: tuple[str, ...]
    """`+ ...`, `- ...`, `~ ...` lines without secrets."""
    warnings: tuple[Problem, ...]
    seconds: float
    """From the start of the load to the swap."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    revision: str
    live_seconds: float
    """How long the revision has been live: who saves a file and asks finds that its event was faster at times."""


@dataclass(frozen=True, slots=True)
class Rejected:
    problems: tuple[Problem, ...]
    """All findings, warnings included; what was live before still is."""


ReloadOutcome = Applied | Unchanged | Rejected

_MANY = 500
"""Deployments from which on a configuration is kept from the garbage collector."""
_HELD = (
    "edit held: the file may be incomplete, because the edit %s; it is applied in %g s unless the file changes, or "
    "immediately with `gatewayd reload`"
)
_STOPPING = Rejected((Problem("shutting_down", "the daemon is stopping"),))


class Staged(Protocol):
    """What goes live together with the runtime (listeners): made ready, not yet used."""

    def commit(self) -> None:
        """Called right after the swap. Cannot fail."""

    async def rollback(self) -> None:
        """Called instead of `commit` when the edit is refused after all."""


Settled = Callable[[], Awaitable[None]]
"""Waits until a file can be read."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. The defaults give at most four loads a second and an edit that is live within a second."""

    debounce: float = 0.25
    """From the first file event of a burst to the load: an editor writes in several steps."""
    spacing: float = 0.25
    """Shortest time between the beginnings of two loads."""
    hold: float = 5.0
    """How long a file must stay the same before an edit that looks cut off goes live (`config.changes.losses`)."""
    calm: float = 5.0
    """For how long no request must have come before frozen garbage is collected: it holds up the loop for 100 ms."""


@dataclass(frozen=True, slots=True)
class Held:
    """An edit that is valid and waits, because it may be the beginning of a file that is still being written."""

    revision: str
    losses: tuple[str, ...]
    """What it would take away, in words."""
    until: float
    """Time of `asyncio`'s loop at which it goes live, if the file stays the same."""


@dataclass(slots=True)
class _Batch:
    """Everybody who asked since the last load began."""

    done: asyncio.Future[ReloadOutcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    explicit: bool = False


class Reloader:
    """Owns the road from the file to `gateway.swap`; nobody else swaps after start-up.

    `load` reads and validates, never on the loop, and reads no byte before what it is given has been awaited; `prepare`
    makes the listeners of a snapshot ready and raises ConfigInvalid if it cannot; `observe` hears every outcome.
    """

    def __init__(
        self,
        gateway: Gateway,
        load: Callable[[Settled], Awaitable[Result]],
        *,
        prepare: Callable[[Snapshot], Awaitable[Staged]],
        observe: Callable[[ReloadOutcome], None],
        pace: Pace | None = None,
    ) -> None:
        self._gateway = gateway
        self._load = load
        self._prepare = prepare
        self._observe = observe
        self._pace = pace or Pace()
        self._pending: _Batch | None = None
        self._hurry = asyncio.Event()
        self._asked = asyncio.Event()
        self._not_before = 0.0
        self._worker: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._closed = False
        self._live_since = time.monotonic()
        self.held: Held | None = None
        self.last: ReloadOutcome | None = None
        self.last_at: datetime | None = None
        self.counts: Counter[str] = Counter()
        """By lower-case outcome: applied, unchanged, rejected."""

    async def reload(self, why: str) -> ReloadOutcome:
        """Loads now and tells how it ended. The load begins after this call, so what was saved before is in it."""
        # Shielded: one impatient caller must not take the shared answer from the others.
        return await asyncio.shield(self.request(why, explicit=True))

    def request(self, why: str, *, explicit: bool = False) -> asyncio.Future[ReloadOutcome]:
        """Asks for a reload without waiting. `explicit`: a person or program asked, no file event: no debounce, and
        the edit is not held."""
        if self._closed:
            refused: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
            refused.set_result(_STOPPING)
            return refused
        if self._pending is None:
            self._pending = _Batch()
        _log.debug("reload requested: %s", why)
        self._asked.set()
        if explicit:
            self._pending.explicit = True
            self._hurry.set()
        if self._worker is None or self._worker.done():
            self._worker = spawn(self._work(), name="reload")
        return self._pending.done

    async def close(self) -> None:
        """Ends a running load. Whoever waits is told that the daemon is stopping."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        if self._tidying is not None:
            self._tidying.cancel()
        if self._pending is not None:
            self._answer(self._pending, _STOPPING)

    async def _work(self) -> None:
        while (batch := self._pending) is not None:
            try:
                outcome = await self._once(batch)
            except asyncio.CancelledError:
                self._answer(batch, _STOPPING)
                raise
            self.last, self.last_at = outcome, datetime.now(UTC)
            self.counts[type(outcome).__name__.lower()] += 1
            self._observe(outcome)
            self._answer(batch, outcome)

    async def _once(self, batch: _Batch) -> ReloadOutcome:
        started = time.monotonic()
        try:
            result = await self._load(lambda: self._settled(batch))
            if not batch.explicit:
                result = await self._hold(result)
            return await self._apply(result, started)
        except ConfigInvalid as error:
            return Rejected(error.problems)
        except Exception as error:  # whatever broke, the answer is a refusal: what runs keeps running
            _log.error("reload failed: %s", type(error).__name__, exc_info=error)
            return Rejected((Problem("reload_failed", f"an internal error, see the log: {type(error).__name__}"),))
        finally:
            self.held = None
            self._close_batch(batch)

    async def _settled(self, batch: _Batch) -> None:
        """Returns when the load may read; who asks from then on is served by the next one."""
        if not batch.explicit:
            await self._pause(self._pace.debounce)
        await asyncio.sleep(self._not_before - time.monotonic())
        self._close_batch(batch)
        self._asked.clear()
        self._not_before = time.monotonic() + self._pace.spacing

    def _close_batch(self, batch: _Batch) -> None:
        if self._pending is batch:
            self._pending = None
            self._hurry.clear()

    async def _hold(self, result: Result) -> Result:
        """A file cut off in the middle of being written can be valid: holds an edit that looks so until the file has
        stayed the same for `Pace.hold` seconds. A change of the file and an explicit request end the wait."""
        now = asyncio.get_running_loop().time
        while result.snapshot is not None and (lost := losses(self._gateway.current.snapshot, result.snapshot)):
            held = self.held
            if held is None or held.revision != result.snapshot.revision:
                self.held = held = Held(result.snapshot.revision, lost, now() + self._pace.hold)
                _log.warning(_HELD, " and ".join(lost), self._pace.hold)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(held.until):
                    await self._asked.wait()
            changed = self._asked.is_set()
            result = await self._load(self._settled_again)
            same = result.snapshot is not None and result.snapshot.revision == held.revision
            if self._hurry.is_set() or (same and not changed):
                break
        return result

    async def _settled_again(self) -> None:
        if self._asked.is_set():
            await self._pause(self._pace.debounce)
        self._asked.clear()

    async def _apply(self, result: Result, started: float) -> ReloadOutcome:
        snapshot, live = result.snapshot, self._gateway.current.snapshot
        if snapshot is None:
            return Rejected(result.problems)
        if snapshot.revision == live.revision:
            return Unchanged(snapshot.revision, time.monotonic() - self._live_since)
        await load_translators(snapshot, self._gateway)  # before new listeners let connections queue
        with ExitStack() as stack:
            if len(snapshot.deployments) > _MANY:
                if self._tidying is not None:
                    self._tidying.cancel()
                stack.callback(self._tidy_soon)  # after the freezing
                stack.enter_context(gc_paused())
            staged = await self._prepare(snapshot)
            try:
                lines = await _changes(live, snapshot)
                runtime = await build(snapshot, self._gateway)
            except BaseException:
                await staged.rollback()
                raise
            self._gateway.swap(runtime)
            staged.commit()
        self._live_since = time.monotonic()
        return Applied(snapshot.revision, lines, tuple(warnings(result.problems)), self._live_since - started)

    def _tidy_soon(self) -> None:
        self._tidying = spawn(self._tidy(), name="tidy up")

    async def _tidy(self) -> None:
        """Lets the garbage collector at everything again, when no request is likely to have to wait for it: between two
        requests of a client that sends one after another there are none in flight either."""
        gateway = self._gateway
        while True:
            begun = gateway.begun
            await asyncio.sleep(self._pace.calm)
            await gateway.idle()
            if gateway.begun == begun and not gateway.in_flight:
                collect_frozen()
                return

    async def _pause(self, seconds: float) -> None:
        """Waits, at most until an explicit request comes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    @staticmethod
    def _answer(batch: _Batch, outcome: ReloadOutcome) -> None:
        if not batch.done.done():
            batch.done.set_result(outcome)


async def _changes(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    yielder, lines = Yielder(), []
    for line in steps(old, new):
        if line is not None:
            lines.append(line)
        await yielder()
    return tuple(lines)
