"""The result of reading and validating a configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Packed, Snapshot


@dataclass(frozen=True, slots=True)
class Result:
    """A snapshot, or the reasons why there is none; both may come with warnings.

    `snapshot` is None exactly if `problems` has at least one error.
    """

    snapshot: Snapshot | None
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    """Absolute paths of all files read, also without a snapshot, because an edit of any of them may fix it. Then the
    patterns of included files."""

    def packed(self) -> Result:
        """The same with the snapshot's effective tree, its largest part, packed if possible. A daemon keeps this."""
        if self.snapshot is None or not self.snapshot.effective:
            return self
        try:
            effective = Packed.of(self.snapshot.effective)
        except TypeError:  # not a plain tree, which is allowed here
            return self
        return replace(self, snapshot=replace(self.snapshot, effective=effective))
