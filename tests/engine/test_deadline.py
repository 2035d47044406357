"""Limits that share a timer keep the promises of `asyncio.timeout`."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.engine import deadline
from gatewayd.engine.deadline import Deadlines
from tests.clock import HandClock


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets limits of a fraction of a second share timers."""
    monkeypatch.setattr(deadline, "EXACT_BELOW", 0.0)


async def test_what_ends_in_time_leaves_nothing_behind() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    async with deadlines.limit(60):
        assert len(deadlines) == 1
    assert len(deadlines) == 0


async def hangs(deadlines: Deadlines, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with deadlines.limit(seconds):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@pytest.mark.parametrize(("seconds", "late"), [(30.0, 1.0), (4.9, 0.0)], ids=["within a second", "exactly"])
async def test_what_hangs_is_cancelled_at_its_limit(seconds: float, late: float, clock: HandClock) -> None:
    """A long limit may be a second late, a short one is exact."""
    clock.stop()
    deadlines = Deadlines(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(hangs(deadlines, seconds))
    await clock.wind(0.0)
    await clock.wind(seconds - 0.01)
    assert not waiting.done()
    await clock.wind(0.02 + late)
    assert waiting.done()
    await waiting
    assert len(deadlines) == 0


async def test_a_cancellation_from_elsewhere_stays_one(quick: None) -> None:
    deadlines = Deadlines(asyncio.get_running_loop())

    async def limited() -> None:
        async with deadlines.limit(60):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(limited())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(deadlines) == 0


async def test_a_cancellation_from_elsewhere_wins_over_a_limit_that_strikes_as_well(quick: None) -> None:
    deadlines = Deadlines(asyncio.get_running_loop())

    async def limited() -> None:
        async with deadlines.limit(60) as limit:
            assert isinstance(limit, deadline._Limit)
            limit.strike()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(limited())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_passes(quick: None) -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    with pytest.raises(KeyError):
        async with deadlines.limit(60):
            raise KeyError
    assert len(deadlines) == 0


async def test_many_share_few_timers() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())

    async def limited() -> None:
        async with deadlines.limit(60):
            await asyncio.sleep(0)

    await asyncio.gather(*(limited() for _ in range(500)))
    assert len(deadlines) == 0
    assert len(deadlines._due) <= 3
