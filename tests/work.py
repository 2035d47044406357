"""How much work something is, counted and not timed: the same on every machine, however busy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(work: Callable[[], object]) -> int:
    """Lines of Python that run in it, its own thread only."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def grows_evenly(work: Callable[[int], Callable[[], object]], size: int) -> None:
    """Fails unless the work for one more `size` is always the same, as it is not when it grows with the square."""
    work(size)()  # whatever is done once
    one, two, three = (steps(work(size * times)) for times in (1, 2, 3))
    assert abs((three - two) - (two - one)) < 0.1 * (two - one), (one, two, three)
