"""Property tests try the same examples in every run, so that what fails a change is the change. New ones are drawn by
`make fuzz`, which is the `new` profile: run it when there is time to mend what it finds."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("new", derandomize=False, database=None)
settings.load_profile("same")
