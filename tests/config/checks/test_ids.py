"""Names of deployments: readable, unique in the file, and the same after an edit of something else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.validator import ConfigValidator


def entry(group: str, id: object = None, **params: Any) -> dict[str, Any]:
    made = {"model_name": group, "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-1", **params}}
    return made if id is None else {**made, "model_info": {"id": id}}


def ids(*entries: dict[str, Any]) -> list[str]:
    return [d.id for d in ConfigValidator(environ={}).validate({"model_list": list(entries)}).deployments]


def test_a_deployment_is_called_like_its_group_and_numbered() -> None:
    """U-D4: ids are for people."""
    assert ids(entry("gpt-4o"), entry("mini"), entry("gpt-4o"), entry("gpt-4o")) == [
        "gpt-4o", "mini", "gpt-4o-2", "gpt-4o-3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"api_key": "sk-2"}, {"api_base": "http://other/v1"}, {"model": "openai/x"}, {"temperature": 1}]
)
def test_an_edit_renames_nothing(change: dict[str, Any]) -> None:
    """U-D4: neither the deployment that is edited nor another one."""
    assert ids(entry("a", **change), entry("b"), entry("a")) == ids(entry("a"), entry("b"), entry("a"))


def test_an_edit_of_another_group_renames_nothing() -> None:
    """U-D4: whatever comes before it in the file."""
    assert ids(entry("b"), entry("a"), entry("b"), entry("a"))[1::2] == ids(entry("a"), entry("a"))


def test_given_ids_are_kept_and_not_used_again() -> None:
    """U-D4: `model_info.id` goes first, wherever it is listed."""
    assert ids(entry("a"), entry("a"), entry("a", "a-2"), entry("b", "a")) == ["a-3", "a-4", "a-2", "a"]
    assert ids(entry("a", 7)) == ["7"]


def test_the_first_of_a_group_keeps_the_name_of_its_group() -> None:
    """U-D4: also if another group's second deployment would be called so."""
    assert ids(entry("gpt"), entry("gpt"), entry("gpt-2")) == ["gpt", "gpt-3", "gpt-2"]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("openai/gpt-4o", "openai-gpt-4o"),
        ("openai/*", "openai"),
        ("llama3.1:8b", "llama3.1-8b"),
        ("my model", "my-model"),
        ("*", "openai-gpt-4o"),
        ("模型", "openai-gpt-4o"),
        ("../x", "x"),
        ("a" * 300, "a" * 64),
    ],
)
def test_derived_ids_have_safe_characters_and_a_bounded_length(group: str, expected: str) -> None:
    """U-D4: they go into headers and log lines."""
    assert ids(entry(group)) == [expected]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "a-2", "a/2", "*", "b"]), st.sampled_from([None, None, "z"])), max_size=12)
)
def test_ids_are_unique_and_safe(entries: list[tuple[str, str | None]]) -> None:
    """U-D4: for whatever groups there are."""
    given_ids = [f"{id}{index}" if id else None for index, (_, id) in enumerate(entries)]
    made = ids(*(entry(group, id) for (group, _), id in zip(entries, given_ids, strict=True)), entry("last"))
    assert len(set(made)) == len(made) == len(entries) + 1
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,70}", name) for name in made)


def test_only_ids_of_the_file_are_names_that_a_fallback_can_have() -> None:
    """U-D4: a derived id only describes, so removing a group cannot turn its name into another's deployment."""
    config = {"model_list": [entry("a"), entry("a"), entry("b", "mine")]}
    checked = ConfigValidator(environ={}).check({**config, "router_settings": {"fallbacks": [{"a": ["a-2"]}]}})
    assert [problem.code for problem in checked.problems if problem.severity == "error"] == ["unknown_group"]
    assert ConfigValidator(environ={}).check({**config, "router_settings": {"fallbacks": [{"a": ["mine"]}]}}).snapshot
