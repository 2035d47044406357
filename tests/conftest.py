"""Property tests try the same examples in every run, so that what fails a change is the change. New ones are drawn by
`make fuzz`, which is the `new` profile: run it when there is time to mend what it finds. No example is timed: how long
one takes is the machine's doing."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from tests.clock import HandClock

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", untimed, derandomize=True)
settings.register_profile("new", untimed, database=None)
settings.load_profile("same")


SLOW = ("e2e", "soak", "faults", "reload", "client", "docs", "examples", "cli")
"""Folders whose tests start processes. Their files come first, so that no process of pytest-xdist is left with a long
one at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = config.rootpath / "tests"
    items.sort(key=lambda item: item.path.relative_to(tests).parts[0] not in SLOW)


def pytest_collection_finish() -> None:
    """What collecting has imported stays: the garbage collector, which many tests call, need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The clock of the test's loop and of the gateway on it, see `HandClock`."""
    return HandClock(monkeypatch)
