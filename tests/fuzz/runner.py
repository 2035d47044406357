"""Runs a target in a child process that may crash or hang, and says which input it was."""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

HANG_CPU = 10.0
"""Seconds of CPU that one execution may take."""
HANG_WALL = 300.0
"""Seconds one execution may take while others use the machine."""
_TELL = 30.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    make: Callable[[Random], Any]
    check: Callable[[Any], None]
    """Raises when a promise is broken."""
    runs: int
    """Executions in the test suite: a second or two."""


class Failed(Exception):
    """A promise was broken; the text says by which input."""


def execute(target: Target, seed: int, first: int, runs: int, at: Callable[[int], None] = lambda index: None) -> None:
    """Runs inputs `first` to `first + runs - 1` in this process. Raises Failed."""
    rng = Random()
    for index in range(first, first + runs):
        at(index)
        rng.seed(seed << 64 | index)
        made = target.make(rng)
        try:
            target.check(made)
        except Exception as error:
            again = f"python -m tests.fuzz {target.name} --seed {seed} --first {index} --runs 1"
            shown = repr(made)
            raise Failed(f"{type(error).__name__}: {error}\ninput: {shown[:5000]}\nagain: {again}") from error


def supervise(target: Target, seed: int, first: int, runs: int) -> str:
    """The same in a child process. Returns "" or what went wrong, crashes and hangs included."""
    shared = mmap.mmap(-1, 8)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(target, seed, first, runs, shared)
    told = began
    watch = _Watch(child)
    while True:
        ended, code = os.waitpid(child, os.WNOHANG)
        index = int.from_bytes(shared[:8], "little")
        if ended:
            code = os.waitstatus_to_exitcode(code)
            if code == 0:
                _say(f"{target.name}: {runs:,} executions in {time.monotonic() - began:.0f} s, nothing found")
                return ""
            return f"{target.name}: input {index}" + (f" ended the process with signal {-code}" if code < 0 else "")
        if watch.hangs(index):
            os.kill(child, signal.SIGUSR1)  # where it is
            time.sleep(1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"{target.name}: input {index} hangs"
        if time.monotonic() - told >= _TELL:
            told = time.monotonic()
            _say(f"{target.name}: {index - first:,} of {runs:,} in {told - began:.0f} s")
        time.sleep(0.1)


class _Watch:
    """Notices an execution that takes too long."""

    def __init__(self, child: int) -> None:
        self._clock = (~child << 3) | 2  # the process's CPU time, as clock_getcpuclockid(3) makes it
        self._index = -1
        self._cpu = self._wall = 0.0

    def hangs(self, index: int) -> bool:
        try:
            cpu = time.clock_gettime(self._clock)
        except OSError:  # it has just ended
            return False
        if index != self._index:
            self._index, self._cpu, self._wall = index, cpu, time.monotonic()
        return cpu - self._cpu > HANG_CPU or time.monotonic() - self._wall > HANG_WALL


def _child(target: Target, seed: int, first: int, runs: int, shared: mmap.mmap) -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)

    def at(index: int) -> None:
        shared[:8] = index.to_bytes(8, "little")

    code = 1
    try:
        execute(target, seed, first, runs, at)
        code = 0
    except Failed as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__, limit=-8)
        sys.stderr.write(f"{target.name}: {error}\n")
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
