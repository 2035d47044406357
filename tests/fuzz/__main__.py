"""python -m tests.fuzz [TARGET ...] [--runs N] [--seed N] [--first N]"""

from __future__ import annotations

import argparse
import sys
import warnings

from tests.fuzz.runner import supervise
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random input for what reads input.")
    parser.add_argument("target", nargs="*", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--runs", type=int, default=5_000, help="executions of each target (default: 5000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: 0)")
    options = parser.parse_args()
    unknown = set(options.target) - TARGETS.keys()
    if unknown:
        parser.error(f"no target is called {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    warnings.simplefilter("error")
    found = [
        complaint
        for name in options.target or TARGETS
        if (complaint := supervise(TARGETS[name], options.seed, options.first, options.runs))
    ]
    sys.stderr.write("".join(f"{complaint}\n" for complaint in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
