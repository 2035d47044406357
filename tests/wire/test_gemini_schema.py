"""Schemas for Gemini: the rewritten ones allow what the caller's allow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gatewayd.wire.gemini_schema import from_subset, to_json_schema, to_subset

Object = dict[str, Any]

# --- JSON Schema --------------------------------------------------------------------------------------------------

_references = st.sampled_from(["#/$defs/a", "#/$defs/b", "#/definitions/c", "#/properties/x", "#"])
_leaves: st.SearchStrategy[Object] = st.one_of(
    st.sampled_from([{"type": kind} for kind in ("string", "integer", "boolean", "null")]),
    st.sampled_from([{"const": 1}, {"const": "a"}, {"const": None}, {"enum": ["a", 1]}, {"type": ["string", "null"]}]),
    _references.map(lambda reference: {"$ref": reference}),
    _references.map(lambda reference: {"$ref": reference, "description": "d"}),
)


def _nested(inner: st.SearchStrategy[Object]) -> st.SearchStrategy[Object]:
    return st.one_of(
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("xy"), inner, max_size=2)},
            optional={"required": st.just(["x"]), "additionalProperties": st.just(False)},
        ),
    )


_nodes = st.recursive(_leaves, _nested, max_leaves=5)
_schemas = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.fixed_dictionaries({"x": _nodes, "y": _nodes}),
        # What references lead to is no reference itself, or a schema could refer to nothing but itself.
        "$defs": st.fixed_dictionaries({"a": _nested(_leaves), "b": st.just({"type": "string"})}),
        "definitions": st.fixed_dictionaries({"c": _nested(_leaves)}),
    },
    optional={"$schema": st.just("https://json-schema.org/draft/2020-12/schema")},
)
_values = st.recursive(
    st.sampled_from(["a", 1, True, None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=5,
)


def _valid(schema: Object, value: Any) -> bool | None:
    try:
        return Draft202012Validator(schema).is_valid(value)
    except RecursionError:  # a schema that refers to itself without anything between
        return None


@given(schema=_schemas, values=st.lists(st.fixed_dictionaries({}, optional={"x": _values, "y": _values}), min_size=3))
def test_the_same_values_are_valid(schema: Object, values: list[Any]) -> None:
    made, lost = to_json_schema(json.loads(json.dumps(schema)))
    for value in values:
        if lost or (expected := _valid(schema, value)) is None:
            return
        assert _valid(made, value) == expected


@given(_schemas)
def test_only_what_gemini_reads_is_left(schema: Object) -> None:
    made, _ = to_json_schema(schema)
    text = json.dumps(made)
    assert '"const"' not in text
    assert '"definitions"' not in text
    assert '"$schema"' not in text
    for node in _all(made):
        if "$ref" in node:
            assert node.keys() == {"$ref"}
            assert node["$ref"].removeprefix("#/$defs/") in made["$defs"]


def _all(node: Any) -> list[Object]:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [*([node] if isinstance(node, dict) else []), *(found for one in inner for found in _all(one))]


def test_references_of_zod() -> None:
    """They lead to the first place of the same schema, not to a definition."""
    schema = {
        "type": "object",
        "properties": {"from": {"type": "array", "items": {"type": "string"}}, "to": {"$ref": "#/properties/from"}},
    }
    made, lost = to_json_schema(schema)
    assert lost == set()
    assert made["properties"]["to"] == {"$ref": "#/$defs/from"}
    assert made["$defs"] == {"from": {"type": "array", "items": {"type": "string"}}}


def test_definitions_with_one_name() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/definitions/A"}},
        "$defs": {"A": {"type": "string"}},
        "definitions": {"A": {"type": "integer"}},
    }
    made, _ = to_json_schema(schema)
    assert made["$defs"] == {"A": {"type": "string"}, "A_2": {"type": "integer"}}
    assert made["properties"] == {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A_2"}}


@pytest.mark.parametrize("reference", ["#/$defs/missing", "https://example.com/schema", "#/properties/a/0"])
def test_references_that_lead_nowhere_are_named(reference: str) -> None:
    made, lost = to_json_schema({"properties": {"a": {"$ref": reference, "description": "d"}}})
    assert (made, lost) == ({"properties": {"a": {"description": "d"}}}, {"$ref"})


def test_a_reference_to_itself_ends() -> None:
    looped = {"$defs": {"a": {"$ref": "#/$defs/a", "title": "t"}}, "$ref": "#/$defs/a"}
    made, lost = to_json_schema(looped)
    assert lost == {"$ref"} or "$ref" in made


def test_escaped_pointers() -> None:
    schema = {"properties": {"a/b": {"type": "string"}, "c": {"$ref": "#/properties/a~1b"}}}
    assert to_json_schema(schema)[0]["$defs"] == {"a_1b": {"type": "string"}}


def test_nesting_is_bounded() -> None:
    schema: Any = {"type": "string"}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    for made, lost in (to_json_schema(schema), to_subset(schema)):
        assert lost == {"depth"}
        assert len(json.dumps(made)) < 5000


def test_what_is_no_schema() -> None:
    assert to_json_schema(True) == to_subset(None) == ({}, set())


# --- the subset ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        ({"type": "string", "format": "uri"}, {"type": "STRING"}, set()),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}, set()),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}, set()),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "STRING", "nullable": True}, set()),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "description": "d", "default": 1},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "description": "d", "nullable": True},
            set(),
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
            set(),
        ),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}, set()),
        ({"const": 1}, {"type": "INTEGER"}, {"const"}),
        ({"enum": ["a", ""]}, {"type": "STRING", "enum": ["a"]}, {"enum"}),
        ({"type": "integer", "enum": [1]}, {"type": "INTEGER"}, {"enum"}),
        ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}, set()),
        ({"type": "object", "properties": {}}, {"type": "OBJECT"}, set()),
        ({}, {"type": "OBJECT"}, set()),
        ({"type": "object", "additionalProperties": False, "$schema": "x"}, {"type": "OBJECT"}, set()),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"type": "OBJECT"}, {"additionalProperties"}),
        (
            {"type": "number", "exclusiveMinimum": 0, "minimum": 1},
            {"type": "NUMBER", "minimum": 1},
            {"exclusiveMinimum"},
        ),
        ({"type": "object", "patternProperties": {}, "not": {}}, {"type": "OBJECT"}, {"not", "patternProperties"}),
        (
            {
                "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}],
                "$defs": {"A": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
            },
            {
                "type": "OBJECT",
                "properties": {"b": {"type": "STRING"}, "a": {"type": "INTEGER"}},
                "required": ["a", "b"],
            },
            set(),
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/A", "description": "d"}}, "$defs": {"A": {"type": "string"}}},
            {"type": "OBJECT", "properties": {"a": {"type": "STRING", "description": "d"}}},
            set(),
        ),
    ],
)
def test_subset(schema: Object, expected: Object, lost: set[str]) -> None:
    assert to_subset(schema) == (expected, lost)


def test_recursive_references_are_unrolled_twice() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/tree"}}}
    made, lost = to_subset({"$ref": "#/$defs/tree", "$defs": {"tree": tree}})
    assert lost == {"$ref"}
    assert json.dumps(made).count('"child"') == 2


def test_inlining_is_bounded() -> None:
    """Each definition refers to the next one twice: 2**30 nodes if it were not."""
    defs: Object = {f"d{n}": {"properties": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "ab"}} for n in range(30)}
    defs["d30"] = {"type": "string"}
    _, lost = to_subset({"$ref": "#/$defs/d0", "$defs": defs})
    assert lost == {"depth"}
    made, lost = to_json_schema({"$ref": "#/$defs/d0", "$defs": defs})
    assert (len(made["$defs"]), lost) == (31, set())


# --- and back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"},
            {"type": "array", "items": {"type": "number"}, "minItems": 2},
        ),
        ({"type": "TYPE_UNSPECIFIED", "example": 1, "format": None}, {"examples": [1]}),
        (
            {"ref": "#/defs/A", "defs": {"A": {"type": "STRING"}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}},
        ),
        (True, True),
    ],
)
def test_from_subset(schema: Any, expected: Any) -> None:
    assert from_subset(schema) == expected


def test_property_ordering_orders_properties() -> None:
    schema = {"type": "OBJECT", "properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "a", 1, "z"]}
    assert list(from_subset(schema)["properties"]) == ["c", "a", "b"]


_plain = st.recursive(
    st.sampled_from([{"type": kind} for kind in ("string", "integer", "number", "boolean")]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("xyz"), inner, min_size=1)},
            optional={"required": st.just(["x"]), "description": st.text()},
        ),
    ),
    max_leaves=6,
)


@given(_plain)
def test_what_the_subset_can_say_comes_back(schema: Object) -> None:
    made, lost = to_subset(schema)
    assert lost == set()
    assert from_subset(made) == schema
    assert to_json_schema(schema) == (schema, set())
