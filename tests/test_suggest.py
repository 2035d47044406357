"""Did you mean ...?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.schema.base import known
from gatewayd.config.schema.router import RouterSettings
from gatewayd.suggest import did_you_mean, distance, nearest


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cooldown_tim", "cooldown_time"),
        ("numretries", "num_retries"),
        ("num-retries", "num_retries"),
        ("NUM_RETRIES", "num_retries"),
        ("fallbakcs", "fallbacks"),
        ("timeot", "timeout"),
        ("retry_afer", "retry_after"),
        ("routing_stratgey", "routing_strategy"),
        ("disable_cooldown", "disable_cooldowns"),
        ("enable_cooldowns", None),
        ("colour", None),
        ("", None),
        ("x" * 200, None),
    ],
)
def test_nearest_key_of_a_section(typed: str, meant: str | None) -> None:
    assert nearest(typed, sorted(known(RouterSettings))) == meant


def test_as_a_sentence() -> None:
    assert did_you_mean("gtp-4", ["gpt-4", "claude"]) == "did you mean 'gpt-4'?"
    assert did_you_mean("llama", ["gpt-4", "claude"]) is None


def test_short_names_are_not_mixed_up() -> None:
    assert nearest("n", ["rpm", "tpm"]) is None
    assert nearest("rmp", ["rpm", "stop"]) == "rpm"


def test_among_thousands_only_spelling_variants_are_found() -> None:
    many = [f"group-{number}" for number in range(10_000)]
    assert nearest("Group_77", many) == "group-77"
    assert nearest("gruop-77", many) is None


words = st.text("abc", max_size=6)


@given(words, words)
def test_distance_is_symmetric_and_zero_for_equals(one: str, other: str) -> None:
    assert distance(one, other, 9) == distance(other, one, 9)
    assert (distance(one, other, 9) == 0) == (one == other)


@given(words, words, st.integers(0, 4))
def test_the_limit_only_caps(one: str, other: str, limit: int) -> None:
    assert distance(one, other, limit) == min(distance(one, other, 9), limit + 1)
