"""How keys are described, and that each one that works is tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
import yaml

from gatewayd.config.schema.base import Kind, Section, below, known, listed, nested, numeral, truth, unused
from gatewayd.config.schema.deployment import COMPLETION_PARAMETERS, LitellmParams
from gatewayd.config.schema.mock import MockResponse
from gatewayd.config.schema.root import Root
from gatewayd.config.tables import table
from tests.config.corpus import GOOD

KINDS: tuple[Kind, ...] = ("translated", "ignored", "refused")
SECTIONS = tuple(dict.fromkeys((*below(Root), *below(MockResponse))))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_has_one_place_and_a_description(section: type[Section]) -> None:
    names = list(section.model_fields)
    for kind in KINDS:
        names += [name for group in listed(section, kind).values() for name in group]
    assert len(names) == len(set(names)) == len(known(section))
    assert section.__doc__
    for field in section.model_fields.values():
        assert field.description
        assert field.description.endswith(".")


def test_every_list_of_keys_belongs_to_a_section_and_is_of_a_known_kind() -> None:
    names = {section.__name__ for section in SECTIONS}
    sections = {name: lists for name, lists in table("keys").items() if name[0].isupper()}
    assert names >= sections.keys() | table("keys")["empty_counts"].keys()
    assert {kind for lists in sections.values() for kind in lists} == set(get_args(Kind))


def test_support_is_told_with_a_reason() -> None:
    for section in SECTIONS:
        for support, reason in unused(section).values():
            assert support in ("ignored", "refused")
            assert len(reason) > 10


def test_completion_parameters_are_fields() -> None:
    assert set(COMPLETION_PARAMETERS) <= set(LitellmParams.model_fields)


def used(section: type[Section], mapping: Any) -> Iterator[tuple[type[Section], str]]:
    if not isinstance(mapping, Mapping):
        return
    for name in mapping:
        yield section, name
    inner = nested(section)
    if section is LitellmParams:
        inner = (*inner, ("mock_response", MockResponse, "one"))
    for name, child, many in inner:
        value = mapping.get(name)
        if many == "one":
            yield from used(child, value)
        else:
            items = value if isinstance(value, list) else value.values() if isinstance(value, Mapping) else ()
            for item in items:
                yield from used(child, item)


def test_every_key_that_works_is_exercised_by_a_good_file() -> None:
    """A new key needs a line in tests/config/good and what comes of it in the facts beside it."""
    seen: set[tuple[type[Section], str]] = set()
    for path in GOOD:
        seen.update(used(Root, yaml.safe_load(path.read_text(encoding="utf-8"))))
    missing = [
        f"{section.__name__}.{name}"
        for section in SECTIONS
        for name in (*section.model_fields, *(n for group in listed(section, "translated").values() for n in group))
        if (section, name) not in seen
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-5", -5), ("0.5", 0.5), ("0", 0), ("1e3", "1e3"), ("08", "08"), ("", ""), ("5 ", "5 "), ("٥", "٥")],
)
def test_numeral(text: str, value: object) -> None:
    assert numeral(text) == value
    assert numeral([text]) == [text]


def test_truth() -> None:
    assert [truth(text) for text in ("true", "False", "TRUE", "yes", "")] == [True, False, True, "yes", ""]
    assert truth(1) == 1
