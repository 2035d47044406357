"""The daemon under soak: a process, what it has open, and what it complains of."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.process import PATIENCE, environment, limited, of_edit

KEY = "sk-soak-0123456789abcdef"
_COMPLAINTS = (
    b"Traceback",
    b"never retrieved",
    b"Unclosed",
    b"unhandled",
    b"was destroyed",
    b"background task",
    b"failed:",
)

_POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads in asyncio's pool at most."""


@dataclass(frozen=True, slots=True)
class Open:
    """What grows when something leaks."""

    files: int
    threads: int
    tasks: int
    clients: int
    busy: int
    """Connections to upstreams that carry a request."""
    idle: int

    def grown_from(self, before: Open) -> bool:
        """Whether there is more than before. The event loop's thread pool starts threads as it needs them, and keeps
        them: that is no leak as long as they are not more than it may have."""
        free = {"threads": _POOL}
        return any(getattr(self, name) > getattr(before, name) + free.get(name, 0) for name in self.__slots__)

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, name)} {name}" for name in self.__slots__)


def configuration(data: int, admin: int, upstream: int, edit: int, *, patient: bool = False) -> str:
    """The file; every `edit` differs from the others: in a timeout, in a whole deployment, or by mistakes.

    `patient`: it waits for upstreams for a minute, not for a second.
    """
    models = [
        f"- model_name: {group}\n  litellm_params:\n    model: openai/m\n    api_base: http://127.0.0.1:{upstream}/v1\n"
        f"    api_key: sk-upstream-{name}-{0 if name != 'changing' else edit}\n"
        for group, name in (("chat", "one"), ("chat", "two"), ("chat", "changing"), ("spare", "three"))
    ]
    text = "model_list:\n" + "".join(models)
    text += f"general_settings: {{master_key: {KEY}}}\n"
    text += "router_settings: {cooldown_time: 0.02, fallbacks: [{chat: [spare]}]}\n"
    text += f"gatewayd: {{listen: '127.0.0.1:{data}', admin: '127.0.0.1:{admin}', drain: 5, "
    silence = 60 if patient else 1
    return text + f"timeouts: {{first_byte: {silence}, idle: {silence}, total: {100 + edit}}}}}\n"


MISTAKES = (
    lambda text: text.replace("model_list", "modle_list"),
    lambda text: text.replace("openai/m", "nobody/m"),
    lambda text: text[: len(text) // 2] + "\n  - [",
    lambda text: text.replace("cooldown_time: 0.02", "cooldown_time: soon"),
    lambda text: text.replace("chat: [spare]", "chat: [nowhere]"),
)


class Gateway:
    """Entered by `running`."""

    def __init__(self, folder: Path, upstream: int, process: asyncio.subprocess.Process, data: int, admin: int) -> None:
        self._file = folder / "gatewayd.yaml"
        self._upstream = upstream
        self._process = process
        self._edits = itertools.count(1)
        self.data = data
        self.admin = admin
        self.complaints: list[str] = []
        self.reloads = {"applied": 0, "rejected": 0}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def follow(self) -> None:
        """Reads the log to its end, which is needed, and keeps what should not be in it."""
        log = self._process.stderr
        assert log is not None
        rest = b""
        while data := await log.read(1 << 20):
            data = rest + data
            if any(word in data for word in _COMPLAINTS) and len(self.complaints) < 20:
                lines = data.splitlines()
                self.complaints += [
                    b" / ".join(lines[at : at + 12]).decode(errors="replace")
                    for at, line in enumerate(lines)
                    if any(word in line for word in _COMPLAINTS)
                ][:5]
            rest = data[data.rfind(b"\n") + 1 :]

    async def edit(self, *, good: bool) -> None:
        """Changes the file and asks for a reload; raises AssertionError if it ends otherwise than it should."""
        number = next(self._edits)
        text = configuration(self.data, self.admin, self._upstream, number)
        wanted = "applied" if good else "rejected"
        if not good:
            text = MISTAKES[number % len(MISTAKES)](text)
        scratch = self._file.with_suffix(".next")
        scratch.touch(mode=0o600)
        scratch.write_text(text)
        saved = time.monotonic()
        os.replace(scratch, self._file)
        answer = of_edit(json.loads(await self.ask("POST", "/reload")), saved)
        assert answer["result"] == wanted, answer
        self.reloads[wanted] += 1

    async def opened(self) -> Open:
        numbers = await self.metrics()
        status = self._status()
        return Open(
            files=len(os.listdir(f"/proc/{self.pid}/fd")),
            threads=int(status["Threads"]),
            tasks=int(numbers["gatewayd_tasks"]),
            clients=int(numbers["gatewayd_client_connections"]),
            busy=int(numbers['gatewayd_upstream_connections{state="busy"}']),
            idle=int(numbers['gatewayd_upstream_connections{state="idle"}']),
        )

    def memory(self) -> int:
        """Bytes of its own that it holds, wherever they are: RssAnon and VmSwap of proc(5)."""
        status = self._status()
        return 1024 * sum(int(status[name].split()[0]) for name in ("RssAnon", "VmSwap"))

    async def metrics(self) -> dict[str, float]:
        text = (await self.ask("GET", "/metrics")).decode()
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def ask(self, method: str, path: str) -> bytes:
        """Asks the admin side; the body of the answer."""
        async with asyncio.timeout(2 * PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
            head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            try:
                writer.write(f"{head}content-length: 0\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return answer.partition(b"\r\n\r\n")[2]

    async def stop(self) -> int:
        """Asks it to stop; its exit code."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2 * PATIENCE):
            return await self._process.wait()

    def _status(self) -> dict[str, Any]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    upstream: int,
    data: int,
    admin: int,
    *,
    patient: bool = False,
    memory_mb: int | None = None,
    workers: int = 1,
) -> AsyncIterator[Gateway]:
    """A daemon that serves, in front of the upstream on a port of this machine. `memory_mb`: what it may have."""
    file = folder / "gatewayd.yaml"
    file.touch(mode=0o600)
    file.write_text(configuration(data, admin, upstream, 0, patient=patient))
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            *limited(memory_mb),
            "-m",
            "gatewayd",
            "run",
            "--config",
            str(file),
            *(("--workers", str(workers)) if workers > 1 else ()),
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    gateway = Gateway(folder, upstream, process, data, admin)
    following = asyncio.create_task(gateway.follow())
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _serves(gateway):
                assert gateway.alive, gateway.complaints
                await asyncio.sleep(0.05)
        yield gateway
    finally:
        if gateway.alive:
            process.kill()
        await process.wait()
        await following


async def _serves(gateway: Gateway) -> bool:
    try:
        return b'"ready": true' in await gateway.ask("GET", "/status")
    except OSError:
        return False
