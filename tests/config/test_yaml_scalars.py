"""YAML 1.1 scalars: resolved like `yaml.safe_load`, and never an exception of PyYAML's own."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.yaml_scalars import STR, TYPED_TAGS, construct, tag_of


def resolved(text: str) -> Any:
    tag = tag_of(yaml.ScalarEvent(None, None, (True, False), text))
    return construct(tag, text) if tag in TYPED_TAGS else text


@pytest.mark.parametrize(
    "text", ["no", "on", "Yes", "1:30", "010", "0o10", "1_000", "2026-11-01", "1e3", "1.0e+3", ".inf", "~", "", "0x1F"]
)
def test_the_traps_of_yaml_1_1(text: str) -> None:
    """E-11: the typed checks need to see what YAML 1.1 makes of these, not what the author meant."""
    assert resolved(text) == yaml.safe_load(text)


@settings(max_examples=300)
@given(st.text("0123456789abcdefox+-_.:~TZtyn ", max_size=20))
def test_same_as_safe_load(text: str) -> None:
    """Where PyYAML raises, ValueError is raised here and nothing else."""
    node = yaml.ScalarEvent(None, None, (True, False), text)
    tag = tag_of(node)
    assert tag == yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if tag in TYPED_TAGS:
        loader = yaml.SafeLoader("")
        try:
            expected: Any = loader.construct_object(yaml.ScalarNode(tag, text))
        except Exception:
            with pytest.raises(ValueError, match="looks like"):
                construct(tag, text)
        else:
            assert repr(construct(tag, text)) == repr(expected)


@settings(max_examples=200)
@given(st.sampled_from(sorted(TYPED_TAGS)), st.text(max_size=12))
def test_explicit_tags_on_any_text(tag: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        construct(tag, text)


def test_very_long_scalars_are_text() -> None:
    """E-09: no quadratic work on a number of a million digits."""
    assert tag_of(yaml.ScalarEvent(None, None, (True, False), "1" * 1_000_000)) == STR


@pytest.mark.parametrize("text", ["9" * 400, "0x" + "f" * 400, "-" + "1" * 4000])
def test_an_integer_that_no_float_can_hold_is_refused(text: str) -> None:
    """With an explicit tag it may have any length: `rpm: !!int 999...`."""
    with pytest.raises(ValueError, match="too many digits"):
        construct("tag:yaml.org,2002:int", text)
