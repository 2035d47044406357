"""Cooldowns with a hand-wound clock."""

from __future__ import annotations

import pytest

from gatewayd.errors import GatewayError, InvalidRequest, UpstreamAuth, UpstreamConnection, UpstreamStatus
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.health import FAILURE_WINDOW, HealthBook, Policy

A, B = Candidate("a", "a"), Candidate("b", "b")
DOWN = UpstreamConnection("down")


def fail(book: HealthBook, candidate: Candidate, error: GatewayError, now: float, policy: Policy | None = None) -> None:
    book.started(candidate, now)
    book.failed(candidate, error, now, peers=(A, B), policy=policy or Policy())
    book.left(candidate)


def succeed(book: HealthBook, candidate: Candidate, now: float) -> None:
    book.started(candidate, now)
    book.succeeded(candidate, now)
    book.left(candidate)


def test_more_than_the_allowed_failures_in_a_minute_cool_down_and_time_heals() -> None:
    book = HealthBook()
    for second in range(3):
        fail(book, A, DOWN, second)
        assert book.available(A, second)
    fail(book, A, DOWN, 3)
    assert not book.available(A, 3)
    assert book.cooling_for(A, 4) == pytest.approx(4.0)
    assert book.available(A, 8)


def test_failures_of_an_older_minute_are_forgotten() -> None:
    book = HealthBook()
    for index in range(8):
        fail(book, A, DOWN, index * (FAILURE_WINDOW / 2))
        assert book.available(A, index * (FAILURE_WINDOW / 2))


def test_more_than_half_of_five_requests_failing_is_enough() -> None:
    book = HealthBook()
    policy = Policy(allowed_fails=100)
    for now in range(2):
        succeed(book, A, now)
    for now in range(2, 4):
        fail(book, A, DOWN, now, policy)
    assert book.available(A, 4)
    fail(book, A, DOWN, 4, policy)
    assert not book.available(A, 4)


@pytest.mark.parametrize("error", [UpstreamStatus("busy", status=429), UpstreamAuth("401")])
def test_a_429_or_a_wrong_key_cools_down_at_once(error: GatewayError) -> None:
    book = HealthBook()
    fail(book, A, error, 0)
    assert not book.available(A, 0)


@pytest.mark.parametrize(
    "error", [InvalidRequest("x"), UpstreamStatus("x", status=400), UpstreamStatus("x", status=422)]
)
def test_a_callers_fault_counts_against_nobody(error: GatewayError) -> None:
    book = HealthBook()
    for now in range(50):
        fail(book, A, error, now)
    assert book.available(A, 50)
    assert book.state("a").fails == 0


def test_the_last_one_in_service_is_never_taken_out() -> None:
    book = HealthBook()
    fail(book, A, UpstreamAuth("401"), 0)
    for now in range(20):
        fail(book, B, DOWN, now / 10)
    assert not book.available(A, 1)
    assert book.available(B, 1)


def test_unless_the_upstream_itself_named_a_time_which_is_believed_within_reason() -> None:
    """A-26"""
    book = HealthBook()
    fail(book, A, UpstreamStatus("busy", status=429, retry_after=7), 0)
    fail(book, B, UpstreamStatus("busy", status=429, retry_after=1e9), 0)
    assert book.cooling_for(A, 0) == 7
    assert book.cooling_for(B, 0) == 60


def test_the_deployments_own_cooldown_time_wins() -> None:
    book = HealthBook()
    mine = Candidate("m", "m", cooldown_time=30)
    fail(book, mine, UpstreamStatus("busy", status=429, retry_after=7), 0)
    assert book.cooling_for(mine, 0) == 30


def test_cooldowns_can_be_disabled() -> None:
    book = HealthBook()
    for now in range(20):
        fail(book, A, UpstreamStatus("busy", status=429), now, Policy(disable_cooldowns=True))
    assert book.available(A, 20)


def test_after_a_cooldown_one_request_probes_and_the_others_go_elsewhere() -> None:
    """A-41"""
    book = HealthBook()
    fail(book, A, UpstreamAuth("401"), 0)
    assert book.available(A, 5)
    book.started(A, 5)
    assert not book.available(A, 5)
    assert book.available(A, 5, last_resort=True)
    book.succeeded(A, 5)
    assert book.available(A, 5)
    book.left(A)


def test_a_failed_probe_cools_down_again_at_once_and_a_cancelled_one_leaves_room_for_the_next() -> None:
    book = HealthBook()
    fail(book, A, UpstreamAuth("401"), 0)
    fail(book, A, DOWN, 6)
    assert not book.available(A, 7)
    book.started(A, 12)
    book.left(A)
    assert book.available(A, 12)
    assert book.state("a").half_open


def test_in_flight_returns_to_zero_and_forgotten_records_are_only_idle_ones() -> None:
    book = HealthBook()
    book.started(A, 0)
    succeed(book, B, 0)
    book.keep_only([])
    assert book.state("a").in_flight == 1
    assert book.state("b").requests == 0
    book.left(A)
    assert book.state("a").in_flight == 0


def test_jitter_spreads_the_ends_of_configured_cooldowns() -> None:
    book = HealthBook(jitter=lambda: 1.2)
    fail(book, A, UpstreamAuth("401"), 0)
    assert book.cooling_for(A, 0) == pytest.approx(6.0)


def test_a_stream_from_before_the_cooldown_makes_no_room_for_another_probe() -> None:
    """A-41"""
    book = HealthBook()
    book.started(A, 0)
    fail(book, A, UpstreamAuth("401"), 0)
    assert book.started(A, 6) is True
    assert book.started(A, 6) is False, "who joins it as a last resort is not the probe"
    book.left(A, probe=False)
    book.left(A, probe=False)
    assert not book.available(A, 6)
    book.left(A, probe=True)
    assert book.available(A, 6)


@pytest.mark.parametrize("own", [None, 10.0])
def test_jitter_is_for_what_is_configured_not_for_what_the_upstream_named(own: float | None) -> None:
    """A-41: between 80 and 120 percent of the time; the upstream's own is waited for in full."""
    mine = Candidate("m", "m", cooldown_time=own)
    for factor in (0.8, 1.2):
        book = HealthBook(jitter=lambda factor=factor: factor)  # type: ignore[misc]
        fail(book, mine, UpstreamAuth("401"), 0)
        assert book.cooling_for(mine, 0) == pytest.approx((own or Policy().cooldown_time) * factor)
    if own is None:
        book = HealthBook(jitter=lambda: 0.8)
        fail(book, mine, UpstreamStatus("busy", status=429, retry_after=7), 0)
        assert book.cooling_for(mine, 0) == 7


def test_all_are_well_when_nobody_rests_or_has_to_prove_itself() -> None:
    """A-41: what `first_pick` asks instead of each of them; also when a request that was under way succeeds while its
    deployment rests."""
    book = HealthBook()
    a, b = Candidate("a", "a"), Candidate("b", "b")
    assert book.all_well(0.0)
    book.started(a, 0.0)
    book.failed(a, UpstreamStatus("busy", status=429), 0.0, peers=(a, b), policy=Policy(cooldown_time=5.0))
    assert not book.all_well(1.0)
    book.succeeded(a, 1.0)
    assert not book.all_well(1.0), "it rests all the same"
    assert not book.available(a, 1.0)
    assert book.all_well(5.0)
    book.failed(a, UpstreamStatus("busy", status=429), 6.0, peers=(a, b), policy=Policy(cooldown_time=5.0))
    assert not book.all_well(12.0), "it is to be probed first"
    book.completed(a, 12.0)
    assert book.all_well(12.0)


def test_the_last_six_results_are_known_and_since_when_there_is_trouble() -> None:
    """U-D3"""
    book = HealthBook()
    state = book.state("a")
    assert (state.condition(0), state.recent, state.since) == ("ok", [], None)
    for now in range(8):
        succeed(book, A, now)
    assert state.recent == ["ok"] * 6
    fail(book, A, DOWN, 8)
    fail(book, A, UpstreamStatus("busy", status=500), 9)
    assert state.recent == ["ok", "ok", "ok", "ok", "upstream_connection_error", "upstream_error"]
    assert (state.condition(9), state.since, state.failures[-1].reason) == ("failing", 8, "answered 500: busy")
    succeed(book, A, 10)
    assert (state.condition(10), state.since, state.recent[-2:]) == ("ok", 10, ["upstream_error", "ok"])
    for now in range(11, 15):
        succeed(book, A, now)
    assert (state.since, state.recent) == (10, ["upstream_error"] + ["ok"] * 5)


def test_the_only_deployment_of_a_group_that_fails_every_time_is_failing_and_not_ok() -> None:
    """U-D3: it is never taken out of rotation."""
    book = HealthBook()
    for now in range(7):
        book.started(A, now)
        book.failed(A, DOWN, now, peers=(A,), policy=Policy())
        book.left(A)
    state = book.state("a")
    assert (state.condition(7), state.since, state.recent) == ("failing", 0, ["upstream_connection_error"] * 6)


def test_the_condition_follows_the_cooldown() -> None:
    """U-D3: the trouble began with the first failure, however often the probe fails."""
    book = HealthBook()
    fail(book, A, UpstreamAuth("401"), 0)
    state = book.state("a")
    assert [state.condition(now) for now in (0, 4.9, 5)] == ["cooling", "cooling", "probation"]
    fail(book, A, UpstreamAuth("401"), 6)
    assert (state.condition(7), state.since) == ("cooling", 0)
    succeed(book, A, 12)
    assert (state.condition(12), state.since) == ("ok", 12)
