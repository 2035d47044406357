"""A time limit for every request at the price of a set entry.

`asyncio.timeout` arms and disarms a timer of the loop for each use, several microseconds of a request that takes fifty.
The limits of whole tries are minutes long and need not be met to the millisecond: those that end within the same second
share one timer. Short ones (tests, clients in a hurry) are met exactly, by `asyncio.timeout` itself.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Protocol, Self

EXACT_BELOW = 5.0
"""Seconds. From here on a limit may strike up to one second late, a fifth of it at most."""


class Deadlines:
    """The shared timers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, set[Struck]] = {}

    def limit(self, seconds: float) -> asyncio.Timeout | _Limit:
        """An async context manager: cancels what runs in it after `seconds` and raises TimeoutError in its place."""
        if seconds < EXACT_BELOW:
            return asyncio.timeout(seconds)
        return _Limit(self.due(seconds, self._loop.time()))

    def due(self, seconds: float, now: float) -> set[Struck]:
        """Those who are struck together in so many seconds, of which there are EXACT_BELOW at least. Whoever wants to
        be joins them, and leaves when it is done. `now` on the loop's clock, which is the monotonic one."""
        second = math.ceil(now + seconds)
        limits = self._due.get(second)
        if limits is None:
            limits = self._due[second] = set()
            self._loop.call_at(second, self._strike, second)
        return limits

    def _strike(self, second: int) -> None:
        for limit in list(self._due.pop(second)):
            limit.strike()

    def __len__(self) -> int:
        """Limits under way, for tests."""
        return sum(map(len, self._due.values()))


class Struck(Protocol):
    """Somebody whose time can run out."""

    def strike(self) -> None: ...


class _Limit:
    """As `asyncio.Timeout`: a cancellation from elsewhere passes, only its own becomes TimeoutError."""

    __slots__ = ("_limits", "_struck", "_task")

    def __init__(self, limits: set[Struck]) -> None:
        self._limits = limits
        self._struck = False
        self._task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._limits.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.discard(self)
        if not self._struck:
            return
        assert self._task is not None
        if self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def strike(self) -> None:
        assert self._task is not None
        self._struck = True
        self._task.cancel()
