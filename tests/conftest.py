"""Property tests try the same examples in every run, so that what fails a change is the change. New ones are drawn by
`make fuzz`, which is the `new` profile: run it when there is time to mend what it finds. No example is timed: how long
one takes is the machine's doing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", untimed, derandomize=True)
settings.register_profile("new", untimed, database=None)
settings.load_profile("same")
