"""Loads gateways in turn, one awake at a time.

Outside its turn a gateway is stopped (SIGSTOP), and so are its load generator and its own mock upstream. In slices of
100 ms whatever else the machine does falls on all gateways alike, and two identical ones differ by about 1 %; in turns
of seconds they differ by 20 %. A stopped process uses no CPU, so what a gateway used in a block is the difference
between the block's two ends.

Latencies do not survive being stopped in the middle: they are measured in turns of seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.client import Load
from benchmarks.measure import usage
from benchmarks.process import Daemon, Failed

SLICE = 0.1
"""Seconds."""


class Generator:
    """A load generator in a process of its own. It begins stopped, loads until SIGINT, and then prints what it saw."""

    def __init__(self, command: Sequence[str], parse: Callable[[str, str], Load]) -> None:
        """`command` stops itself (SIGSTOP) when it is ready to load. `parse` reads its two outputs.

        Raises:
            Failed: it ended instead.
        """
        self._parse = parse
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        state = os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if state is None or state.si_code != os.CLD_STOPPED:
            output, errors = self._process.communicate()
            raise Failed(f"the load generator ended: {(output + errors).strip()[-300:]}")

    def pause(self) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def finish(self, timeout: float = 60.0) -> Load:
        """End it while it is awake; returns what it did.

        Raises:
            Failed: it did not end, or its output makes no sense.
        """
        self._process.send_signal(signal.SIGINT)
        try:
            output, errors = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Failed(f"the load did not end within {timeout:g} s") from error
        return self._parse(output, errors)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def parse(output: str, errors: str) -> Load:
    """Read the line of JSON that `python -m benchmarks.client` prints.

    Raises:
        Failed: it is not there.
    """
    try:
        return Load(**json.loads(output))
    except (ValueError, TypeError):
        raise Failed(f"the load generator said: {(output + errors).strip()[-300:]}") from None


class Contestant(Protocol):
    """Something that answers requests, with the processes that only it needs."""

    @property
    def name(self) -> str: ...

    @property
    def daemons(self) -> Sequence[Daemon]: ...

    @property
    def pid(self) -> int | None:
        """Root of the process tree whose CPU counts; None: there is none."""


@dataclass(slots=True)
class Sample:
    """What one contestant did in one block."""

    load: Load
    cpu: float
    """Seconds of CPU that the gateway used for it."""


class _Turn:
    def __init__(self, contestant: Contestant, generator: Generator) -> None:
        self._contestant = contestant
        self._generator = generator
        self._before = self._cpu()

    def _cpu(self) -> float:
        try:
            return 0.0 if self._contestant.pid is None else usage(self._contestant.pid).cpu
        except ProcessLookupError:
            raise Failed("the gateway ended") from None

    def take(self, seconds: float) -> None:
        for daemon in self._contestant.daemons:
            daemon.resume()
        self._generator.resume()
        time.sleep(seconds)

    def pause(self) -> None:
        self._generator.pause()
        for daemon in self._contestant.daemons:
            daemon.pause()

    def finish(self) -> Sample:
        """Raises Failed."""
        try:
            return Sample(self._generator.finish(), self._cpu() - self._before)
        finally:
            for daemon in self._contestant.daemons:
                daemon.pause()


def take(
    contestants: Sequence[Contestant],
    generator: Callable[[Contestant], Generator],
    *,
    seconds: float,
    slices: int,
) -> dict[str, Sample | Failed]:
    """One block: each contestant is loaded for so many slices of so many seconds. All are stopped before and after.

    Returns:
        By name what each did, or why there is nothing to say of it.
    """
    found: dict[str, Sample | Failed] = {}
    turns: dict[str, _Turn] = {}
    for contestant in contestants:
        try:
            turns[contestant.name] = _Turn(contestant, generator(contestant))
        except Failed as error:
            found[contestant.name] = error
    for number in range(slices):
        for name, turn in turns.items():
            turn.take(seconds)
            if number < slices - 1:
                turn.pause()
                continue
            try:
                found[name] = turn.finish()
            except Failed as error:
                found[name] = error
    return found
