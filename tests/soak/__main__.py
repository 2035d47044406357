"""python -m tests.soak [--unary N] [--streams N] ..."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.soak.burst import BurstReport, burst
from tests.soak.flood import FloodReport, flood
from tests.soak.run import Report, Settings, soak, tell
from tests.soak.storm import StormReport, storm

_FLOOD_SECONDS = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="A daemon under load, cancellations, faults and edits; fails when it lies or leaks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--unary", type=int, default=300_000, help="requests for whole answers")
    parser.add_argument("--streams", type=int, default=30_000, help="requests for streams")
    parser.add_argument("--clients", type=int, default=64, help="connections at a time")
    parser.add_argument("--cancelled", type=float, default=0.1, help="share of requests whose client leaves")
    parser.add_argument("--faults", type=float, default=0.05, help="share of upstream answers with a fault")
    parser.add_argument("--strangers", type=float, default=0.1, help="wrong keys and unknown models for each request")
    parser.add_argument("--reload-every", type=float, default=2.0, help="seconds between two edits, half of them bad")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--storm", type=int, help="instead: so many clients that leave, and how soon upstreams are left"
    )
    parser.add_argument(
        "--flood", type=int, help="instead: so many connections that pipeline refusals for a minute beside calls"
    )
    parser.add_argument(
        "--burst", type=int, help="instead: so many calls after slow readers have filled the memory and disconnected"
    )
    parser.add_argument("--workers", type=int, default=1, help="of --flood")
    options = vars(parser.parse_args())
    leaving, flooding, calls, workers = (options.pop(name) for name in ("storm", "flood", "burst", "workers"))
    settings = Settings(**options)
    report: Report | StormReport | FloodReport | BurstReport
    with tempfile.TemporaryDirectory(prefix="gatewayd-soak-") as folder:
        if flooding:
            report = uvloop.run(flood(flooding, _FLOOD_SECONDS, Path(folder), workers=workers))
        elif calls:
            report = uvloop.run(burst(calls, Path(folder)))
        elif leaving:
            report = uvloop.run(storm(leaving, Path(folder), seed=settings.seed))
        else:
            report = uvloop.run(soak(settings, Path(folder), tell))
    tell(report.text())
    failures = report.failures()
    tell("\n".join(f"FAILED: {failure}" for failure in failures) or "nothing lied, nothing leaked")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
