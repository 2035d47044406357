"""The clock that tests wind by hand does the same on both event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop

from tests.clock import HandClock


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_timers_fire_when_the_clock_says_so(
    loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        clock = HandClock(monkeypatch)
        clock.stop()
        fired: list[int] = []
        began = time.monotonic()
        running = asyncio.get_running_loop()
        assert running.time() == began
        for delay in (30, 10, 20):
            running.call_later(delay, fired.append, delay)
        running.call_later(15, fired.append, 15).cancel()
        sleeping = asyncio.ensure_future(asyncio.sleep(5))
        await asyncio.sleep(0)
        await clock.wind(4.9)
        assert not sleeping.done()
        await clock.wind(0.2)
        assert sleeping.done()
        await clock.wind(20)
        assert fired == [10, 20]
        clock.start()
        await asyncio.sleep(0.001)
        assert time.monotonic() - began > 25
        await clock.wind(10)
        assert fired == [10, 20, 30]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
