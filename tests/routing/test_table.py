"""Names to chains: resolution order, patterns, aliases, fallback lists made flat."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import FallbackKind, UnknownModel
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.table import Group, Table


def group(name: str) -> Group:
    return Group.of(name, [Candidate(f"{name}-1", name)])


def groups(*names: str) -> dict[str, Group]:
    return {name: group(name) for name in names}


def names(table: Table, model: str, kind: FallbackKind = FallbackKind.GENERAL) -> list[str]:
    chain = table.chain(model)
    return [chain.first.group.name, *(hop.group.name for hop in chain.fallbacks.get(kind, ()))]


def general(**lists: tuple[str, ...]) -> dict[FallbackKind, dict[str, tuple[str, ...]]]:
    return {FallbackKind.GENERAL: lists}


def test_an_exact_name_wins_over_every_pattern() -> None:
    table = Table(groups("*", "openai/*", "openai/gpt-4o"))
    assert names(table, "openai/gpt-4o") == ["openai/gpt-4o"]


def test_a_bare_name_is_served_by_its_providers_pattern() -> None:
    """U-A9: as in litellm; after everything that the name itself leads to."""
    providers = {"gpt-5": "openai", "claude-x": "anthropic"}
    table = Table(groups("openai/*", "chat-*"), provider_of=providers.get)
    hop = table.chain("gpt-5").first
    assert (hop.group.name, hop.capture) == ("openai/*", "gpt-5")
    assert table.chain("chat-x").first.group.name == "chat-*"
    for name in ("claude-x", "unheard-of"):
        assert not table.knows(name)


def test_the_most_specific_pattern_wins_and_captures() -> None:
    table = Table(groups("*", "openai/*", "openai/gpt-*"))
    assert table.chain("openai/gpt-5").first == table.chain("openai/gpt-5").first
    assert (table.chain("openai/gpt-5").first.group.name, table.chain("openai/gpt-5").first.capture) == (
        "openai/gpt-*",
        "5",
    )
    assert (table.chain("anything").first.group.name, table.chain("anything").first.capture) == ("*", "anything")


def test_who_takes_a_pattern_for_a_name_is_told_of_it_and_not_of_an_empty_one() -> None:
    """`GET /v1/models` lists patterns as they are written, and people choose from that list."""
    table = Table(groups("openai/*", "chat"))
    assert table.chain("openai/*").first.capture == "*"
    assert table.chain("chat").first.capture == ""


def test_an_alias_is_the_group_it_names_with_its_fallbacks() -> None:
    table = Table(groups("a", "b"), aliases={"nick": "a", "shy": "b"}, hidden=["shy"], fallbacks=general(a=("b",)))
    assert names(table, "nick") == ["a", "b"]
    assert table.names() == ["a", "b", "nick"]
    assert names(table, "shy") == ["b"]


def test_a_deployment_id_or_upstream_model_answers_only_where_no_group_does() -> None:
    table = Table(groups("a"), also={"a": group("never"), "d-7": group("by-id")}.get)
    assert names(table, "a") == ["a"]
    assert names(table, "d-7") == ["by-id"]


def test_unknown_models_are_named_in_a_printable_way() -> None:
    """C-07, C-08"""
    with pytest.raises(UnknownModel) as caught:
        Table(groups("secret-model")).chain("x\r\nInjected: 1\x1b[31m")
    assert "\r" not in caught.value.message
    assert "secret-model" not in caught.value.message
    assert caught.value.param == "model"


def test_fallbacks_of_fallbacks_come_right_after_them_and_nobody_twice() -> None:
    table = Table(groups(*"abcd"), fallbacks=general(a=("b", "c"), b=("d",), d=("a", "c")))
    assert names(table, "a") == ["a", "b", "d", "c"]


def test_default_fallbacks_serve_every_group_without_a_list_of_its_own() -> None:
    table = Table(groups(*"abc"), fallbacks={FallbackKind.GENERAL: {"*": ("b",), "c": ("a",)}})
    assert names(table, "a") == ["a", "b"]
    assert names(table, "b") == ["b"]
    assert names(table, "c") == ["c", "a", "b"]


def test_a_list_is_found_by_the_name_without_its_provider() -> None:
    table = Table(groups("openai/gpt-4o", "b"), fallbacks={FallbackKind.GENERAL: {"gpt-4o": ("b",)}})
    assert names(table, "openai/gpt-4o") == ["openai/gpt-4o", "b"]


def test_a_fallback_may_be_served_by_a_pattern() -> None:
    table = Table(groups("a", "openai/*"), fallbacks=general(a=("openai/gpt-5",)))
    (hop,) = table.chain("a").fallbacks[FallbackKind.GENERAL]
    assert (hop.group.name, hop.capture) == ("openai/*", "gpt-5")


def test_the_depth_of_fallbacks_is_bounded() -> None:
    letters = "abcdefgh"
    lists = {x: (y,) for x, y in pairwise(letters)}
    table = Table(groups(*letters), fallbacks={FallbackKind.GENERAL: lists}, max_fallbacks=3)
    assert names(table, "a") == ["a", "b", "c", "d"]


def test_the_memory_of_patterns_is_bounded() -> None:
    """H-03"""
    table = Table(groups("*"))
    for index in range(10_000):
        table.chain(f"m{index}")
    assert len(table._remembered) <= 4096


@given(
    st.dictionaries(st.sampled_from("abcdef*"), st.lists(st.sampled_from("abcdef"), max_size=4).map(tuple), max_size=7)
)
def test_chains_are_acyclic_whatever_the_lists(lists: dict[str, tuple[str, ...]]) -> None:
    """A-43"""
    table = Table(groups(*"abcdef"), fallbacks={FallbackKind.GENERAL: lists})
    for name in "abcdef":
        chain = names(table, name)
        assert len(set(chain)) == len(chain)
