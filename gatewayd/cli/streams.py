"""The first three descriptors, which a caller may have closed."""

from __future__ import annotations

import os
import sys


def fill_standard_streams() -> None:
    """Opens those that are closed (F-09), because the next file or socket would otherwise be "standard error". Output
    to a closed one is lost without an error: `reload --wait >&-` keeps its own exit code."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    # For as long as the process lives:
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
