"""When the garbage that a large reload has frozen is collected."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gatewayd.engine.reload import Applied, Pace
from tests.engine.test_reload import Stand, good, snapshot, until

CALM = 0.05


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    """Frozen objects are no part of what other tests look at."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
async def test_no_request_waits_for_the_collection_of_frozen_garbage() -> None:
    """U-F15: one call after another, with none in flight in between, puts it off. It comes when calls stop."""
    stand = await Stand([good("b", 600)], pace=Pace(debounce=0.0, spacing=0.0, calm=CALM)).live(snapshot("a", 600))
    cycle = Cycle()
    assert isinstance(await stand.reloader.reload("test"), Applied)
    gone = weakref.ref(cycle)
    del cycle
    loop = asyncio.get_running_loop()
    end = loop.time() + 8 * CALM
    while loop.time() < end:
        with stand.gateway.lease():
            await asyncio.sleep(0)
        assert stand.gateway.in_flight == 0
        await asyncio.sleep(0)
    assert gone() is not None
    await until(lambda: gone() is None)
    await stand.reloader.close()
    await stand.gateway.close()
