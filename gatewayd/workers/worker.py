"""A process that answers requests. It gets its configuration and its sockets from the supervisor.

It ignores the signals that a terminal or a service manager sends to all processes. When the supervisor exits, a worker
closes its listening sockets at once, so that the next daemon can open them, and exits when its requests have ended.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import socket
import sys
import time
from contextlib import ExitStack, suppress
from typing import Any

import msgspec

from gatewayd.access.secrets import secrets_by_part
from gatewayd.admin.views import health_view
from gatewayd.config.channel import Assembler
from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Snapshot
from gatewayd.engine.build import build, load_translators
from gatewayd.engine.installation import id_secret
from gatewayd.engine.runtime import Gateway, Runtime
from gatewayd.errors import ConfigInvalid
from gatewayd.gc_tuning import gc_paused
from gatewayd.observe import log
from gatewayd.observe.loop_errors import LoopErrors
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.redact import Redactor
from gatewayd.process import Exports, begin_start, end_start, loop_factory
from gatewayd.tasks import Yielder, exit_if_threads_run, spawn, supervise
from gatewayd.web.data_plane import DataPlane
from gatewayd.web.listener import StagedSockets
from gatewayd.workers.channel import Channel, Message, MessageKind
from gatewayd.workers.sockets import unpack_sockets

_log = logging.getLogger("gatewayd.worker")

ALIVE_EVERY = 0.5
"""Seconds between two signs of life, sent from the loop that answers requests."""
_MANY_PARTS = 8
"""About five hundred deployments; see `gc_tuning`."""
_TURNS = 3
"""Iterations of the loop in which it releases closed listening sockets."""
SETTLE = 1.5
"""Seconds that connections to upstreams get to close at the end."""


def worker_main() -> None:
    """The process. Arguments: the descriptor of its channel, the number of workers, and `Gateway.instance`."""
    faulthandler.enable(2)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3]))
    log.finish()
    exit_if_threads_run(0)


async def _serve(sock: socket.socket, processes: int, instance: str) -> None:
    begin_start()
    redactor = Redactor()
    log.set_up("text", "info", redactor)
    asyncio.get_running_loop().set_exception_handler(LoopErrors())
    await Worker(sock, redactor, processes, instance).run()


class Worker:
    """Carries out the messages of its channel."""

    def __init__(self, sock: socket.socket, redactor: Redactor, processes: int, instance: str) -> None:
        self._gateway = Gateway(instance=instance, id_secret=id_secret(os.environ))
        self._metrics = Metrics()
        self._data = DataPlane(self._gateway, self._metrics, processes=processes)
        self._redactor = redactor
        self._exports = Exports(dict(os.environ))
        self._started = time.monotonic()
        self._assembler = Assembler()
        self._parts = 0
        self._gc_pause = ExitStack()
        self._snapshot: Snapshot | None = None
        """The last one that was received completely."""
        self._next: tuple[Snapshot, Runtime, StagedSockets] | None = None
        self._serving = False
        self._supervisor_gone = asyncio.Event()
        self._channel = Channel(sock, received=self._received, ended=self._supervisor_gone.set)

    async def run(self) -> None:
        """Returns when the supervisor has exited and all requests have ended."""
        failed = self._metrics.task_failed
        alive = supervise(self._say_alive, name="signs of life", failed=failed)
        memory = supervise(self._data.watch_memory, name="watch the memory", failed=failed)
        await self._supervisor_gone.wait()
        if self._serving:
            _log.warning("the supervisor has exited: stopping")
            await self._data.drain(self._gateway.current.snapshot.server.drain)
        alive.cancel()
        memory.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                await self._gateway.close()

    def _received(self, message: Message) -> None:
        match message.kind:
            case MessageKind.PART:
                self._parts += 1
                if self._parts == _MANY_PARTS:
                    self._gc_pause.enter_context(gc_paused())
                if (result := self._assembler.feed(message.body)) is not None:
                    self._snapshot, self._assembler = result.snapshot, Assembler()
            case MessageKind.PREPARE:
                _ = spawn(self._prepare(message, self._snapshot), name="prepare")
            case MessageKind.COMMIT:
                self._commit()
                _ = spawn(self._committed(message.number), name="commit")
            case MessageKind.ABANDON:
                _ = spawn(self._abandon(), name="abandon")
            case MessageKind.ASK:
                self._channel.send(MessageKind.ANSWER, message.number, self._answer_to(message.body))
            case MessageKind.STOP:
                _ = spawn(self._stop(message), name="drain")
            case MessageKind.ANSWER | MessageKind.ALIVE:
                pass

    async def _prepare(self, message: Message, snapshot: Snapshot | None) -> None:
        problems: tuple[Problem, ...] = ()
        listen, opened = unpack_sockets(message.body, message.descriptors)
        await self._abandon()
        try:
            assert snapshot is not None
            yielder = Yielder()
            for secrets in secrets_by_part(snapshot):
                self._redactor.know(secrets)
                await yielder()
            if self._serving:  # at the start, requests that need no translator are answered meanwhile
                await load_translators(snapshot, self._gateway)
            runtime = await build(snapshot, self._gateway)
            try:
                staged = await self._data.stage(snapshot, listen, opened)
            except BaseException:
                await runtime.retire()
                raise
            self._next = snapshot, runtime, staged
        except ConfigInvalid as error:
            problems = error.problems
        except Exception as error:
            _log.error("a configuration could not be made live", exc_info=error)
            problems = (Problem("build_failed", f"a worker could not make it live: {type(error).__name__}"),)
        if problems:
            for listening in opened.values():
                listening.close()
        self._parts = 0
        self._gc_pause.close()
        self._channel.send(
            MessageKind.ANSWER, message.number, msgspec.json.encode([problem.as_dict() for problem in problems])
        )

    def _commit(self) -> None:
        assert self._next is not None
        (snapshot, runtime, staged), self._next = self._next, None
        first, self._serving = not self._serving, True
        self._gateway.loading |= first
        self._gateway.swap(runtime)
        staged.commit()
        self._exports.apply(snapshot.environment)
        log.set_up(snapshot.server.log.format, snapshot.server.log.level, self._redactor)

    async def _committed(self, number: int) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        problems = await self._end_start() if self._gateway.loading else ()
        self._channel.send(MessageKind.ANSWER, number, msgspec.json.encode(problems) if problems else b"")

    async def _end_start(self) -> list[dict[str, Any]]:
        problems: list[dict[str, Any]] = []
        try:
            await load_translators(self._gateway.current.snapshot, self._gateway)
        except ConfigInvalid as error:
            problems = [problem.as_dict() for problem in error.problems]
            _log.error("%s", error.problems[0].message)
        self._gateway.loading = False
        end_start()
        return problems

    async def _abandon(self) -> None:
        if self._next is not None:
            (_, runtime, staged), self._next = self._next, None
            await staged.rollback()
            await runtime.retire()

    def _answer_to(self, what: bytes) -> bytes:
        if what == b"metrics":
            return self._metrics.render()
        if not self._serving:
            return b"{}"
        now = time.monotonic()
        return health_view(self._gateway, now - self._started, now)

    async def _stop(self, message: Message) -> None:
        interrupted = await self._data.drain(float(message.body))
        self._channel.send(MessageKind.ANSWER, message.number, str(interrupted).encode())

    async def _say_alive(self) -> None:
        while True:
            self._channel.send(MessageKind.ALIVE)
            await asyncio.sleep(ALIVE_EVERY)
