"""H-06: some hundred seeds here; `make fuzz` plays many more."""

import gc

from tests.faults.interleavings import Story


async def test_no_order_of_events_breaks_a_promise() -> None:
    """H-06: one answer, one record, one configuration for each request; nothing is closed while in use."""
    for seed in range(400):
        try:
            await Story(seed).play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    gc.collect()
