"""The clock that event loops and the gateway read, in the hand of a test: nothing is waited for, nothing is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

TURNS = 10
"""Turns of the loop in which what has fallen due is dealt with."""


class HandClock:
    """Stands in for `time.monotonic`, and for the timers of the running loop. It runs with the real one until it is
    stopped or put forward. While it is stopped no timer fires: what happens then was not waiting for one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._real = time.monotonic
        self._ahead = 0.0
        self._stopped_at: float | None = None
        self._timers: list[asyncio.TimerHandle] = []
        patch.setattr(time, "monotonic", self)
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):  # asyncio's own reads `time.monotonic`, uvloop does not
            self._loop, self._call_later = loop, loop.call_later
            own: dict[str, Callable[..., object]] = {
                "time": self, "call_at": self._call_at, "_timer_handle_cancelled": lambda handle: None,
                "call_later": lambda delay, *rest, **more: self._call_at(self() + delay, *rest, **more),
            }  # fmt: skip
            for name, function in own.items():
                setattr(loop, name, function)

    def __call__(self) -> float:
        return self._real() + self._ahead if self._stopped_at is None else self._stopped_at

    def stop(self) -> None:
        self._stopped_at = self()

    def start(self) -> None:
        assert self._stopped_at is not None
        self._ahead, self._stopped_at = self._stopped_at - self._real(), None
        for timer in self._timers:
            self._arm(timer)

    def skip(self, seconds: float) -> None:
        """Lets work that is going on take so long."""
        if self._stopped_at is None:
            self._ahead += seconds
        else:
            self._stopped_at += seconds

    async def wind(self, seconds: float) -> None:
        """Puts the clock forward, and returns when what has fallen due has run."""
        self.skip(seconds)
        for _ in range(TURNS):
            self._strike()
            await asyncio.sleep(0)

    def _call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        timer = asyncio.TimerHandle(when, callback, args, self._loop, context)
        self._timers.append(timer)
        if self._stopped_at is None:
            self._arm(timer)
        return timer

    def _arm(self, timer: asyncio.TimerHandle) -> None:
        self._call_later(max(0.0, timer.when() - self()) + 0.001, self._strike)

    def _strike(self) -> None:
        due = [timer for timer in self._timers if timer.cancelled() or timer.when() <= self()]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in sorted(due, key=asyncio.TimerHandle.when):
            if not timer.cancelled():
                timer._run()
