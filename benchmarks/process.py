"""Starting a process on one core, waiting until it answers, and ending it again."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Target
from benchmarks.measure import usage


class Failed(Exception):
    """A process did not start or an installation did not work; the text says why."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class StartUp:
    """From the start of the process to its first good answer."""

    wall: float
    cpu: float
    rss: int


class Daemon:
    """A running process tree of ours, in a session of its own, pinned to one core."""

    def __init__(
        self, command: Sequence[str], *, core: int, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "output.log"
        # An interpreter that may not cache its bytecode compiles everything at each start: not what a user sees.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._started = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ready(self, target: Target, body: bytes, timeout: float) -> StartUp:
        """Wait until a POST of `body` is answered with 200.

        Raises:
            Failed: the process ended, or `timeout` seconds went by.
        """
        last = "nobody listens"
        while time.monotonic() - self._started < timeout:
            if (code := self._process.poll()) is not None:
                raise Failed(f"ended with exit code {code}: {self.tail()}")
            try:
                status, text = _post(target, body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
                continue
            if status == 200:
                wall = time.monotonic() - self._started
                used = usage(self.pid)
                return StartUp(wall, used.cpu, used.rss)
            last = f"status {status}: {text}"
            time.sleep(0.02)
        raise Failed(f"not ready after {timeout:g} s ({last}): {self.tail()}")

    def listening(self, port: int, timeout: float = 10.0) -> None:
        """Wait until a loopback port accepts connections.

        Raises:
            Failed: the process ended, or `timeout` seconds went by.
        """
        while time.monotonic() - self._started < timeout:
            if (code := self._process.poll()) is not None:
                raise Failed(f"ended with exit code {code}: {self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                return
            except OSError:
                time.sleep(0.005)
        raise Failed(f"not listening after {timeout:g} s: {self.tail()}")

    def pause(self) -> None:
        """Stop everything in the process's session until `resume`. A process that has ended stays so."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self) -> None:
        """SIGTERM, and after five seconds SIGKILL, to everything in the process's session."""
        self.resume()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()

    def tail(self, lines: int = 3) -> str:
        """The end of what the process printed, on one line."""
        text = self.log.read_bytes()[-4096:].decode(errors="replace")
        return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:]) or "no output"


def _post(target: Target, body: bytes) -> tuple[int, str]:
    host, port = target.address
    connection = http.client.HTTPConnection(host, port, timeout=10.0)
    try:
        headers = {"content-type": "application/json", **target.headers}
        connection.request("POST", target.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()[:200].decode(errors="replace")
    finally:
        connection.close()
