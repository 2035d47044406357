"""Many prompts at once: a bounded number in flight, results in the order of the prompts."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from gatewayd.client import arguments
from gatewayd.client.calls import Prompt
from gatewayd.errors import ConfigurationError

PromptCall = Callable[[Prompt], Awaitable[str]]
Tick = Callable[[], object]
"""Called once for every prompt that is done."""

_MAX_CONCURRENCY = (1, 1000)


async def run_all(
    call: PromptCall, prompts: list[Prompt], *, max_concurrency: int, return_exceptions: bool, tick: Tick
) -> list[Any]:
    """Results in order; exceptions among them, or the first one raised and everything else cancelled."""
    results: list[Any] = [None] * len(prompts)
    waiting = iter(enumerate(prompts))

    async def worker() -> None:
        for index, prompt in waiting:
            try:
                results[index] = await call(prompt)
            except Exception as error:
                if not return_exceptions:
                    raise
                results[index] = error
            tick()

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(max_concurrency, len(prompts))):
                workers.create_task(worker())
    except ExceptionGroup as group:
        first = group.exceptions[0]
    else:
        return results
    raise first


def run_in_thread(make: Callable[[Tick], Coroutine[Any, Any, list[Any]]], tick: Tick) -> list[Any]:
    """Runs a coroutine in an event loop of its own, so that the caller may itself be inside one (a notebook).

    `tick` is called in the calling thread, where a progress bar belongs. An interrupt cancels the coroutine.
    """
    news: SimpleQueue[bool] = SimpleQueue()  # True: one more is done; False: it is over
    known: Future[asyncio.AbstractEventLoop] = Future()
    outcome: Future[list[Any]] = Future()

    def work() -> None:
        try:
            with asyncio.Runner() as runner:
                known.set_result(runner.get_loop())
                result = runner.run(make(lambda: news.put(True)))
            outcome.set_result(result)
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            news.put(False)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="gatewayd-batch", daemon=True)
    thread.start()
    try:
        while news.get():
            tick()
    except BaseException:
        loop = known.result()
        with suppress(RuntimeError):  # the loop is closed: it is over already
            loop.call_soon_threadsafe(_cancel_all, loop)
        raise
    finally:
        thread.join()
    return outcome.result()


def checked(prompts: Iterable[Prompt], max_concurrency: int) -> tuple[list[Prompt], int]:
    """The prompts as a list, and the bound. Raises TypeError, ConfigurationError."""
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Iterable):
        kind = "one text" if isinstance(prompts, str) else type(prompts).__name__
        raise TypeError(f"prompts is a list of prompts, not {kind}")
    return list(prompts), arguments.check_count("max_concurrency", max_concurrency, _MAX_CONCURRENCY)


@contextmanager
def progress_bar(show: bool, total: int) -> Iterator[Tick]:
    """A bar on stderr, or a widget in a notebook; nothing when it is not to be shown."""
    if not show:
        yield lambda: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ConfigurationError(
            "progress=True needs the package tqdm", config_key="progress", suggestion="pip install 'gatewayd[progress]'"
        ) from None
    with tqdm(total=total, unit="prompt") as bar:
        yield bar.update


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
