"""The first three descriptors, which a caller may have closed."""

from __future__ import annotations

import os
import sys


def fill_standard_streams() -> None:
    """Opens what was closed of them (F-09): the next file or socket would be "standard error". What is written to a
    closed one is lost, and no reason to fail: `reload --wait >&-` still has an exit code of its own."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    # For as long as the process lives:
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
