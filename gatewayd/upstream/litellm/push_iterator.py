"""An asynchronous iterator over an answer's body that is moved by hand: the caller pushes what has arrived and takes
out what litellm makes of it, with no event loop and no task between.
"""

from __future__ import annotations

import contextlib
import types
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Any, Final

NOTHING: Final = object()


class PushIterator:
    """Stands in for the body of httpx's answer: an asynchronous iterator whose items are pushed."""

    def __init__(self, headers: Any) -> None:
        self.status_code = 200
        self.headers = headers
        self.by_line = True
        self._items: deque[Any] = deque()
        self._ended = False

    def give(self, item: Any) -> None:
        self._items.append(item)

    def end(self) -> None:
        self._ended = True

    # --- what handlers call of httpx's answer

    def raise_for_status(self) -> PushIterator:
        return self

    def aiter_lines(self) -> AsyncIterator[str]:
        return self._iterate()

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        self.by_line = False
        return self._iterate()

    async def aclose(self) -> None:
        """The connection is closed by others."""

    async def _iterate(self) -> AsyncIterator[Any]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._ended:
                return
            await _more()


@types.coroutine
def _more() -> Generator[None, None, None]:
    yield


class _Closed(BaseException):
    """Ends an iterator that waits. GeneratorExit would not reach the innermost generator: Python 3.11 leaves that
    running, and the event loop reports an error when it closes it later."""


class SyncStepper:
    """An asynchronous iterator, moved without an event loop. Only a `PushIterator` may make it wait."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = aiter(chunks)
        self._step: Any = None
        self._over = False

    def next(self) -> Any:
        """The next item, which may be None; `NOTHING` when it wants more or has ended. Raises what it raises."""
        if self._over:
            return NOTHING
        step = self._step or anext(self._chunks)
        self._step = None
        try:
            step.send(None)
        except StopIteration as stop:
            return stop.value
        except StopAsyncIteration:
            self._over = True
            return NOTHING
        self._step = step
        return NOTHING

    def close(self) -> None:
        step, self._step = self._step, None
        self._over = True
        with contextlib.suppress(_Closed, StopAsyncIteration, Exception):
            if step is not None:
                step.throw(_Closed)
        close = getattr(self._chunks, "aclose", None)
        with contextlib.suppress(StopIteration, Exception):
            if close is not None:
                close().send(None)
