"""One worker as the deciding process sees it: a process, a link to it, and the questions that wait for an answer."""

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
from gatewayd.fleet.doors import packed
from gatewayd.fleet.link import Kind, Link, Message
from gatewayd.web.doors import Door

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = """import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
sys.path.append(sys.argv.pop(1))
from gatewayd.fleet.worker import main; main()"""
"""`-m gatewayd.fleet.worker` would not find a gatewayd that runs from a source tree instead of site-packages.
Signals that all processes are sent (systemd without `KillMode=mixed`) are not for a worker, from its beginning on."""
_NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_LAST_WORDS = 5.0
"""Seconds between SIGABRT, which makes a stuck worker show where, and SIGKILL."""


class Gone(GatewaydError):
    """The worker has ended, or does not answer any more."""


class Member:
    """See the module. `number`: its place among the workers, from 1; who replaces another takes its place."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self.number = number
        self.started = self.alive_at = time.monotonic()
        self.serving = False
        """Whether it has the live configuration."""
        self.heard = False
        """Whether it has sent anything yet."""
        self.metrics = b""
        """As it told them last."""
        self._known: frozenset[Address] = frozenset()
        self._process = process
        self._questions = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._link = Link(sock, received=self._received, ended=self._gone)

    @classmethod
    async def start(cls, number: int, of: int, environ: Mapping[str, str], instance: str = "") -> Self:
        """The worker with this number, of so many, which are one `instance` of gatewayd. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    # -P: the folder the daemon was started in is no place to import modules from.
                    *(sys.executable, "-P", "-c", _START, _ROOT, str(theirs.fileno()), str(of), instance),
                    stdin=asyncio.subprocess.DEVNULL,
                    env={name: value for name, value in environ.items() if name not in _NOT_FOR_WORKERS},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # what a terminal tells its group is for the deciding process
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
        return self._link.closed

    def ask(self, kind: Kind, body: bytes = b"", descriptors: Sequence[int] = ()) -> asyncio.Future[bytes]:
        """Sends a question at once; its answer, or Gone."""
        number = next(self._questions)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        answer.add_done_callback(lambda done: self._answered(number, done))
        self._link.send(kind, number, body, descriptors)
        if self._link.closed and not answer.done():
            answer.set_exception(Gone(f"{self} is gone"))
        return answer

    def _answered(self, number: int, answer: asyncio.Future[bytes]) -> None:
        self._waiting.pop(number, None)
        if not answer.cancelled():
            answer.exception()  # seen, also if nobody waits for it any more

    async def prepare(
        self, frames: Sequence[bytes], snapshot: Snapshot, doors: Mapping[Address, Door]
    ) -> list[Problem]:
        """Has a snapshot made ready to go live. Raises Gone."""
        for frame in frames:
            self._link.send(Kind.PART, body=frame)
        listen = tuple(dict.fromkeys(snapshot.server.listen))
        new = {address: doors[address] for address in listen if address not in self._known}
        answer = await self.ask(Kind.PREPARE, *packed(listen, new, self.number - 1))
        return [Problem(**found) for found in msgspec.json.decode(answer)]

    def commit(self, snapshot: Snapshot) -> asyncio.Future[bytes]:
        """What was prepared goes live; done when it has."""
        self._known = frozenset(snapshot.server.listen)
        self.serving = True
        return self.ask(Kind.COMMIT)

    def abandon(self) -> None:
        self._link.send(Kind.ABANDON)

    def abort(self) -> None:
        """Ends a process that does not answer; it shows where it is stuck, if it can."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGABRT)
        asyncio.get_running_loop().call_later(_LAST_WORDS, self.kill)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.kill()

    async def close(self, seconds: float) -> None:
        """Lets it go; it ends by itself within `seconds`, or is ended."""
        self._link.close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    async def ended(self) -> int:
        """Waits for the end of the process: its exit code, negative for a signal."""
        code = await self._process.wait()
        self._link.close()
        return code

    def _received(self, message: Message) -> None:
        self.alive_at, self.heard = time.monotonic(), True
        waiting = self._waiting.get(message.number)
        if message.kind == Kind.ANSWER and waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    def _gone(self) -> None:
        self.serving = False
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Gone(f"{self} is gone"))
