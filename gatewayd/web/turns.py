"""Fairness between connections: work that only one client has piled up is done in small steps, one in each turn of the
event loop.

Without this a client that pipelines thousands of requests, or sends a body in chunks of one byte, stops the loop for as
long as its bytes last, because nothing in that work waits for anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """A queue of steps, in the order in which they were asked for. One object serves all connections of a listener."""

    __slots__ = ("_loop", "_steps")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._steps: deque[Callable[[], object]] = deque()

    def call(self, step: Callable[[], object]) -> None:
        """Calls `step` in a turn of the loop in which no other step is done."""
        if not self._steps:
            self._loop.call_soon(self._grant)
        self._steps.append(step)

    async def next(self) -> None:
        """Waits for such a turn."""
        turn: asyncio.Future[None] = self._loop.create_future()

        def come() -> None:
            if not turn.done():
                turn.set_result(None)

        self.call(come)
        await turn

    def _grant(self) -> None:
        step = self._steps.popleft()
        if self._steps:
            self._loop.call_soon(self._grant)
        step()
