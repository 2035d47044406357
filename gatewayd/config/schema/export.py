"""The file's shape as JSON Schema, for editors: `gatewayd schema`.

It is draft-07, because YAML support in editors handles that best. It is made from the sections; pydantic's own output
is draft 2020-12 and lacks references, known but unused keys, and YAML's empty values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewayd.config.schema.base import Section, below, listed, unused
from gatewayd.config.schema.mock import MockResponse
from gatewayd.config.schema.root import SECTIONS, Root

_DRAFT = "http://json-schema.org/draft-07/schema#"
_REFERENCE: dict[str, Any] = {
    "description": "A reference: os.environ/NAME, file:/path or credential:NAME; ${NAME} in the gatewayd section.",
    "type": "string",
    "pattern": r"^(os\.environ/|file:|credential:).+|\$\{.+",
}
# Numbers and booleans may also be quoted, as in litellm.
_AS_TEXT = {
    "integer": r"^-?[0-9]+$",
    "number": r"^-?[0-9]+(\.[0-9]+)?$",
    "boolean": r"^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$",
}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def json_schema() -> dict[str, Any]:
    """A fresh draft-07 schema of the whole file."""
    raw = Root.model_json_schema(ref_template="#/definitions/{model}")
    mock = MockResponse.model_json_schema(ref_template="#/definitions/{model}")
    definitions = {**raw.pop("$defs"), **mock.pop("$defs"), MockResponse.__name__: mock}
    params = definitions["LitellmParams"]["properties"]
    params["mock_response"] = {
        "description": params["mock_response"]["description"],
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "number"}},
            {"$ref": f"#/definitions/{MockResponse.__name__}"},
            {"type": "null"},
        ],
    }
    classes = {section.__name__: section for section in (*below(Root), *below(MockResponse))}
    schema: dict[str, Any] = {
        "$schema": _DRAFT,
        "title": "gatewayd configuration",
        **_section(Root, raw),
        "definitions": {
            "reference": _REFERENCE,
            **{name: _section(classes[name], definitions[name]) for name in sorted(definitions)},
        },
    }
    shared = {name: {"$ref": f"#/definitions/LitellmParams/properties/{name}"} for name in params}
    for section, name in (("Credential", "credential_values"), ("RouterSettings", "default_litellm_params")):
        written = schema["definitions"][section]["properties"][name]
        options = [{"type": "object", "properties": shared}, {"type": "null"}]
        schema["definitions"][section]["properties"][name] = {"description": written["description"], "anyOf": options}
    for name in (*SECTIONS, "environment_variables", "credential_list", "model_info"):
        owner = schema if name in schema["properties"] else schema["definitions"]["ModelEntry"]
        written = owner["properties"][name]
        owner["properties"][name] = {"description": written.pop("description"), "anyOf": [written, {"type": "null"}]}
    # A file with includes may have its deployments there.
    del schema["required"]
    schema["anyOf"] = [{"required": ["model_list"]}, {"required": ["include"]}]
    schema["patternProperties"] = {"^x-": {}}
    return schema


def _section(section: type[Section], raw: Mapping[str, Any]) -> dict[str, Any]:
    properties = {name: _property(value) for name, value in raw.get("properties", {}).items()}
    for purpose, names in listed(section, "translated").items():
        properties.update({name: {"description": f"For litellm: {purpose}."} for name in names})
    if not section.OWN:
        for name, (support, reason) in unused(section).items():
            properties[name] = {"description": f"{support.capitalize()}: {reason}."}
    result: dict[str, Any] = {"type": "object", "description": raw["description"], "properties": properties}
    if "required" in raw:
        result["required"] = raw["required"]
    if section.OWN:
        result["additionalProperties"] = False
    return result


def _property(raw: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    text = raw.get("description", "")
    if "x-approximated" in raw:
        text = f"{text} Approximated: {raw['x-approximated']}."
    if text:
        result["description"] = text
    if isinstance(raw.get("default"), str | int | float) and raw["default"] != "":
        result["default"] = raw["default"]
    bare = {name: value for name, value in raw.items() if name not in ("description", "default")}
    shape = _shape({name: value for name, value in bare.items() if not name.startswith("x-")})
    if "$ref" in shape:  # draft-07 ignores the neighbours of a $ref
        shape = {"allOf": [shape]}
    return {**result, **shape}


def _shape(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A value's schema in draft-07; every scalar may also be a reference or a quoted number."""
    shape: dict[str, Any] = {}
    for name, value in raw.items():
        if name == "anyOf":
            shape[name] = _flat([_shape(option) for option in value])
        elif name in ("items", "additionalProperties") and isinstance(value, Mapping):
            shape[name] = _shape(value)
        elif name != "title":
            shape[_BOUNDS.get(name, name)] = value
    kind = shape.get("type")
    reference = {"$ref": "#/definitions/reference"}
    if kind in _AS_TEXT:
        return {"anyOf": [shape, reference, {"type": "string", "pattern": _AS_TEXT[kind]}]}
    if kind == "string" and "enum" in shape:
        return {"anyOf": [shape, reference]}
    return shape


def _flat(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alternatives of alternatives on one level, each once."""
    flat: list[dict[str, Any]] = []
    for option in options:
        inner = option["anyOf"] if set(option) == {"anyOf"} else [option]
        flat.extend(one for one in inner if one not in flat)
    return flat
