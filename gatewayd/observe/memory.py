"""How near this process is to the memory it may have: its cgroup's limits (a container, `MemoryMax=`) and its own.

What counts of a cgroup is what the kernel cannot take back: not the page cache and not the cache of file names, which
fill any limit in time. Against limits of the process its resident memory counts: the C library keeps the addresses of
what was freed, and uses them again. The stacks of threads count in full, because the kernel counts them.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

_FOR_ANSWERS = 0.9
"""Part of a limit up to which answers are collected: CPython does not survive that memory runs out."""
_UNLIMITED = 1 << 60
"""Bytes; cgroups of version 1 write 2^63 less a page for "no limit"."""
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class _Kind:
    """A version of cgroups: where they are, the files with limits, and what counts of `memory.stat`."""

    base: str
    limits: tuple[str, ...]
    counted: tuple[str, ...]
    taken_back: tuple[str, ...] = ()
    """Parts of what is counted that do not count."""


_V2 = _Kind(
    "sys/fs/cgroup",
    ("memory.high", "memory.max"),
    ("anon", "kernel", "sock", "shmem"),
    taken_back=("slab_reclaimable",),
)
_V1 = _Kind("sys/fs/cgroup/memory", ("memory.limit_in_bytes",), ("total_rss",))
_VIRTUAL, _RESIDENT, _SHARED, _DATA = 0, 1, 2, 5
"""Fields of /proc/PID/statm, in pages."""
_STACK = 8 << 20 if (_soft := resource.getrlimit(resource.RLIMIT_STACK)[0]) == resource.RLIM_INFINITY else _soft
"""Bytes of a thread's stack."""
ABOVE_REST, HIGHEST = 0.05, 0.98
"""Parts of the limit above what is used with no client connected, and of all of it, that may always be used: what other
processes hold, or what never comes back, is no reason to refuse."""


def give_back() -> None:
    """Has the C library return to the system what was freed; glibc keeps it when small pieces lie in between. Takes
    milliseconds."""
    if _trim is not None:
        _trim(0)


try:
    _trim: Callable[[int], int] | None = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError):  # another C library than glibc
    _trim = None

_Source = tuple[Callable[[], int], int]
"""What is used, and the limit, in bytes."""


class Memory:
    """`root` stands for `/`; tests have another."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self.rest = 0.0
        """Part of the limit that is used with no client connected; who watches the memory says so."""
        self._sources = [*self._cgroup(), *self._own()]

    @property
    def limited(self) -> bool:
        return bool(self._sources)

    def fullness(self) -> float:
        """Of all limits, the part that is used of the one that is nearest; 0 without limits."""
        return max((used() / limit for used, limit in self._sources), default=0.0)

    def free(self) -> int:
        """Bytes up to the nearest limit; a very large number without limits."""
        return min((max(0, limit - used()) for used, limit in self._sources), default=_UNLIMITED)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes can be taken and some are left for everything else, whatever is used with no client
        connected (`rest`)."""
        highest = max(_FOR_ANSWERS, min(self.rest + ABOVE_REST, HIGHEST))
        return all(used() + size <= highest * limit for used, limit in self._sources)

    def _cgroup(self) -> Iterator[_Source]:
        """Of this process's cgroup and of those above it, as far as they can be seen."""
        for line in self._read("proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            kind = _V2 if controllers == "" else _V1 if "memory" in controllers.split(",") else None
            if kind is None:
                continue
            # In a container the path may be the host's, and the container's own cgroup is mounted at the base.
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(parts), -1, -1):
                folder = "/".join((kind.base, *parts[:depth]))
                limits = [
                    int(text) for name in kind.limits if (text := self._read(f"{folder}/{name}").strip()).isdecimal()
                ]
                if limits and (limit := min(limits)) < _UNLIMITED:
                    yield partial(self._held, folder, kind), limit

    def _own(self) -> Iterator[_Source]:
        for which, number in ((resource.RLIMIT_AS, _VIRTUAL), (resource.RLIMIT_DATA, _DATA)):
            limit, _ = resource.getrlimit(which)
            if 0 < limit < _UNLIMITED:
                # Libraries have addresses that no memory stands behind, and that do not come back.
                unused = max(0, self._pages(number) - self._resident())
                yield partial(self._needed, unused, self._threads()), limit

    def _held(self, folder: str, kind: _Kind) -> int:
        facts = dict(line.split(" ", 1) for line in self._read(f"{folder}/memory.stat").splitlines())
        held = sum(int(facts.get(name, 0)) for name in kind.counted)
        # Linux before 5.18 tells of no `kernel`, of which the caches are a part.
        return held - sum(int(facts.get(name, 0)) for name in kind.taken_back if "kernel" in facts)

    def _needed(self, unused: int, threads: int) -> int:
        return self._resident() + unused + max(0, self._threads() - threads) * _STACK

    def _resident(self) -> int:
        return self._pages(_RESIDENT) - self._pages(_SHARED)

    def _threads(self) -> int:
        fields = self._read("proc/self/stat").rpartition(")")[2].split()
        return int(fields[17]) if fields else 0

    def _pages(self, number: int) -> int:
        fields = self._read("proc/self/statm").split()
        return int(fields[number]) * _PAGE if fields else 0

    def _read(self, path: str) -> str:
        try:
            with open(os.path.join(self._root, path), encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError:
            return ""


@cache
def own_memory() -> Memory:
    """Of this process."""
    return Memory()
