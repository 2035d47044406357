"""Large configurations and the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from gatewayd.gc_tuning import collect_frozen, gc_paused


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    gc.collect()
    yield
    gc.enable()
    gc.unfreeze()


def test_objects_made_inside_are_frozen() -> None:
    """E-30: each full collection would walk all of a large configuration."""
    frozen = gc.get_freeze_count()
    with gc_paused():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_existing_garbage_is_collected_and_not_frozen() -> None:
    gone = weakref.ref(Cycle())
    with gc_paused():
        assert gone() is None


def test_an_error_inside_does_not_leave_the_collector_off() -> None:
    with pytest.raises(ZeroDivisionError), gc_paused():
        _ = 1 / 0
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with gc_paused():
        pass
    assert not gc.isenabled()


def test_collect_frozen_frees_a_frozen_cycle() -> None:
    """H-02"""
    with gc_paused():
        cycle = Cycle()
    gone = weakref.ref(cycle)
    del cycle
    gc.collect()
    assert gone() is not None
    collect_frozen()
    assert gone() is None
