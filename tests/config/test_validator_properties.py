"""The validator by property: it never raises, equal input gives equal output, and no secret is ever shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.checks.keys import refusable
from gatewayd.config.codes import PROBLEM_CODES
from gatewayd.config.problems import errors, render
from gatewayd.config.schema.base import below, known
from gatewayd.config.schema.root import Root
from gatewayd.config.validator import ConfigValidator
from tests.config.corpus import GOOD, facts

CANARY = "sk-CANARY-do-not-show-1234567890"
ENVIRON = {"OPENAI_API_KEY": "sk-x", "CANARY": CANARY, "NUMBER": "5"}

NAMES = sorted({name for section in below(Root) for name in known(section)} | refusable())
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10_000),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=3),
    st.text(max_size=12),
    st.text(st.characters(), max_size=4),  # surrogates too
    st.sampled_from(["gpt", "openai/gpt-4o", "*", "openai/*", "os.environ/NUMBER", "os.environ/NOPE", "file:/dev/null",
                     "${X}", "127.0.0.1:0", "unix:x", "0.0.0.0:1", "http://h/v1", "off", "auto", "mock", "1e3"]),
)  # fmt: skip
keys = st.one_of(st.sampled_from(NAMES), st.text(st.characters(), max_size=8))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=20,
)


def sections(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A configuration with the right keys in the right places, and anything as their values."""

    def section(names: frozenset[str], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        others = st.dictionaries(st.sampled_from(sorted(names)), values, max_size=4)
        return st.tuples(st.fixed_dictionaries({}, optional=fixed), others).map(lambda both: {**both[1], **both[0]})

    by_name = {cls.__name__: known(cls) for cls in below(Root)}
    model = st.sampled_from(["openai/gpt-4o", "anthropic/x", "azure/x", "gpt-4o", "nobody/x", "openai/*", "*"])
    name = st.sampled_from(["gpt", "other", "*", "openai/*"])
    fallbacks = st.lists(st.dictionaries(name, st.lists(name, max_size=2), max_size=2), max_size=3)
    params = section(by_name["LitellmParams"], model=model, mock_response=values)
    entry = section(by_name["ModelEntry"], model_name=name, litellm_params=params)
    return section(
        by_name["Root"],
        model_list=st.lists(entry, max_size=3),
        router_settings=section(by_name["RouterSettings"], fallbacks=fallbacks, default_fallbacks=st.lists(name)),
        gatewayd=section(
            by_name["ServerSettings"], log=section(by_name["LogSettings"]), timeouts=section(by_name["ServerTimeouts"])
        ),
        general_settings=section(by_name["GeneralSettings"]),
        litellm_settings=section(by_name["LitellmSettings"]),
    )


@given(st.one_of(trees, st.dictionaries(keys, trees, max_size=4), sections(scalars), sections(trees)))
@settings(max_examples=100)
def test_never_raises_and_says_why(tree: Any) -> None:
    config = tree if isinstance(tree, dict) else {"model_list": tree}
    result = ConfigValidator(environ=ENVIRON).check(config)
    assert (result.snapshot is None) == bool(errors(result.problems))
    assert {problem.code for problem in result.problems} <= set(PROBLEM_CODES)
    json.loads(render(result.problems, "json").encode())
    assert len(render(result.problems).splitlines()) >= len(result.problems)
    if result.snapshot is not None:
        json.dumps(result.snapshot.effective, allow_nan=False)


@given(sections(scalars))
@settings(max_examples=60)
def test_equal_input_gives_equal_output(tree: dict[str, Any]) -> None:
    one, other = (ConfigValidator(environ=ENVIRON).check(tree) for _ in range(2))
    assert repr(one) == repr(other)  # repr, because nan is not equal to itself


SECRET_PLACES = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.just(CANARY), st.just("os.environ/CANARY"), st.just([CANARY]), st.just({"a": CANARY}))
        for name in (
            "api_key",
            "aws_secret_access_key",
            "vertex_credentials",
            "extra_headers",
            "headers",
            "client_secret",
        )
    },
)


@given(SECRET_PLACES, sections(scalars), st.sampled_from([CANARY, "os.environ/CANARY", [CANARY]]))
@settings(max_examples=80)
def test_no_secret_is_shown(params: dict[str, Any], tree: dict[str, Any], secret: Any) -> None:
    """Neither in problems nor in what `GET /config` shows nor in the snapshot's own text."""
    base = {"model": "openai/gpt-4o", "api_base": "http://h/v1"}
    tree = {
        **tree,
        "model_list": [{"model_name": "gpt", "litellm_params": {**base, **params}}],
        "general_settings": {"master_key": secret, "database_url": f"postgres://u:{CANARY}@h/d"},
        "environment_variables": {"A": CANARY, "B": "os.environ/CANARY", "LD_PRELOAD": CANARY, "": CANARY},
        "credential_list": [{"credential_name": "c", "credential_values": {"api_key": secret}}],
    }
    result = ConfigValidator(environ=ENVIRON).check(tree)
    assert CANARY not in render(result.problems)
    if result.snapshot is not None:
        assert CANARY not in json.dumps(result.snapshot.effective)
        assert CANARY not in repr(result.snapshot.deployments) + repr(result.snapshot.server)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_file_and_its_mapping_mean_the_same(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "include" in tree:
        for name in tree.pop("include"):
            tree["model_list"] += yaml.safe_load((path.parent / name).read_text(encoding="utf-8"))["model_list"]
    validator = ConfigValidator(environ=facts(path)["environ"])
    of_file, of_mapping = validator.validate(path), validator.validate(tree)
    assert [d.identity for d in of_file.deployments] == [d.identity for d in of_mapping.deployments]
    assert of_file.routing == of_mapping.routing
    assert of_file.effective["model_list"] == of_mapping.effective["model_list"]


def test_equal_bytes_give_an_equal_snapshot(tmp_path: Path) -> None:
    for path in GOOD:
        validator = ConfigValidator(environ=facts(path)["environ"])
        assert validator.validate(path) == validator.validate(path)


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_a_file_cut_anywhere_is_read_without_raising(cut: int) -> None:
    """E-04: every prefix of a file is either refused or a configuration of its own, never a crash."""
    path = next(path for path in GOOD if path.stem == "everything")
    text = path.read_text(encoding="utf-8")
    loaded: Any
    try:
        loaded = yaml.safe_load(text[: cut % len(text)])
    except yaml.YAMLError:
        return
    if isinstance(loaded, dict):
        result = ConfigValidator(environ=facts(path)["environ"]).check(loaded)
        assert (result.snapshot is None) == bool(errors(result.problems))
