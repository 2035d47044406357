"""The JSON Schema that editors get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from gatewayd.config.schema.base import below, known
from gatewayd.config.schema.export import json_schema
from gatewayd.config.schema.mock import MockResponse
from gatewayd.config.schema.root import Root
from tests.config.corpus import BAD, CONFIGS, GOOD, ROOT, expectations

SCHEMA = json_schema()
VALIDATOR = Draft7Validator(SCHEMA)

# What a schema can see: mistakes of shape. Whether names lead anywhere it cannot know.
SHAPE = {"missing_key", "wrong_type", "out_of_range"}
BLIND = {
    "model_list[2].litellm_params.extra_headers.host",
    "model_list[1].litellm_params.rpm",  # a reference whose value is no number
}


def test_it_is_a_draft_07_schema() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [*CONFIGS, *GOOD], ids=lambda path: str(path.relative_to(ROOT)))
def test_good_files_are_accepted(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [f"{list(e.absolute_path)}: {e.message}" for e in VALIDATOR.iter_errors(tree)] == []


def shape_mistakes() -> list[Any]:
    cases = []
    for path in BAD:
        for expected in expectations(path)[0]:
            own = expected.code in ("unknown_key", "unsupported_key") and expected.path.startswith("gatewayd.")
            if (expected.code in SHAPE or own) and path.stem != "references":
                cases.append(pytest.param(path, expected.path, id=f"{path.stem}-{expected.path}"))
    return cases


@pytest.mark.parametrize(("path", "place"), shape_mistakes())
def test_shape_mistakes_are_refused(path: Path, place: str) -> None:
    """Each at its own place, or at the mapping it stands in."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {_dotted(error) for error in VALIDATOR.iter_errors(tree)}
    parents = {place, place.rpartition(".")[0], place.rpartition("[")[0], "gatewayd"}
    assert any(one in parents or place.startswith(f"{one}.") for one in found), sorted(found)


def _dotted(error: Any) -> str:
    text = ""
    for part in error.absolute_path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@pytest.mark.parametrize(
    "value", [5, "5", "os.environ/RPM", "file:/run/rpm", "credential:rpm", None], ids=lambda value: repr(value)
)
def test_a_number_may_be_quoted_or_a_reference(value: Any) -> None:
    tree = {"model_list": [{"model_name": "a", "litellm_params": {"model": "m", "rpm": value}}]}
    assert VALIDATOR.is_valid(tree)


@pytest.mark.parametrize("value", ["many", "1e3", 1.5, [], True])
def test_other_things_are_no_number(value: Any) -> None:
    tree = {"model_list": [{"model_name": "a", "litellm_params": {"model": "m", "rpm": value}}]}
    assert not VALIDATOR.is_valid(tree)


def test_every_key_is_described() -> None:
    """Editors show the text when a key is hovered over; keys that do nothing say so."""
    for section in (*below(Root), *below(MockResponse)):
        shape = SCHEMA if section is Root else SCHEMA["definitions"][section.__name__]
        described = {name for name, value in shape["properties"].items() if value.get("description")}
        expected = known(section) if not section.OWN else frozenset(section.model_fields)
        assert expected == described
    general = SCHEMA["definitions"]["GeneralSettings"]["properties"]
    assert general["database_url"]["description"].startswith("Ignored: ")
    assert general["custom_auth"]["description"].startswith("Refused: ")


def test_only_our_own_sections_are_closed() -> None:
    closed = {name for name, shape in SCHEMA["definitions"].items() if shape.get("additionalProperties") is False}
    assert closed == {section.__name__ for section in (*below(Root), *below(MockResponse)) if section.OWN}
