"""Large configurations and the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from gatewayd.collector import thaw, uncollected


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.collect()
    yield
    gc.enable()
    gc.unfreeze()


def test_what_is_made_inside_is_not_looked_at_again() -> None:
    """E-30: each full collection would walk all of a large configuration."""
    frozen = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_what_is_garbage_before_is_collected_and_not_frozen() -> None:
    gone = weakref.ref(Cycle())
    with uncollected():
        assert gone() is None


def test_an_error_inside_does_not_leave_the_collector_off() -> None:
    with pytest.raises(ZeroDivisionError), uncollected():
        _ = 1 / 0
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_a_cycle_that_was_frozen_goes_when_it_thaws() -> None:
    """H-02"""
    with uncollected():
        cycle = Cycle()
    gone = weakref.ref(cycle)
    del cycle
    gc.collect()
    assert gone() is not None
    thaw()
    assert gone() is None
