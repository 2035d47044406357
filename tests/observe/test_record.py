"""The record of a request: what it says about attempts, and who gets it."""

from __future__ import annotations

import logging

import pytest

from gatewayd.errors import UpstreamConnection, UpstreamStatus
from gatewayd.observe.record import Attempt, Record, observe


def test_groups_and_attempts_give_retries_and_fallbacks() -> None:
    record = Record(group="chat", attempts=[Attempt("d1", "chat", 0.0), Attempt("d2", "chat", 0.0)])
    assert (record.retries, record.fallbacks, record.answered) == (1, 0, None)
    record.attempts.append(Attempt("d3", "spare", 0.0, status=200))
    assert (record.retries, record.fallbacks, record.answered) == (1, 1, record.attempts[-1])
    nothing_in_its_own_group = Record(group="chat", attempts=[Attempt("d3", "spare", 0.0, status=200)])
    assert (nothing_in_its_own_group.retries, nothing_in_its_own_group.fallbacks) == (0, 1)


def test_a_failed_attempt_has_the_upstreams_status_if_it_answered() -> None:
    attempts = [Attempt("d1", "chat", 0.0), Attempt("d2", "chat", 1.0)]
    attempts[0].fail(UpstreamStatus("x", status=503), 1.0)
    attempts[1].fail(UpstreamConnection("x"), 2.0)
    assert [(str(attempt), attempt.ended, attempt.answered) for attempt in attempts] == [
        ("d1:upstream_error:503", 1.0, False),
        ("d2:upstream_connection_error", 2.0, False),
    ]


def test_each_observer_is_called_once_even_if_another_fails(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Record] = []

    def broken(record: Record) -> None:
        raise ZeroDivisionError

    record = Record("req_1")
    observe(record, [seen.append, broken, seen.append])
    assert seen == [record, record]
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]


def test_errors_that_are_kept_do_not_keep_frames() -> None:
    errors = [UpstreamConnection("x"), UpstreamConnection("y")]
    for error in errors:
        try:
            raise error
        except UpstreamConnection:
            pass
    observe(Record(outcome="error", error=errors[0], attempts=[Attempt("d1", "chat", 0.0, error=errors[1])]), [])
    assert [error.__traceback__ for error in errors] == [None, None]
