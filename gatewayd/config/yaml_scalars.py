"""The meaning of a YAML scalar, by the rules of `yaml.safe_load` (YAML 1.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

PREFIX = "tag:yaml.org,2002:"
STR, MERGE = f"{PREFIX}str", f"{PREFIX}merge"
TEXT_TAGS = (STR, f"{PREFIX}value")
"""`value` is what YAML 1.1 takes a lone `=` for; PyYAML has no constructor for it, here it is text."""

_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = Resolver.yaml_implicit_resolvers
_NAMES = {"null": "null", "bool": "a boolean", "int": "an integer", "float": "a number", "timestamp": "a date"}
_CONSTRUCTORS: dict[str, Callable[[SafeConstructor, yaml.ScalarNode], Any]] = {
    f"{PREFIX}{name}": getattr(SafeConstructor, f"construct_yaml_{name}") for name in _NAMES
}
TYPED_TAGS = frozenset(_CONSTRUCTORS)
_MAX_IMPLICIT = 128
"""A longer plain scalar is text: no number or date needs more, and parsing a million digits as an int takes long."""

_MAX_BITS = 512
"""Of an integer; one without a tag cannot be longer."""


def tag_of(event: Any) -> str:
    """The tag of the scalar, or the tag for its spelling."""
    tag: str | None = event.tag
    if tag is not None and tag != "!":
        return tag
    text: str = event.value
    if event.implicit[0] and len(text) <= _MAX_IMPLICIT:
        for candidate, pattern in _RESOLVERS.get(text[:1], ()):
            if pattern.match(text):
                return candidate
    return STR


def construct(tag: str, text: str) -> Any:
    """The number, boolean, date or None that `text` is under one of `TYPED_TAGS`.

    Raises ValueError, without quoting `text`, for what only looks like one: 2026-13-45, `0x_`, `!!int x`; and for an
    integer with more digits than a float can have.
    """
    try:
        value = _CONSTRUCTORS[tag](SafeConstructor(), yaml.ScalarNode(tag, text))
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError):
        # PyYAML checks nothing: each of these comes from int(), a table of words, or a match that is None.
        raise ValueError(f"the value looks like {_NAMES[tag.removeprefix(PREFIX)]} but is not one") from None
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError("the number has too many digits")
    return value
