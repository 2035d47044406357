"""What a gateway used, from /proc (proc(5)), and what to say about a handful of samples. Linux only."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a whole process tree at one moment."""

    cpu: float
    """Seconds of user and system time so far, of threads and children that have ended too."""
    rss: int
    """Bytes resident now; pages that processes share count once for each."""


def usage(root: int) -> Usage:
    """What process `root` and its living descendants used.

    Raises:
        ProcessLookupError: there is no such process.
    """
    cpu = 0.0
    pages = 0
    found = False
    for pid in _tree(root):
        fields = _stat(pid)
        if fields is None:
            continue  # ended between the listing and now; its time is in its parent's cutime
        try:
            cpu += time.clock_gettime(_cpu_clock(pid))
        except OSError:
            continue
        found = True
        cpu += (int(fields[13]) + int(fields[14])) / _TICK  # cutime, cstime: of children that were waited for
        pages += int(fields[21])
    if not found:
        raise ProcessLookupError(root)
    return Usage(cpu, pages * _PAGE)


def _cpu_clock(pid: int) -> int:
    """The CPU-time clock of a process, as clock_getcpuclockid(3) makes it: the same as utime + stime of /proc/PID/stat,
    in nanoseconds where those have ticks of 10 ms.
    """
    return (~pid << 3) | 2


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: the second, the command in brackets, may hold spaces."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _tree(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting.extend(children.get(pid, ()))


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range of the samples of one figure."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """Raises ValueError without samples."""
        if not samples:
            raise ValueError("no samples")
        return cls(statistics.median(samples), min(samples), max(samples))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that at least `share` of them do not exceed; 0.0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(len(ordered) * share - 1e-9) - 1, 0)]
