"""What is read from /proc, and the small statistics."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measure import Spread, quantile, usage

_SPIN = "import time\nwhile time.process_time() < 0.2: pass\n"


def test_time_of_children_counts_while_they_live_and_after() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_SPIN!r}]); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        seen = 0.0
        while seen < 0.2:
            assert parent.poll() is None
            seen = usage(parent.pid).cpu
        assert usage(parent.pid).rss > 1_000_000
        parent.communicate(b"\n")


def test_a_process_that_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(ProcessLookupError):
        usage(process.pid)


def test_own_usage_grows() -> None:
    before = usage(os.getpid()).cpu
    sum(range(1_000_000))
    assert usage(os.getpid()).cpu > before


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([])


@settings(max_examples=100)
@given(st.lists(st.integers(), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_quantile_is_the_smallest_value_that_the_share_does_not_exceed(values: list[int], share: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6
    assert sum(value < found for value in ordered) < share * len(ordered)


def test_quantile_of_nothing() -> None:
    assert quantile([], 0.5) == 0.0
