"""What reading and validating a configuration ends with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Packed, Snapshot


@dataclass(frozen=True, slots=True)
class Result:
    """A snapshot, or the reasons why there is none; warnings may come with either.

    `snapshot` is None exactly when `problems` holds at least one error.
    """

    snapshot: Snapshot | None
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    """Absolute paths of all files read, also when there is no snapshot: an edit of any of them may mend it. Then the
    patterns by which files were included."""

    def packed(self) -> Result:
        """The same with the snapshot's biggest part, its effective tree, packed if it can be: what a daemon keeps."""
        if self.snapshot is None or not self.snapshot.effective:
            return self
        try:
            effective = Packed.of(self.snapshot.effective)
        except TypeError:  # no plain tree: not for us to complain about
            return self
        return replace(self, snapshot=replace(self.snapshot, effective=effective))
