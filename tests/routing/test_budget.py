"""The retry budget, with a hand-wound clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.routing.budget import WINDOW, RetryBudget


def storm(budget: RetryBudget, *, rate: int, seconds: float, retries: int, begin: float = 1000.0) -> list[float]:
    """When retries were granted while `rate` requests a second all fail, each wanting so many retries."""
    granted = []
    for n in range(int(rate * seconds)):
        budget.requests += 1
        for _ in range(retries):
            if budget.take(begin + n / rate):
                budget.settle(failed=True)
                granted.append(n / rate)
    return granted


def test_when_everything_fails_a_fifth_is_tried_again() -> None:
    """A-40: 500 requests a second for a minute, none of which succeeds."""
    granted = storm(RetryBudget(), rate=500, seconds=60, retries=2)
    assert len(granted) <= 0.2 * 500 * 60 + 3 * WINDOW
    late = [at for at in granted if at >= 30]
    assert 0.19 * 500 * 30 <= len(late) <= 0.2 * 500 * 30 + 1


def test_however_few_requests_there_are_some_may_be_tried_again() -> None:
    """A-40: the floor. A second between requests, two retries each, all in vain; then nine."""
    assert len(storm(RetryBudget(), rate=1, seconds=60, retries=2)) == 120
    assert 3 * 60 <= len(storm(RetryBudget(), rate=1, seconds=60, retries=9)) <= 3 * (60 + WINDOW)


def test_what_succeeds_is_not_counted() -> None:
    budget = RetryBudget()
    for n in range(30_000):
        budget.requests += 1
        assert budget.take(1000 + n / 500)
        budget.settle(failed=False)


def test_one_of_many_is_down_and_all_find_out_at_once() -> None:
    """Retries whose outcome is open are not taken for failures: 400 requests, half of which meet the dead one, after
    an hour of silence."""
    for seen_before in (True, False):
        budget = RetryBudget()
        if seen_before:
            budget.take(1000.0)
            budget.settle(failed=False)
        budget.requests += 400
        assert all(budget.take(4600.0) for _ in range(200))


def test_retries_that_take_long_to_fail_are_bounded_before_they_have() -> None:
    """A-40: 100 requests a second, every try hangs for a minute: open retries stay below ten seconds' requests."""
    budget = RetryBudget()
    budget.take(1000.0)
    budget.settle(failed=False)
    granted = 0
    for n in range(6000):
        budget.requests += 1
        granted += budget.take(1000 + n / 100)
    assert granted <= 100 * WINDOW


def test_an_hour_of_success_saves_up_no_more_than_some_seconds_of_it() -> None:
    budget = RetryBudget()
    budget.take(0.0)
    budget.requests += 500 * 3600
    granted = 0
    while budget.take(3600.0):
        budget.settle(failed=True)
        granted += 1
    assert granted == int(0.2 * 500 * WINDOW)


def test_retries_can_be_switched_off_and_nearly_unbounded() -> None:
    assert storm(RetryBudget(0.0, 0.0), rate=10, seconds=60, retries=2) == []
    assert len(storm(RetryBudget(10.0, 3.0), rate=10, seconds=60, retries=2)) == 1200


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50), st.integers(0, 50)), max_size=60),
    st.floats(0, 1),
    st.floats(0, 10),
)
def test_whatever_comes_the_bound_holds(steps: list[tuple[float, int, int]], share: float, floor: float) -> None:
    """Failed retries are at most the share of all requests, and the floor for all of the time."""
    budget = RetryBudget(share, floor)
    now, granted, requests = 1000.0, 0, 0
    for pause, new, wanted in steps:
        now += pause
        budget.requests += new
        requests += new
        for _ in range(wanted):
            if budget.take(now):
                budget.settle(failed=True)
                granted += 1
        assert granted <= share * requests + floor * (now - 1000.0 + WINDOW) + 1e-6 * (granted + 1)
