"""Starts the workers, gives every configuration to all of them, replaces those that crash or hang, and drains them.

The daemon uses a `Supervisor` in place of a `DataPlane`, so it does not know where requests are answered. Every worker
prepares an edit, and the edit goes live when all are ready: all apply it or none does. A worker that crashes
meanwhile gets the live configuration when it is replaced. The supervisor opens the listening sockets and keeps them
open, so connections wait in their queues while a worker is replaced.
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
from gatewayd.observe.merger import MetricsMerger
from gatewayd.tasks import spawn, supervise
from gatewayd.web.activation import SocketActivation
from gatewayd.web.listening_socket import ListeningSocket, open_sockets
from gatewayd.workers.channel import MessageKind
from gatewayd.workers.handle import WorkerGone, WorkerHandle

_log = logging.getLogger("gatewayd.workers")

STUCK_AFTER = 30.0
"""Seconds without a sign of life after which a worker counts as stuck, unless systemd's watchdog sets another limit."""
_CHECK_INTERVAL = 0.5
"""Seconds between two checks of the signs of life."""
_UNRESPONSIVE_AFTER = 3.0
"""Seconds without a sign of life after which an edit does not wait for a worker."""
_MIN_BACKOFF = 0.25
_MAX_BACKOFF = 10.0
"""Seconds before a worker that keeps crashing is started again. After its first crash it is started at once."""
_STABLE_AFTER = 60.0
"""Seconds of running after which a worker counts as stable."""
_DRAIN_MARGIN = 4.0
"""Seconds beyond the drain time within which a worker must report the end of its drain."""
_EXIT_TIMEOUT = 2.5
"""Seconds that a worker gets to exit."""
_ANSWER_TIMEOUT = 2.0
"""Seconds that a worker gets to answer a question."""


class WorkerStartFailed(ConfigInvalid):
    """At the first start, a worker could not be started or ended too early. The configuration is not at fault."""


class Supervisor:
    """`size` workers. `on_restart` is called for each replaced worker. `stuck_after`: seconds, see STUCK_AFTER."""

    def __init__(
        self,
        size: int,
        *,
        environ: Mapping[str, str],
        instance: str = "",
        activation: SocketActivation | None = None,
        on_restart: Callable[[], None] = lambda: None,
        stuck_after: float | None = None,
    ) -> None:
        self.size = size
        self._environ = environ
        self._instance = instance
        self._activation = activation
        self._on_restart = on_restart
        self._stuck_after = stuck_after or STUCK_AFTER
        self._listening: dict[Address, ListeningSocket] = {}
        self._live: Snapshot | None = None
        self._workers: dict[int, WorkerHandle] = {}
        self._restarts: dict[int, int] = dict.fromkeys(range(1, size + 1), 0)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._stops: set[asyncio.Task[int]] = set()
        self._commits: set[asyncio.Future[bytes]] = set()
        self._merger = MetricsMerger()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the workers listen, with the ports that the system chose."""
        return tuple(
            address if address.path else Address(address.host, listening.port)
            for address, listening in self._listening.items()
        )

    # --- going live -----------------------------------------------------------------------------------------------

    @property
    def listening(self) -> tuple[ListeningSocket, ...]:
        return tuple(self._listening.values())

    async def stage(self, snapshot: Snapshot, *, others: Collection[ListeningSocket] = ()) -> StagedWorkers:
        """Has every worker prepare a snapshot. Raises OSError (an address), WorkerStartFailed or ConfigInvalid; then
        nothing has changed."""
        opened = open_sockets(snapshot.server.listen, self.listening, self._activation, copies=self.size, others=others)
        prepared: list[WorkerHandle] = []
        try:
            frames = await _frames(snapshot)
            workers = [worker for worker in await self._all() if self._live is None or worker.serving]
            listening = {**self._listening, **opened}
            answers = await asyncio.gather(
                *(self._prepare(worker, frames, snapshot, listening) for worker in workers), return_exceptions=True
            )
            problems: list[Problem] = []
            lost: list[Problem] = []
            for worker, answer in zip(workers, answers, strict=True):
                if isinstance(answer, WorkerGone):
                    if self._live is None:
                        how = _describe_exit(await worker.ended())
                        lost.append(Problem("build_failed", f"{worker} {how} before it could serve"))
                elif isinstance(answer, BaseException):
                    raise answer
                elif answer:
                    problems += [problem for problem in answer if problem not in problems]
                else:
                    prepared.append(worker)
            if problems:
                raise ConfigInvalid(problems)
            if lost:
                raise WorkerStartFailed(lost)
        except BaseException:
            await self._abandon(prepared, opened)
            raise
        return StagedWorkers(self, snapshot, opened, prepared)

    async def _prepare(
        self,
        worker: WorkerHandle,
        frames: Sequence[bytes],
        snapshot: Snapshot,
        listening: Mapping[Address, ListeningSocket],
    ) -> list[Problem]:
        """As `WorkerHandle.prepare`. After the start, a worker without a sign of life counts as gone: the edit does not
        wait for it, and it catches up if it comes back."""
        asked = asyncio.get_running_loop().create_task(worker.prepare(frames, snapshot, listening))
        try:
            while not (await asyncio.wait((asked,), timeout=_CHECK_INTERVAL))[0]:
                if self._live is not None and time.monotonic() - worker.alive_at > _UNRESPONSIVE_AFTER:
                    raise WorkerGone(f"{worker} does not answer")
            return asked.result()
        finally:
            asked.cancel()

    async def _abandon(self, prepared: Sequence[WorkerHandle], opened: Mapping[Address, ListeningSocket]) -> None:
        for worker in prepared:
            worker.abandon()
        for listening in opened.values():
            listening.close()
        if self._live is None:
            await self._end()

    def _commit(
        self, snapshot: Snapshot, opened: Mapping[Address, ListeningSocket], prepared: Sequence[WorkerHandle]
    ) -> None:
        # Close ours first: the process that closes a socket last accepts the connections that wait in its queue.
        for address in [address for address in self._listening if address not in snapshot.server.listen]:
            self._listening.pop(address).close()
        self._listening.update(opened)
        self._live = snapshot
        for worker in self._workers.values():
            if worker in prepared:
                self._go_live(worker, snapshot)
            elif worker.serving:  # it has come back while the others prepared
                worker.serving = False
                _ = spawn(self._catch_up(worker), name=f"{worker} catches up")

    def _go_live(self, worker: WorkerHandle, snapshot: Snapshot) -> None:
        done = worker.commit(snapshot)
        self._commits.add(done)
        done.add_done_callback(self._commits.discard)

    async def settled(self) -> None:
        """Waits until the commit is live in every worker, which takes one iteration of each worker's loop."""
        if self._commits:
            await asyncio.wait(self._commits, timeout=_ANSWER_TIMEOUT)

    async def first_settled(self) -> None:
        """Waits until every worker has loaded what the deployments of the first configuration need. Does not wait for a
        worker that ends meanwhile and is replaced. Raises ConfigInvalid."""
        for answer in await asyncio.gather(*self._commits, return_exceptions=True):
            if isinstance(answer, bytes) and answer:
                raise ConfigInvalid([Problem(**found) for found in msgspec.json.decode(answer)])

    async def _catch_up(self, worker: WorkerHandle) -> None:
        """Gives a worker the live configuration, also if that changes meanwhile."""
        try:
            while (snapshot := self._live) is not None and not self._stopping:
                if problems := await worker.prepare(await _frames(snapshot), snapshot, self._listening):
                    _log.error("%s cannot serve: %s", worker, problems[0].message)
                    worker.kill()
                    return
                if self._live is snapshot:
                    self._go_live(worker, snapshot)
                    return
        except WorkerGone:
            return

    # --- supervision ----------------------------------------------------------------------------------------------

    async def _all(self) -> list[WorkerHandle]:
        """The workers, which the first call starts. Raises WorkerStartFailed."""
        if not self._tasks:
            for number in self._restarts:
                try:
                    self._workers[number] = await WorkerHandle.start(number, self.size, self._environ, self._instance)
                except OSError as error:
                    message = f"worker {number} could not be started: {(error.strerror or str(error)).lower()}"
                    raise WorkerStartFailed([Problem("build_failed", message)]) from error
            self._tasks = [spawn(self._keep(number), name=f"keep worker {number}") for number in self._restarts]
            self._tasks.append(supervise(self._watch, name="watch the workers"))
        return list(self._workers.values())

    async def _keep(self, number: int) -> None:
        rest = 0.0
        while True:
            worker = self._workers[number]
            code = await worker.ended()
            if self._stopping or self._live is None:
                return
            self._on_restart()
            self._restarts[number] += 1
            self._merger.retire(worker.metrics)
            worker.metrics = b""  # from here on they are part of the retired sums
            rest = 0.0 if time.monotonic() - worker.started > _STABLE_AFTER else rest
            when = f"in {rest:g} s" if rest else "now"
            _log.error("%s %s; its requests are lost, its replacement starts %s", worker, _describe_exit(code), when)
            while True:
                await asyncio.sleep(rest)
                rest = min(max(2 * rest, _MIN_BACKOFF), _MAX_BACKOFF)
                try:
                    self._workers[number] = await WorkerHandle.start(number, self.size, self._environ, self._instance)
                    break
                except OSError as error:
                    _log.error("worker %d could not be started: %s", number, error.strerror)
            _ = spawn(self._catch_up(self._workers[number]), name=f"worker {number} catches up")

    async def _watch(self) -> None:
        """Kills a worker whose event loop is stuck, as systemd's watchdog does with a single process."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(_CHECK_INTERVAL)
            now = time.monotonic()
            for worker in self._workers.values():
                if now - checked > 4 * _CHECK_INTERVAL:  # our own loop was stuck
                    worker.alive_at = now
                    continue
                # A worker that has sent nothing yet is still importing.
                stuck_after = self._stuck_after if worker.heard else max(self._stuck_after, STUCK_AFTER)
                if now - worker.alive_at > stuck_after and not worker.gone:
                    _log.error("%s has not responded for %g s: killing it", worker, stuck_after)
                    worker.alive_at = now
                    worker.abort()
            checked = now

    # --- shutdown -------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> int:
        """As `DataPlane.drain`, in all workers at once. They have exited when this returns."""
        first, self._stopping = not self._stopping, True
        for listening in self._listening.values():
            listening.close()
        self._listening.clear()
        workers = [worker for worker in self._workers.values() if not worker.gone]
        stops = [spawn(self._stop(worker, seconds), name=f"stop {worker}") for worker in workers]
        self._stops.update(stops)
        interrupted: int = sum(await asyncio.gather(*stops))
        if first:
            await asyncio.gather(*self._stops)  # also of a second call, with less time
            await self._end()
        return interrupted

    async def _stop(self, worker: WorkerHandle, seconds: float) -> int:
        try:
            async with asyncio.timeout(seconds + _DRAIN_MARGIN):
                return int(await worker.ask(MessageKind.STOP, str(seconds).encode()))
        except WorkerGone:
            return 0
        except TimeoutError:
            _log.error("%s does not stop: killing it", worker)
            worker.kill()
            return 0

    async def _end(self) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.close(_EXIT_TIMEOUT) for worker in self._workers.values()))
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- status and metrics ---------------------------------------------------------------------------------------

    async def statuses(self) -> list[dict[str, Any]]:
        """The status of every worker, in order; of a worker that does not answer only its number and process."""
        answers = await self._ask_all(b"status")
        return [
            {
                "number": worker.number,
                "pid": worker.pid,
                "restarts": self._restarts[worker.number],
                "serving": worker.serving,
                **({} if answer is None else msgspec.json.decode(answer)),
            }
            for worker, answer in answers
        ]

    async def metrics(self, own: bytes) -> bytes:
        """The metrics of this process and of all workers, in Prometheus' text format."""
        answers = await self._ask_all(b"metrics")
        for worker, answer in answers:
            if answer is not None and not worker.gone:  # or they are part of the retired sums
                worker.metrics = answer
        return self._merger.render(own, {worker.number: worker.metrics for worker, _ in answers})

    async def _ask_all(self, what: bytes) -> list[tuple[WorkerHandle, bytes | None]]:
        async def ask(worker: WorkerHandle) -> bytes | None:
            with suppress(WorkerGone, TimeoutError):
                async with asyncio.timeout(_ANSWER_TIMEOUT):
                    return await worker.ask(MessageKind.ASK, what)
            return None

        workers = list(self._workers.values())
        return list(zip(workers, await asyncio.gather(*map(ask, workers)), strict=True))


class StagedWorkers:
    """The next configuration, ready in all workers; `commit` or `rollback` is called once."""

    def __init__(
        self,
        supervisor: Supervisor,
        snapshot: Snapshot,
        opened: Mapping[Address, ListeningSocket],
        prepared: Sequence[WorkerHandle],
    ) -> None:
        self._supervisor = supervisor
        self._snapshot = snapshot
        self._opened = opened
        self._prepared = prepared

    def commit(self) -> None:
        """Cannot fail."""
        self._supervisor._commit(self._snapshot, self._opened, self._prepared)

    async def rollback(self) -> None:
        await self._supervisor._abandon(self._prepared, self._opened)


async def _frames(snapshot: Snapshot) -> list[bytes]:
    """A snapshot as frames of `config.channel`, without their headers. In a thread, because it can be large."""
    result = Result(snapshot, ())
    return await asyncio.to_thread(lambda: [frame[channel.HEADER.size :] for frame in channel.dump(result)])


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
