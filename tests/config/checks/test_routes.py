"""Names and what they lead to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.checks.report import Report
from gatewayd.config.checks.routes import Names, circles
from gatewayd.config.document import Document
from gatewayd.config.validator import ConfigValidator

nodes = st.sampled_from("abcdef")
graphs = st.dictionaries(nodes, st.lists(nodes, max_size=4, unique=True))


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({}, []),
        ({"a": ["b"], "b": ["c"]}, []),
        ({"a": ["b"], "b": ["a"]}, [["a", "b", "a"]]),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, []),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, [["a", "b", "c", "a"]]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, [["a", "b", "a"], ["c", "d", "c"]]),
    ],
)
def test_circles(graph: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert list(circles(graph)) == expected


@given(graphs)
def test_a_circle_is_one_and_is_found_when_there_is_one(graph: dict[str, list[str]]) -> None:
    """A-43"""
    found = list(circles(graph))
    for circle in found:
        assert circle[0] == circle[-1]
        assert len(set(circle)) == len(circle) - 1
        assert all(after in graph[before] for before, after in pairwise(circle))
    assert bool(found) == any(node in _reachable(graph, node) for node in graph)


def _reachable(graph: dict[str, list[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(graph.get(node, ()))
    return seen


class TestNames:
    names = Names(["gpt", "vendor/x", "openai/*", "*-mini"], ["old"], ["deployment-1", "openai/gpt-4o"])

    @pytest.mark.parametrize(
        "name", ["gpt", "vendor/x", "openai/*", "openai/anything", "4-mini", "old", "deployment-1"]
    )
    def test_known(self, name: str) -> None:
        assert self.names.known(name)

    @pytest.mark.parametrize("name", ["x", "openai", "", "gpt-4", "mini"])
    def test_unknown(self, name: str) -> None:
        assert not self.names.known(name)

    def test_fallbacks_are_looked_up_without_the_provider_too(self) -> None:
        assert self.names.looked_up("x")
        assert self.names.looked_up("*")
        assert self.names.looked_up("anything")  # openai/anything
        assert not Names(["gpt"], [], []).looked_up("anything")

    def test_hints(self) -> None:
        report = Report(Document(tree={}, revision="r"))
        assert self.names.hint("gtp", report) == "did you mean 'gpt'?"
        many = Names([f"name-of-group-{n:02}" for n in range(20)], [], [])
        assert str(many.hint("else", report)).startswith("known: name-of-group-00, ")
        assert str(many.hint("else", report)).endswith(", ...")


@pytest.mark.parametrize(
    ("name", "other"),
    [("num_retries", ""), ("allowed_fails", ""), ("max_fallbacks", ""), ("timeout", "request_timeout")],
)
def test_a_setting_of_both_sections_is_reported_where_it_has_no_effect(name: str, other: str) -> None:
    """U-D11: `router_settings` wins; two equal values are no contradiction."""
    model = {"model_name": "a", "litellm_params": {"model": "openai/a", "mock_response": "hi"}}
    tree: dict[str, Any] = {"model_list": [model]}

    def found(here: int, there: int) -> list[str]:
        sections = {"router_settings": {name: here}, "litellm_settings": {other or name: there}}
        return [f"{p.code} {p.path}" for p in ConfigValidator(environ={}).check({**tree, **sections}).problems]

    assert found(3, 4) == [f"overridden_key litellm_settings.{other or name}"]
    assert found(3, 3) == []
