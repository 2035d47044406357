"""A soak and a storm of seconds; `make soak` takes minutes or an hour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.burst import burst
from tests.soak.flood import flood
from tests.soak.gateway import Open
from tests.soak.run import Report, Settings, soak
from tests.soak.storm import StormReport, storm

AT_REST = Open(files=20, threads=5, tasks=4, clients=0, busy=0, idle=0)
GOOD = Report(Settings(100, 100), early=50_000_000, late=51_000_000, before=AT_REST, after=AT_REST, exit_code=0)


async def test_nothing_lies_and_nothing_leaks(tmp_path: Path) -> None:
    """H-01, H-03: faults, leavers, strangers and edits all at once, on a real process.

    The bound on memory is wider than that of a long run: the first tenth of this one is spent warming up.
    """
    settings = Settings(4000, 600, clients=16, reload_every=0.7, growth=0.5)
    report = await soak(settings, tmp_path)
    assert report.failures() == []
    assert report.ends["unary"] > 3000
    assert report.ends["stream"] > 400
    for end in ("cancelled", "refused", "broken"):
        assert report.ends[end], report.text()
    assert report.upstream[1] > 100
    assert min(report.reloads.values()) >= 1


async def test_whoever_leaves_takes_the_upstream_along(tmp_path: Path) -> None:
    """A-20, A-22: within 100 ms (streams) or a second, and nothing is left. A busy machine may be late with a few."""
    report = await storm(300, tmp_path)
    assert report.failures(slow=15) == []
    assert [len(taken) for taken in report.seconds.values()] == [150, 150]


@pytest.mark.parametrize("workers", [1, 2])
async def test_calls_go_on_beside_connections_that_pipeline_refusals(workers: int, tmp_path: Path) -> None:
    """U-F2: in small, and no worker is replaced; how long calls take is reported by the long run."""
    report = await flood(40, 2.0, tmp_path, workers=workers)
    assert report.failures() == []
    assert len(report.took) > 5, report.text()


async def test_a_burst_of_slow_readers_is_refused_and_then_forgotten(tmp_path: Path) -> None:
    """U-F1: 220 MB, slow readers of large answers, then no connection at all. The daemon lives, says that it is
    overloaded while it is, and answers every call afterwards."""
    report = await burst(20, tmp_path)
    assert report.failures() == []
    assert report.answered == 20
    assert report.readers, report.text()


def test_a_good_report_has_no_failures() -> None:
    assert GOOD.failures() == []
    assert replace(GOOD, after=replace(AT_REST, threads=6)).failures() == []  # one more of the loop's pool
    assert "50.0 MB at 10 %, 51.0 MB at the end" in GOOD.text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"late": 52_600_000}, r"memory grew by 2.6 MB \(5.2%\) from 10 % to 100 % of the run"),
        ({"early": 900_000_000, "late": 921_000_000}, "memory grew by 21.0 MB"),
        ({"after": replace(AT_REST, files=21)}, "not as before 10 s after the end: 21 files"),
        ({"after": replace(AT_REST, idle=1)}, "not as before"),
        ({"after": replace(AT_REST, threads=50)}, "not as before"),
        ({"after": None}, "not as before"),
        ({"left_upstream": 1}, "the upstream still has 1 connections"),
        ({"wrong": ["unary: 200 b'x'"]}, "wrong: unary"),
        ({"complaints": ["Traceback"]}, "logged: Traceback"),
        ({"exit_code": -9}, "the daemon ended with -9"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_told(changes: dict[str, object], said: str) -> None:
    (failure,) = replace(GOOD, **changes).failures()  # type: ignore[arg-type]
    assert failure.startswith(said.split("\\")[0].split("(")[0])


def test_who_outlives_its_client_is_told() -> None:
    report = StormReport({"stream": [0.05, 0.11], "unary": [0.9, 1.1, 1.2]}, AT_REST, AT_REST)
    assert [failure.partition(" requests")[0] for failure in report.failures()] == ["1 of 2 stream", "2 of 3 unary"]
    assert report.failures(slow=2) == []
    assert "3 left: median 1100.0 ms" in report.text()
