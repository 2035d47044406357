"""Places: every path of a configuration leads to where it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.document import Path, Position
from gatewayd.config.nodes import MappingNode, Places
from gatewayd.config.yaml_reader import Budget, read_yaml

TEXT = """\
model_list:
  - model_name: demo
    litellm_params: &params
      model: openai/gpt-4o
      rpm: 010
      note: "quoted"
      wait: 12:30
  - model_name: copy
    litellm_params:
      <<: *params
      rpm: 20
    empty:
  - *params
"""


def places(text: str) -> Places:
    root, problems = read_yaml(text.encode(), "f.yaml", Budget())
    assert problems == []
    assert isinstance(root, MappingNode)
    return Places(root)


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ((), (1, 1), (1, 1)),
        (("model_list",), (2, 3), (1, 1)),
        (("model_list", 0), (2, 5), (2, 5)),
        (("model_list", 0, "litellm_params"), (3, 21), (3, 5)),
        (("model_list", 0, "litellm_params", "rpm"), (5, 12), (5, 7)),
        (("model_list", 1, "litellm_params", "rpm"), (11, 12), (11, 7)),
        (("model_list", 1, "litellm_params", "wait"), (7, 13), (7, 7)),  # merged: where it was written
        (("model_list", 2, "wait"), (7, 13), (7, 7)),  # aliased
        (("model_list", 1, "empty"), (12, 11), (12, 5)),
        (("model_list", 1, "absent"), (8, 5), (8, 5)),
        (("model_list", 9, "x"), (2, 3), (1, 1)),
        (("model_list", -1), (2, 3), (1, 1)),
        (("model_list", "x"), (2, 3), (1, 1)),
        (("model_list", 0, "model_name", "x"), (2, 17), (2, 5)),
        (("absent", "below"), (1, 1), (1, 1)),
    ],
)
def test_locate(path: Path, value: tuple[int, int], key: tuple[int, int]) -> None:
    found = places(TEXT)
    assert found.locate(path) == Position("f.yaml", *value)
    assert found.locate(path, True) == Position("f.yaml", *key)


@pytest.mark.parametrize(
    ("path", "spelling"),
    [
        (("model_list", 0, "litellm_params", "rpm"), "010"),
        (("model_list", 1, "litellm_params", "wait"), "12:30"),
        (("model_list", 0, "litellm_params", "note"), None),
        (("model_list", 0, "litellm_params"), None),
        (("model_list", 1, "empty"), ""),
        (("absent",), None),
    ],
)
def test_spelling(path: Path, spelling: str | None) -> None:
    """E-11: what was typed, for messages such as "quote 12:30"."""
    assert places(TEXT).spelling(path) == spelling


names = st.builds("k{}x".format, st.integers(0, 10**6))
leaves = st.builds("v{}x".format, st.integers(0, 10**6))
trees = st.dictionaries(
    names,
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)),
    min_size=1,
    max_size=4,
)


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, below in items:
        yield from walk(below, (*path, part))


def unique(value: Any, count: Iterator[int]) -> Any:
    """The same shape with every key and leaf different, so that a search in the text finds exactly one place."""
    if isinstance(value, dict):
        return {f"k{next(count)}x": unique(below, count) for below in value.values()}
    if isinstance(value, list):
        return [unique(below, count) for below in value]
    return f"v{next(count)}x"


def search(text: str, token: str) -> Position:
    at = text.index(token)
    return Position("f.yaml", text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


@settings(max_examples=100)
@given(trees, st.sampled_from([None, False, True]))
def test_locate_agrees_with_a_search_in_the_text(tree: dict[str, Any], flow: bool | None) -> None:
    tree = unique(tree, iter(range(10**6)))
    text = yaml.safe_dump(tree, default_flow_style=flow)
    found = places(text)
    for path, value in walk(tree):
        if isinstance(value, str):
            assert found.locate(path) == search(text, value)
            assert found.spelling(path) == value
        if path and isinstance(path[-1], str):
            assert found.locate(path, True) == search(text, path[-1])
            assert found.locate((*path, "absent", 0), True) == search(text, path[-1])
