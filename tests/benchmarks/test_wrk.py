"""Reading what the wrk script prints."""

from __future__ import annotations

import pytest

from benchmarks import wrk
from benchmarks.process import Failed

_OUTPUT = (
    'Running 1s test\n{"requests":58212,"seconds":1.002241,"p50":1.0400,"p99":2.2810,"status":STATUS,"socket":2}\n'
)


def test_a_run_without_bad_answers_still_counts_socket_errors() -> None:
    seen = wrk.parse(_OUTPUT.replace("STATUS", "0"))
    assert (seen.requests, seen.seconds, seen.p50, seen.p99) == (58212, 1.002241, 1.04, 2.281)
    assert (seen.errors, seen.error) == (2, "0 answers were no 200, 2 socket errors")


def test_bad_answers_are_errors() -> None:
    assert wrk.parse(_OUTPUT.replace("STATUS", "5")).errors == 7


def test_anything_else_is_a_failure() -> None:
    with pytest.raises(Failed, match="unable to connect"):
        wrk.parse("", "unable to connect to 127.0.0.1:9")
