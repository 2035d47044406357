"""One worker as the supervisor sees it: a process, a channel to it, and the questions that wait for an answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

import msgspec

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Address, Snapshot
from gatewayd.errors import GatewaydError
from gatewayd.web.listening_socket import ListeningSocket
from gatewayd.workers.channel import Channel, Message, MessageKind
from gatewayd.workers.sockets import pack_sockets

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = """import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
sys.path.append(sys.argv.pop(1))
from gatewayd.workers.worker import worker_main; worker_main()"""
"""`-m gatewayd.workers.worker` would not find a gatewayd that runs from a source tree instead of site-packages.
A worker ignores, from its first instruction on, the signals that a terminal or systemd sends to all processes."""
_NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_ABORT_TIMEOUT = 5.0
"""Seconds between SIGABRT, at which a stuck worker prints its stack, and SIGKILL."""


class WorkerGone(GatewaydError):
    """The worker has exited, or no longer answers."""


class WorkerHandle:
    """See the module. `number`: counted from 1; a worker that replaces another has the same number."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self.number = number
        self.started = self.alive_at = time.monotonic()
        self.serving = False
        """Whether it has the live configuration."""
        self.heard = False
        """Whether it has sent anything yet."""
        self.metrics = b""
        """As the worker reported them last."""
        self._known: frozenset[Address] = frozenset()
        self._process = process
        self._questions = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._channel = Channel(sock, received=self._received, ended=self._gone)

    @classmethod
    async def start(cls, number: int, of: int, environ: Mapping[str, str], instance: str = "") -> Self:
        """Starts worker `number` of `of`. All are one `instance` of gatewayd. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    # -P: do not import modules from the working directory.
                    *(sys.executable, "-P", "-c", _START, _ROOT, str(theirs.fileno()), str(of), instance),
                    stdin=asyncio.subprocess.DEVNULL,
                    env={name: value for name, value in environ.items() if name not in _NOT_FOR_WORKERS},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # signals of the terminal are for the supervisor
                )
            except BaseException:
                ours.close()
                raise
        return cls(number, process, ours)

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        return self._channel.closed

    def ask(self, kind: MessageKind, body: bytes = b"", descriptors: Sequence[int] = ()) -> asyncio.Future[bytes]:
        """Sends a question at once. Returns its answer, or WorkerGone."""
        number = next(self._questions)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        answer.add_done_callback(lambda done: self._answered(number, done))
        self._channel.send(kind, number, body, descriptors)
        if self._channel.closed and not answer.done():
            answer.set_exception(WorkerGone(f"{self} is gone"))
        return answer

    def _answered(self, number: int, answer: asyncio.Future[bytes]) -> None:
        self._waiting.pop(number, None)
        if not answer.cancelled():
            answer.exception()  # marks it as retrieved, also if nothing waits for it any more

    async def prepare(
        self, frames: Sequence[bytes], snapshot: Snapshot, listening: Mapping[Address, ListeningSocket]
    ) -> list[Problem]:
        """Has the worker prepare a snapshot, so that it can go live. Raises WorkerGone."""
        for frame in frames:
            self._channel.send(MessageKind.PART, body=frame)
        listen = tuple(dict.fromkeys(snapshot.server.listen))
        new = {address: listening[address] for address in listen if address not in self._known}
        answer = await self.ask(MessageKind.PREPARE, *pack_sockets(listen, new, self.number - 1))
        return [Problem(**found) for found in msgspec.json.decode(answer)]

    def commit(self, snapshot: Snapshot) -> asyncio.Future[bytes]:
        """The prepared snapshot goes live. The result is done when it is live."""
        self._known = frozenset(snapshot.server.listen)
        self.serving = True
        return self.ask(MessageKind.COMMIT)

    def abandon(self) -> None:
        self._channel.send(MessageKind.ABANDON)

    def abort(self) -> None:
        """Ends a process that does not answer. It prints its stack first, if it can."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGABRT)
        asyncio.get_running_loop().call_later(_ABORT_TIMEOUT, self.kill)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.kill()

    async def close(self, seconds: float) -> None:
        """Closes the channel, at which the worker exits. Kills it if it has not exited after `seconds`."""
        self._channel.close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    async def ended(self) -> int:
        """Waits until the process has exited. Returns its exit code, negative for a signal."""
        code = await self._process.wait()
        self._channel.close()
        return code

    def _received(self, message: Message) -> None:
        self.alive_at, self.heard = time.monotonic(), True
        waiting = self._waiting.get(message.number)
        if message.kind == MessageKind.ANSWER and waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    def _gone(self) -> None:
        self.serving = False
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(WorkerGone(f"{self} is gone"))
