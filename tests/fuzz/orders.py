"""H-06: requests, disconnects, reloads and the end in an order that the number of the input decides.

The test suite plays few here, because `tests/faults/test_interleavings.py` plays a thousand."""

from __future__ import annotations

import asyncio

from tests.faults.data_plane_runs import DataPlaneRun
from tests.faults.interleavings import Story
from tests.fuzz.runner import Target

_loops: list[asyncio.Runner] = []


def _play_story(seed: int) -> None:
    if not _loops:  # one for all: making one costs more than a story
        _loops.append(asyncio.Runner())
    _loops[0].run(Story(seed).play())


def _play_data_plane(seed: int) -> None:
    with asyncio.Runner() as runner:  # timers stay behind
        runner.run(DataPlaneRun(seed).play())


INTERLEAVINGS = Target("interleavings", lambda rng: rng.getrandbits(48), _play_story, runs=30)
DATA_PLANE = Target("data-plane", lambda rng: rng.getrandbits(48), _play_data_plane, runs=15)
