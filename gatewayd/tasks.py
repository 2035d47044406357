"""Background tasks: referenced until they end, named, their exceptions logged. A task that must never end is restarted
after an exception; long work yields to other tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

_log = logging.getLogger("gatewayd.tasks")
_running: set[asyncio.Task[Any]] = set()
_threads: set[Future[Any]] = set()

T = TypeVar("T")

MIN_BACKOFF = 0.1
MAX_BACKOFF = 30.0
"""Seconds between a failure and the restart. Doubled after each failure."""
STABLE_AFTER = 60.0
"""Seconds of running after which earlier failures no longer count."""


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Starts a task and references it until it ends. Logs an exception in it with the task's name."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def supervise(
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    name: str,
    failed: Callable[[str], None] = lambda name: None,
    rest: float = MIN_BACKOFF,
) -> asyncio.Task[None]:
    """Starts work that runs as long as the process, and restarts it after each exception (F-07).

    A repeated failure is logged once. `failed` is called with the task's name after each. `rest`: seconds before the
    first restart. Cancelling the task ends it.
    """
    return spawn(_restarted(work, name, failed, rest), name=name)


async def _restarted(
    work: Callable[[], Coroutine[Any, Any, None]], name: str, failed: Callable[[str], None], first_rest: float
) -> None:
    rest, logged = first_rest, ""
    while True:
        started = time.monotonic()
        try:
            await work()
            return
        except Exception as error:
            if time.monotonic() - started > STABLE_AFTER:
                rest, logged = first_rest, ""
            failed(name)
            if logged != (logged := f"{type(error).__name__}: {error}"):
                text = "background task %s failed and is restarted: %s"
                _log.error(text, name, type(error).__name__, exc_info=error)
        await asyncio.sleep(rest)
        rest = min(2 * rest, MAX_BACKOFF)


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("background task %s failed: %s", task.get_name(), type(error).__name__, exc_info=error)


class Yielder:
    """For long work on the event loop: `await yielder()` between two pieces of work lets other tasks run if it is time.

    Such work does not run in a thread, because a computing thread holds the interpreter for five milliseconds whenever
    the loop needs it.
    """

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float = 0.001) -> None:
        """`seconds`: how long the work may run without yielding."""
        self._seconds = seconds
        self._until = time.perf_counter() + seconds

    async def __call__(self) -> None:
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + self._seconds


async def in_steps(steps: Generator[None, None, T]) -> T:
    """Runs a generator, and lets other tasks run between its steps. Returns the generator's result."""
    yielder = Yielder()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            value: T = done.value
            return value
        await yielder()


class OnceInThread(Generic[T]):
    """Long work that a process does at most once, in a daemon thread, so that the process can exit in the middle of it.

    Call the object to get the result: the first call starts the work, later ones wait for the same result. After an
    exception the next call starts the work again.
    """

    def __init__(self, work: Callable[[], T], *, name: str) -> None:
        self._work = work
        self._name = name
        self._result: Future[T] | None = None
        self._lock = threading.Lock()

    async def __call__(self) -> T:
        with self._lock:
            result = self._result
            if result is None or (result.done() and result.exception() is not None):
                self._result = result = Future()
                result.set_running_or_notify_cancel()  # from here on, a cancelled caller cancels only its own waiting
                _threads.add(result)
                threading.Thread(target=self._run, args=(result,), name=self._name, daemon=True).start()
        return await asyncio.wrap_future(result)

    def _run(self, result: Future[T]) -> None:
        try:
            with short_switch_interval():
                value = self._work()
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)
        finally:
            _threads.discard(result)


@contextmanager
def short_switch_interval() -> Iterator[None]:
    """Threads release the interpreter ten times as often, so that an event loop waits 0.5 ms for it instead of 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def exit_if_threads_run(code: int) -> None:
    """Exits the process at once if an `OnceInThread` is still running. To be called last.

    A normal exit would stop that thread in a C extension, which can abort the process.
    """
    if _threads:
        os._exit(code)
