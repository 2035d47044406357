"""Cancels a coroutine at its k-th suspension: what asyncio can do to a task at any moment, done at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Literal

When = Literal["before", "together"]
"""before: nothing of what is awaited has come. together: it has come, and the task is cancelled before it hears of it;
here a connection that has just been made, or the last byte of an answer, is easily lost."""


class CancelAt:
    """Awaiting it runs `coroutine` in the current task and cancels that task at the `at`-th suspension (1 = first; 0 =
    never)."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, when: When) -> None:
        self._coroutine = coroutine
        self._at = at
        self._when = when
        self.suspensions = 0
        """So far."""

    @property
    def struck(self) -> bool:
        return 0 < self._at <= self.suspensions

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        inner = self._coroutine.__await__()
        error: BaseException | None = None
        while True:
            try:
                awaited = inner.send(None) if error is None else inner.throw(error)
            except StopIteration as over:
                return over.value
            error = None
            self.suspensions += 1
            if self.suspensions == self._at:
                if self._when == "together" and isinstance(awaited, asyncio.Future):
                    awaited.add_done_callback(lambda _: task.cancel())  # before the task's own callback
                else:
                    task.cancel()
            try:
                yield awaited
            except BaseException as thrown:  # handed on to where it belongs
                error = thrown
