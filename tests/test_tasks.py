"""Tasks that are kept until they end, and tasks that are restarted."""

import asyncio
import logging
import threading

import pytest

from gatewayd.tasks import OnceInThread, Yielder, spawn, supervise


async def test_an_exception_is_logged_once_with_the_tasks_name(caplog: pytest.LogCaptureFixture) -> None:
    """F-07"""

    async def work() -> None:
        raise ValueError("broken")

    await asyncio.wait([spawn(work(), name="the work")])
    await asyncio.sleep(0)
    assert caplog.messages == ["background task the work failed: ValueError"]


async def test_work_is_restarted_after_an_exception_and_each_one_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """F-07"""
    starts, counted, well = 0, list[str](), asyncio.Event()

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts <= 3:
            raise ValueError("broken")
        if starts == 4:
            raise OSError("broken otherwise")
        well.set()
        await asyncio.Event().wait()

    task = supervise(work, name="the work", failed=counted.append, rest=0.001)
    async with asyncio.timeout(30):
        await well.wait()
    assert counted == ["the work"] * 4
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["ValueError", "OSError"]
    assert all(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_the_backoff_grows_from_failure_to_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """F-07: a task that cannot live must not keep the processor busy."""
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 12:
            raise asyncio.CancelledError

    async def work() -> None:
        raise ValueError

    monkeypatch.setattr("gatewayd.tasks.asyncio.sleep", sleep)
    await asyncio.wait([supervise(work, name="the work")])
    assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]


async def test_work_that_returns_is_not_restarted() -> None:
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1

    async with asyncio.timeout(30):
        await supervise(work, name="the work")
    assert starts == 1


async def test_long_work_yields_to_other_tasks() -> None:
    """E-30"""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = spawn(other(), name="other")
    hurried, yielder = Yielder(3600.0), Yielder(0.0)
    for _ in range(1000):
        await hurried()
    assert turns == 0
    for _ in range(1000):
        await yielder()
    task.cancel()
    assert turns >= 1000


async def test_work_in_a_thread_runs_once_for_all_callers() -> None:
    """U-C11: who stops waiting takes nothing from the others."""
    go_on, runs = threading.Event(), []

    def work() -> int:
        runs.append(threading.current_thread().daemon)
        go_on.wait()
        return len(runs)

    once = OnceInThread(work, name="test")
    impatient = asyncio.ensure_future(once())
    waiting = [asyncio.ensure_future(once()) for _ in range(3)]
    await asyncio.sleep(0)
    impatient.cancel()
    go_on.set()
    assert await asyncio.gather(*waiting) == [1, 1, 1]
    assert await once() == 1
    assert runs == [True]


async def test_work_in_a_thread_that_failed_is_tried_again() -> None:
    results: list[int | Exception] = [ImportError("no"), 7]

    def work() -> int:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    once = OnceInThread(work, name="test")
    with pytest.raises(ImportError):
        await once()
    assert await once() == 7
