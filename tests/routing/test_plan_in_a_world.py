"""The plan's promises while the world moves on: by property for any world, by example for what once went wrong."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import FallbackKind, GatewayError, UpstreamAuth, UpstreamConnection, UpstreamStatus
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.plan import WAIT_MAX
from gatewayd.routing.table import Chain, Group, Hop
from tests.routing.world import FOREVER, PROBE_WAIT, Answer, Budget, Span, World, any_world


@given(seed=st.integers(0, 2**32), leaves_after=st.sampled_from([1, 2, 3, 5, 8, FOREVER, FOREVER, FOREVER, FOREVER]))
def test_for_any_world(seed: int, leaves_after: int) -> None:
    """A-26, A-28, A-29, A-40, A-41, A-42"""
    any_world(Random(seed), leaves_after).run()


def one_group(*orders: int, retries: int) -> Chain:
    return Chain(Hop(Group.of("a", [Candidate(f"d{n}", f"d{n}", o) for n, o in enumerate(orders)], retries, Budget())))


def in_turn(*answers: tuple[float, GatewayError | None]) -> Answer:
    left = iter(answers)
    return lambda _: next(left)


REFUSED = 0.0, UpstreamConnection("refused")
ANSWERED = 0.0, None


def busy(seconds: float) -> tuple[float, GatewayError]:
    return 0.0, UpstreamStatus("busy", status=429, retry_after=seconds)


@pytest.mark.parametrize("seed", range(8))
def test_who_comes_back_during_a_wait_is_asked_before_those_who_have_failed(seed: int) -> None:
    """A-28"""
    away = {"d1": [(0.0, 0.1, False)]}
    log = World(one_group(0, 0, retries=1), away, in_turn(REFUSED, ANSWERED), seed=seed).run()
    assert (log[0], log[2:]) == ("d0", ["d1"])


def test_who_had_its_wait_is_asked_again_without_another() -> None:
    """A-28"""
    log = World(
        one_group(0, 0, retries=2),
        {"d1": [(0.0, 2.0, False)]},
        in_turn(busy(9.0), REFUSED, ANSWERED),
        rests=lambda: False,
    ).run()
    assert log == ["d0", 2.0, "d1", "d0"]


def test_an_order_that_was_resting_when_it_was_passed_has_its_turn_later() -> None:
    """A-28"""
    slowly = 3.0, UpstreamConnection("refused")
    log = World(one_group(1, 2, retries=0), {"d0": [(0.0, 2.0, False)]}, in_turn(slowly, ANSWERED)).run()
    assert log == ["d1", "d0"]


WRONG_KEY = 0.0, UpstreamAuth("401")


@pytest.mark.parametrize(
    ("order", "retries", "error"), [(2, 0, REFUSED), (2, 0, busy(9.0)), (2, 2, WRONG_KEY), (1, 2, WRONG_KEY)]
)
def test_a_backup_that_is_probed_is_waited_for(order: int, retries: int, error: tuple[float, GatewayError]) -> None:
    """A-28, A-41: also when somebody else has failed before, and whether by retry or as the next order."""
    log = World(one_group(1, order, retries=retries), {"d1": [(0.0, 0.1, True)]}, in_turn(error, ANSWERED)).run()
    assert [step for step in log if isinstance(step, str)] == ["d0", "d1"]


def test_whoever_waits_again_and_again_behind_probes_that_fail_is_refused_in_the_end() -> None:
    """A-41: no wait for one try is longer than a minute and one probe."""
    away: dict[str, list[Span]] = {"d0": []}
    for at in range(1, 400, 2):
        away["d0"] += [(at - 0.9, at, False), (at, at + 1.1, True)]
    log = World(one_group(0, retries=1), away, lambda _: busy(0.05)).run()
    assert log[0] == "d0"
    assert log.count("d0") == 1
    assert sum(step for step in log if isinstance(step, float)) <= WAIT_MAX + PROBE_WAIT


def test_time_that_passes_in_a_try_counts_towards_the_rest_of_the_others() -> None:
    """A-26"""
    slowly = 3.0, UpstreamStatus("busy", status=429, retry_after=9.0)
    log = World(one_group(1, 2, retries=2), {}, in_turn(busy(2.0), slowly, ANSWERED)).run()
    assert [step for step in log if isinstance(step, str)] == ["d0", "d1", "d0"]
    assert sum(step for step in log if isinstance(step, float)) < 1.0


def test_a_list_for_another_kind_of_failure_is_no_fallback_to_hurry_to() -> None:
    """A-41"""
    first = one_group(0, retries=1).first
    long = Group.of("long", [Candidate("l0", "l0")], 0, Budget())
    chain = Chain(first, {FallbackKind.CONTEXT_WINDOW: (Hop(long),)})
    assert World(chain, {"d0": [(0.0, 0.1, True)]}, in_turn(busy(7.0), ANSWERED)).run()[-3:] == ["d0", 7.0, "d0"]
