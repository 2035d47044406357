"""The workers: started, given each configuration all together, replaced when they crash or hang, drained at the end.

It takes the place of `web.side.DataSide` in the daemon, which therefore does not know where requests are answered. An
edit is prepared by every worker and goes live when all are ready, so that all apply it or none does; a worker that dies
meanwhile gets what is live when it comes back. The listening sockets are opened here and stay open, so that connections
wait in their queues while a worker is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from gatewayd.config import channel
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Address, Snapshot
from gatewayd.errors import ConfigInvalid
from gatewayd.fleet.link import Kind
from gatewayd.fleet.member import Gone, Member
from gatewayd.observe.merge import Merged
from gatewayd.tasks import spawn, supervise
from gatewayd.web.doors import Door, open_doors
from gatewayd.web.inherited import Inherited

_log = logging.getLogger("gatewayd.fleet")

PATIENCE = 30.0
"""Seconds without a sign of life after which a worker is stuck, if systemd's watchdog says nothing else."""
_LOOK = 0.5
"""Seconds between two looks at the signs of life."""
_SILENT = 3.0
"""Seconds without a sign of life after which an edit does not wait for a worker."""
_SHORTEST_REST = 0.25
_LONGEST_REST = 10.0
"""Seconds before a worker that crashes again and again is started once more; the first time it is started at once."""
_SETTLED = 60.0
"""Seconds after which a worker counts as sound."""
_GRACE = 4.0
"""Seconds beyond a drain's own within which a worker tells that it is over."""
_ENDING = 2.5
"""Seconds for a worker to end when it is let go."""
_GLANCE = 2.0
"""Seconds for a worker to tell how it is."""


class WorkerLost(ConfigInvalid):
    """A worker could not be started, or ended before it could serve, at the first start: no fault of the
    configuration."""


class Fleet:
    """`size` workers. `died` is called for each one that is replaced. `patience`: seconds; see PATIENCE."""

    def __init__(
        self,
        size: int,
        *,
        environ: Mapping[str, str],
        instance: str = "",
        inherited: Inherited | None = None,
        died: Callable[[], None] = lambda: None,
        patience: float | None = None,
    ) -> None:
        self.size = size
        self._environ = environ
        self._instance = instance
        self._inherited = inherited
        self._died = died
        self._patience = patience or PATIENCE
        self._doors: dict[Address, Door] = {}
        self._live: Snapshot | None = None
        self._members: dict[int, Member] = {}
        self._restarts: dict[int, int] = dict.fromkeys(range(1, size + 1), 0)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._stops: set[asyncio.Task[int]] = set()
        self._commits: set[asyncio.Future[bytes]] = set()
        self._merged = Merged()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the workers listen, ports as the system chose them."""
        return tuple(
            address if address.path else Address(address.host, door.port) for address, door in self._doors.items()
        )

    # --- going live -----------------------------------------------------------------------------------------------

    @property
    def doors(self) -> tuple[Door, ...]:
        return tuple(self._doors.values())

    async def stage(self, snapshot: Snapshot, *, others: Collection[Door] = ()) -> StagedFleet:
        """Has every worker make a snapshot ready. Raises OSError (an address), WorkerLost, ConfigInvalid; then nothing
        changed."""
        opened = open_doors(snapshot.server.listen, self.doors, self._inherited, copies=self.size, others=others)
        prepared: list[Member] = []
        try:
            frames = await _frames(snapshot)
            members = [member for member in await self._all() if self._live is None or member.serving]
            doors = {**self._doors, **opened}
            answers = await asyncio.gather(
                *(self._prepare(member, frames, snapshot, doors) for member in members), return_exceptions=True
            )
            problems: list[Problem] = []
            lost: list[Problem] = []
            for member, answer in zip(members, answers, strict=True):
                if isinstance(answer, Gone):
                    if self._live is None:
                        how = _how(await member.ended())
                        lost.append(Problem("build_failed", f"{member} {how} before it could serve"))
                elif isinstance(answer, BaseException):
                    raise answer
                elif answer:
                    problems += [problem for problem in answer if problem not in problems]
                else:
                    prepared.append(member)
            if problems:
                raise ConfigInvalid(problems)
            if lost:
                raise WorkerLost(lost)
        except BaseException:
            await self._abandon(prepared, opened)
            raise
        return StagedFleet(self, snapshot, opened, prepared)

    async def _prepare(
        self, member: Member, frames: Sequence[bytes], snapshot: Snapshot, doors: Mapping[Address, Door]
    ) -> list[Problem]:
        """As `Member.prepare`. A worker that gives no sign of life counts as gone, after the start: the others do not
        wait for it, and it catches up if it comes back."""
        asked = asyncio.get_running_loop().create_task(member.prepare(frames, snapshot, doors))
        try:
            while not (await asyncio.wait((asked,), timeout=_LOOK))[0]:
                if self._live is not None and time.monotonic() - member.alive_at > _SILENT:
                    raise Gone(f"{member} does not answer")
            return asked.result()
        finally:
            asked.cancel()

    async def _abandon(self, prepared: Sequence[Member], opened: Mapping[Address, Door]) -> None:
        for member in prepared:
            member.abandon()
        for door in opened.values():
            door.close()
        if self._live is None:
            await self._end()

    def _commit(self, snapshot: Snapshot, opened: Mapping[Address, Door], prepared: Sequence[Member]) -> None:
        # Ours first: the last worker to let go of a socket takes those who wait at it.
        for address in [address for address in self._doors if address not in snapshot.server.listen]:
            self._doors.pop(address).close()
        self._doors.update(opened)
        self._live = snapshot
        for member in self._members.values():
            if member in prepared:
                self._go_live(member, snapshot)
            elif member.serving:  # it has come back while the others made ready
                member.serving = False
                _ = spawn(self._catch_up(member), name=f"{member} catches up")

    def _go_live(self, member: Member, snapshot: Snapshot) -> None:
        done = member.commit(snapshot)
        self._commits.add(done)
        done.add_done_callback(self._commits.discard)

    async def settled(self) -> None:
        """Waits until what was committed is live everywhere: as long as a turn of each worker's loop."""
        if self._commits:
            await asyncio.wait(self._commits, timeout=_GLANCE)

    async def first_settled(self) -> None:
        """Waits until every worker of the first configuration has loaded what its deployments need; a worker that ends
        meanwhile is replaced and not waited for. Raises ConfigInvalid."""
        for answer in await asyncio.gather(*self._commits, return_exceptions=True):
            if isinstance(answer, bytes) and answer:
                raise ConfigInvalid([Problem(**found) for found in msgspec.json.decode(answer)])

    async def _catch_up(self, member: Member) -> None:
        """Gives a worker what is live, also if that changes meanwhile."""
        try:
            while (snapshot := self._live) is not None and not self._stopping:
                if problems := await member.prepare(await _frames(snapshot), snapshot, self._doors):
                    _log.error("%s cannot serve: %s", member, problems[0].message)
                    member.kill()
                    return
                if self._live is snapshot:
                    self._go_live(member, snapshot)
                    return
        except Gone:
            return

    # --- keeping them up ------------------------------------------------------------------------------------------

    async def _all(self) -> list[Member]:
        """The workers; starts them if they have not been. Raises WorkerLost."""
        if not self._tasks:
            for number in self._restarts:
                try:
                    self._members[number] = await Member.start(number, self.size, self._environ, self._instance)
                except OSError as error:
                    message = f"worker {number} could not be started: {(error.strerror or str(error)).lower()}"
                    raise WorkerLost([Problem("build_failed", message)]) from error
            self._tasks = [spawn(self._keep(number), name=f"keep worker {number}") for number in self._restarts]
            self._tasks.append(supervise(self._watch, name="watch the workers"))
        return list(self._members.values())

    async def _keep(self, number: int) -> None:
        rest = 0.0
        while True:
            member = self._members[number]
            code = await member.ended()
            if self._stopping or self._live is None:
                return
            self._died()
            self._restarts[number] += 1
            self._merged.retire(member.metrics)
            member.metrics = b""  # from here on they are in the sums of those who are gone
            rest = 0.0 if time.monotonic() - member.started > _SETTLED else rest
            again = f"in {rest:g} s" if rest else "now"
            _log.error("%s %s; its requests are lost, another one is started %s", member, _how(code), again)
            while True:
                await asyncio.sleep(rest)
                rest = min(max(2 * rest, _SHORTEST_REST), _LONGEST_REST)
                try:
                    self._members[number] = await Member.start(number, self.size, self._environ, self._instance)
                    break
                except OSError as error:
                    _log.error("worker %d could not be started: %s", number, error.strerror)
            _ = spawn(self._catch_up(self._members[number]), name=f"worker {number} catches up")

    async def _watch(self) -> None:
        """A worker whose loop stands still is ended, like systemd's watchdog does with a single process."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            for member in self._members.values():
                if now - looked > 4 * _LOOK:  # we have stood still ourselves
                    member.alive_at = now
                    continue
                # One that has not spoken yet is still importing.
                patience = self._patience if member.heard else max(self._patience, PATIENCE)
                if now - member.alive_at > patience and not member.gone:
                    _log.error("%s gave no sign of life for %g s: ending it", member, patience)
                    member.alive_at = now
                    member.abort()
            looked = now

    # --- the end --------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> int:
        """As `DataSide.drain`, by all workers at once; afterwards they are gone."""
        first, self._stopping = not self._stopping, True
        for door in self._doors.values():
            door.close()
        self._doors.clear()
        members = [member for member in self._members.values() if not member.gone]
        stops = [spawn(self._stop(member, seconds), name=f"stop {member}") for member in members]
        self._stops.update(stops)
        struck: int = sum(await asyncio.gather(*stops))
        if first:
            await asyncio.gather(*self._stops)  # those of a second, more urgent call
            await self._end()
        return struck

    async def _stop(self, member: Member, seconds: float) -> int:
        try:
            async with asyncio.timeout(seconds + _GRACE):
                return int(await member.ask(Kind.STOP, str(seconds).encode()))
        except Gone:
            return 0
        except TimeoutError:
            _log.error("%s does not stop: ending it", member)
            member.kill()
            return 0

    async def _end(self) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(member.close(_ENDING) for member in self._members.values()))
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- telling --------------------------------------------------------------------------------------------------

    async def statuses(self) -> list[dict[str, Any]]:
        """How every worker is, in order; one that does not tell has its number and process only."""
        told = await self._ask_all(b"status")
        return [
            {
                "number": member.number,
                "pid": member.pid,
                "restarts": self._restarts[member.number],
                "serving": member.serving,
                **({} if answer is None else msgspec.json.decode(answer)),
            }
            for member, answer in told
        ]

    async def metrics(self, own: bytes) -> bytes:
        """The numbers of this process and of all workers, in Prometheus' text format."""
        told = await self._ask_all(b"metrics")
        for member, answer in told:
            if answer is not None and not member.gone:  # or it is counted among those who are gone
                member.metrics = answer
        return self._merged.render(own, {member.number: member.metrics for member, _ in told})

    async def _ask_all(self, what: bytes) -> list[tuple[Member, bytes | None]]:
        async def ask(member: Member) -> bytes | None:
            with suppress(Gone, TimeoutError):
                async with asyncio.timeout(_GLANCE):
                    return await member.ask(Kind.ASK, what)
            return None

        members = list(self._members.values())
        return list(zip(members, await asyncio.gather(*map(ask, members)), strict=True))


class StagedFleet:
    """The next configuration, ready in all workers; `commit` or `rollback` is called once."""

    def __init__(
        self, fleet: Fleet, snapshot: Snapshot, opened: Mapping[Address, Door], prepared: Sequence[Member]
    ) -> None:
        self._fleet = fleet
        self._snapshot = snapshot
        self._opened = opened
        self._prepared = prepared

    def commit(self) -> None:
        """Cannot fail."""
        self._fleet._commit(self._snapshot, self._opened, self._prepared)

    async def rollback(self) -> None:
        await self._fleet._abandon(self._prepared, self._opened)


async def _frames(snapshot: Snapshot) -> list[bytes]:
    """A snapshot as its readers' frames, without their headers. In a thread: it can be large."""
    result = Result(snapshot, ())
    return await asyncio.to_thread(lambda: [frame[channel.HEADER.size :] for frame in channel.dump(result)])


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
