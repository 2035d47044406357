"""Property tests try the same examples in every run, so that what fails a change is the change. New ones are drawn by
`make fuzz`, which is the `new` profile: run it when there is time to mend what it finds. No example is timed: how long
one takes is the machine's doing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.clock import HandClock

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", untimed, derandomize=True)
settings.register_profile("new", untimed, database=None)
settings.load_profile("same")


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The clock of the test's loop and of the gateway on it, see `HandClock`."""
    return HandClock(monkeypatch)
