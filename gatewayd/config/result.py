"""What reading and validating a configuration ends with."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Result:
    """A snapshot, or the reasons why there is none; warnings may come with either.

    `snapshot` is None exactly when `problems` holds at least one error.
    """

    snapshot: Snapshot | None
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    """Absolute paths of all files read, also when there is no snapshot: an edit of any of them may mend it."""
