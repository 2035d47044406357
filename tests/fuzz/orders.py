"""H-06: requests, leavers, reloads and the end in an order that the number of the input decides."""

from __future__ import annotations

import asyncio

from tests.faults.interleavings import Story
from tests.fuzz.runner import Target

_loops: list[asyncio.Runner] = []


def _check(seed: int) -> None:
    if not _loops:  # one for all: making one costs more than a story
        _loops.append(asyncio.Runner())
    _loops[0].run(Story(seed).play())


INTERLEAVINGS = Target("interleavings", lambda rng: rng.getrandbits(48), _check, runs=300)
