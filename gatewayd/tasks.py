"""Background tasks that cannot get lost: kept alive, named, their exceptions logged once; those that must never end are
started again, those that take long let the others run."""

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

SHORTEST_REST = 0.1
LONGEST_REST = 30.0
"""Seconds between a failure and the next start; doubled from one failure to the next."""
SETTLED = 60.0
"""Seconds after which work that was started again counts as mended: its next failure is a new one."""


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Starts a task that is referenced until it ends; an exception in it is logged with the task's name."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def supervise(
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    name: str,
    failed: Callable[[str], None] = lambda name: None,
    rest: float = SHORTEST_REST,
) -> asyncio.Task[None]:
    """Starts work that goes on for as long as the process does, and starts it again after each exception (F-07).

    The same failure again and again is logged once; `failed` hears each with the task's name. `rest`: seconds before
    the first new start. Cancelling the task ends it.
    """
    return spawn(_kept_up(work, name, failed, rest), name=name)


async def _kept_up(
    work: Callable[[], Coroutine[Any, Any, None]], name: str, failed: Callable[[str], None], first_rest: float
) -> None:
    rest, told = first_rest, ""
    while True:
        started = time.monotonic()
        try:
            await work()
            return
        except Exception as error:
            if time.monotonic() - started > SETTLED:
                rest, told = first_rest, ""
            failed(name)
            if told != (told := f"{type(error).__name__}: {error}"):
                text = "background task %s failed and is started again: %s"
                _log.error(text, name, type(error).__name__, exc_info=error)
        await asyncio.sleep(rest)
        rest = min(2 * rest, LONGEST_REST)


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("background task %s failed: %s", task.get_name(), type(error).__name__, exc_info=error)


class Breath:
    """For long work on the event loop: `await breath()` between its pieces lets the others run when it is time.

    On the loop and not in a thread: a thread that computes takes the interpreter for five milliseconds at a time, each
    time the loop wants it back.
    """

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float = 0.001) -> None:
        """`seconds`: how long the work may go on at a stretch."""
        self._seconds = seconds
        self._until = time.perf_counter() + seconds

    async def __call__(self) -> None:
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + self._seconds


async def in_steps(steps: Generator[None, None, T]) -> T:
    """Does work that yields now and then, with pauses for the others. Returns what it returns."""
    breath = Breath()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            value: T = done.value
            return value
        await breath()


class OnceInThread(Generic[T]):
    """Long work that a process does at most once, in a daemon thread, so that a process can end in the middle of it.

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
    """Makes threads hand over the interpreter ten times as often, so that an event loop waits 0.5 ms for it, not 5."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def exit_if_threads_run(code: int) -> None:
    """Ends the process at once if an `OnceInThread` still works: the interpreter's own end would stop that thread in
    a C extension, which can abort the process. To be called last."""
    if _threads:
        os._exit(code)
