"""Weights decide the shares; the seed decides the sequence."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.schema.router import CARRIED_OUT
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.pick import STRATEGIES, View, least_busy, simple_shuffle


def shares(*candidates: Candidate, draws: int = 6000) -> dict[str, float]:
    view = View(Random(7))
    counted = Counter(simple_shuffle(candidates, view).id for _ in range(draws))
    return {candidate.id: counted[candidate.id] / draws for candidate in candidates}


def test_weight_decides_before_rpm_and_rpm_before_tpm() -> None:
    by_weight = shares(Candidate("a", "a", weight=3, rpm=1), Candidate("b", "b", weight=1, rpm=99))
    assert by_weight["a"] == pytest.approx(0.75, abs=0.03)
    by_rpm = shares(Candidate("a", "a", rpm=900, tpm=1), Candidate("b", "b", rpm=100, tpm=99))
    assert by_rpm["a"] == pytest.approx(0.9, abs=0.03)
    by_tpm = shares(Candidate("a", "a", tpm=100), Candidate("b", "b", tpm=300))
    assert by_tpm["b"] == pytest.approx(0.75, abs=0.03)


def test_without_weights_all_are_equal_and_without_a_weight_nobody_is_picked_beside_weighted_ones() -> None:
    assert shares(Candidate("a", "a"), Candidate("b", "b"))["a"] == pytest.approx(0.5, abs=0.03)
    assert shares(Candidate("a", "a", weight=1), Candidate("b", "b"))["a"] == 1.0


def test_a_group_never_goes_without_an_answer_because_of_its_weights() -> None:
    assert set(shares(Candidate("a", "a", weight=0), Candidate("b", "b", weight=0)).values()) != {0.0}


@given(st.lists(st.floats(0, 10) | st.none(), min_size=1, max_size=6), st.integers())
def test_the_pick_is_one_of_the_candidates(weights: list[float | None], seed: int) -> None:
    candidates = [Candidate(str(i), str(i), weight=w) for i, w in enumerate(weights)]
    for strategy in STRATEGIES.values():
        assert strategy(candidates, View(Random(seed))) in candidates


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers())
def test_least_busy_picks_one_with_the_fewest_requests_in_flight(loads: list[int], seed: int) -> None:
    candidates = [Candidate(str(i), str(i)) for i in range(len(loads))]
    picked = least_busy(candidates, View(Random(seed), lambda candidate: loads[int(candidate.id)]))
    assert loads[int(picked.id)] == min(loads)


def test_least_busy_shares_evenly_between_equals() -> None:
    view = View(Random(7), lambda candidate: candidate.id == "busy")
    counted = Counter(least_busy([Candidate(n, n) for n in ("a", "busy", "b")], view).id for _ in range(1000))
    assert counted["busy"] == 0
    assert counted["a"] == pytest.approx(500, abs=60)


def test_every_strategy_that_check_calls_carried_out_is_there() -> None:
    assert set(STRATEGIES) == set(CARRIED_OUT)
