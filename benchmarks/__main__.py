"""`python -m benchmarks`: measure gatewayd beside other gateways; tables, JSON, a chart, the documentation.

Linux, two free cores, nginx and wrk. Everything talks over the loopback address and ends with this process.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import chart, install, mocks, reload, report
from benchmarks.cases import FULL, QUICK, Bench, Plan
from benchmarks.contestants import PEERS
from benchmarks.peers import Gatewayd, Peer, baseline
from benchmarks.process import Failed
from benchmarks.results import Results

CASES = ("small", "streams", "tls", "translated", "reload")
RESULTS = install.ROOT / "benchmarks" / "results"
DOCUMENT = install.ROOT / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started here is ended
    if options.render:
        _publish(Results.load(RESULTS / "latest.json"))
        return 0
    plan = QUICK if options.quick else FULL
    tuned = plan.tuned or "tuned" in (options.peers or ())
    peers = [peer for peer in PEERS if _wanted(peer, options.peers) and (tuned or "tuned" not in peer.name)]
    if options.baseline is not None:
        peers.append(baseline(options.baseline.resolve()))
    try:
        results = _run(plan, peers, options.cases)
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(report.text(results))
    whole = plan is FULL and options.peers is None and options.baseline is None and options.cases == list(CASES)
    if whole:
        _publish(results)
    else:
        results.save(RESULTS / "tmp" / "latest.json")
        (RESULTS / "tmp" / "latest.svg").write_text(chart.svg(results), encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a second for each sample instead of two, fewer peers; not published"
    )
    parser.add_argument("--peers", type=_list, help="only gateways whose name holds one of these words: nginx,gatewayd")
    parser.add_argument("--cases", type=_list, default=list(CASES), help=f"only these: {','.join(CASES)}")
    parser.add_argument("--baseline", type=Path, help="another checkout of gatewayd, measured beside this one")
    parser.add_argument("--render", action="store_true", help="measure nothing, write chart and documentation anew")
    options = parser.parse_args(arguments)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    return options


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _wanted(peer: type[Peer], words: Sequence[str] | None) -> bool:
    return words is None or any(word.lower() in peer.name.lower() for word in words)


def _run(plan: Plan, peers: Sequence[type[Peer]], cases: Sequence[str]) -> Results:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("two cores are needed: one for the gateway, one for load and mock upstream")
    for tool in ("nginx", "wrk", "taskset"):
        install.system(tool)
    results = Results(plan.mode)
    for peer in peers:
        _say(f"looking for {peer.name}")
        try:
            results.versions[peer.name] = peer.install()
        except Failed as error:
            results.missing[peer.name] = str(error)
    os.sched_setaffinity(0, {cores[1]})
    with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as name:
        folder = Path(name)
        with mocks.running(cores[1], folder) as upstreams:
            bench = Bench(plan, peers, upstreams, cores[0], folder, results, _say)
            for measure in (bench.small, bench.streams, bench.tls, bench.translated):
                if measure.__name__ in cases:
                    measure()
            if "reload" in cases and Gatewayd in peers and Gatewayd.name not in results.missing:
                for models in plan.reload_models:
                    _say(f"reloading {models:,} models")
                    reload.measure(models, plan.reload_edits, upstreams.probing, cores[0], folder, results)
    _say("")
    return results


def _publish(results: Results) -> None:
    results.save(RESULTS / "latest.json")
    (RESULTS / "latest.svg").write_text(chart.svg(results), encoding="utf-8")
    block = report.markdown(results, os.path.relpath(RESULTS / "latest.svg", DOCUMENT.parent))
    DOCUMENT.write_text(report.quoted(DOCUMENT.read_text(encoding="utf-8"), block), encoding="utf-8")


def _say(text: str) -> None:
    """One line of progress, over the last one on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
    elif text:
        sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
