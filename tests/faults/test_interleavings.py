"""H-06: some hundred seeds here; `make fuzz` plays many more."""

import asyncio
import gc

from tests.faults.data_plane_runs import DataPlaneRun
from tests.faults.interleavings import Story


async def test_no_order_of_events_breaks_a_promise() -> None:
    """H-06: one answer, one record, one configuration for each request; nothing is closed while in use."""
    for seed in range(400):
        try:
            await Story(seed).play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    gc.collect()


def test_no_order_of_events_on_its_connections_breaks_a_promise() -> None:
    """H-06, H-04: the same with the real connections, with tasks and without; no lease and no connection is left."""
    for seed in range(600):
        try:
            with asyncio.Runner() as runner:
                runner.run(DataPlaneRun(seed).play())
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
