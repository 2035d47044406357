"""JSON Schema to what the Gemini API takes, and back.

Gemini from 2.0 on reads JSON Schema (`parametersJsonSchema`, `responseJsonSchema`) and ignores keywords that it does
not know. Four things that it does not read are rewritten: references to other places than `$defs`, a reference with
keywords beside it, `const`, and the `definitions` of older drafts. Older models read a subset of OpenAPI's schema only
(`parameters`, `responseSchema`) and refuse every other keyword, so for them references are inlined and such keywords
dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_MAX_DEPTH: Final = 64
"""Of a schema; what is nested deeper becomes a schema that allows anything."""
_MAX_NODES: Final = 20_000
"""Of a schema after its references are inlined."""
_MAX_UNROLLED: Final = 2
"""How often a recursive reference is inlined within itself."""
_MAX_HOPS: Final = 16

JsonSchema = dict[str, Any]

_SUBSET: Final = frozenset(
    {
        "type", "format", "title", "description", "nullable", "default", "enum", "items", "minItems", "maxItems",
        "properties", "required", "minProperties", "maxProperties", "minimum", "maximum", "minLength", "maxLength",
        "pattern", "anyOf", "propertyOrdering", "example",
    }
)  # fmt: skip
_ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "examples", "deprecated", "readOnly", "writeOnly"}
)
"""Dropping these changes nothing that the model is allowed to say."""
_SCHEMAS: Final = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_NUMBERS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_FORMATS: Final = frozenset({"enum", "date-time", "int32", "int64", "float", "double"})
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


# --- JSON Schema, for models that read it -----------------------------------------------------------------------------


def to_json_schema(schema: Any) -> tuple[JsonSchema, set[str]]:
    """The schema as Gemini reads it, and the keywords that are lost."""
    if not isinstance(schema, dict):
        return {}, set()
    writer = _JsonSchemaWriter(schema)
    return writer.whole(), writer.lost


class _JsonSchemaWriter:
    def __init__(self, root: JsonSchema) -> None:
        self._root = root
        self._moved: dict[str, str] = {}  # pointer -> name below $defs
        self._defs: JsonSchema = {}
        self.lost: set[str] = set()

    def whole(self) -> JsonSchema:
        top: JsonSchema = self._node(self._root, 0, top=True)
        if self._defs:
            top["$defs"] = self._defs
        return top

    def _node(self, node: Any, depth: int, *, top: bool = False) -> Any:
        if not isinstance(node, dict):
            return node
        if depth > _MAX_DEPTH:
            self.lost.add("depth")
            return {}
        if isinstance(reference := node.get("$ref"), str):
            return self._reference(node, reference, depth)
        made: JsonSchema = {}
        for key, value in node.items():
            if key in _MAPS and isinstance(value, dict):
                if key not in ("$defs", "definitions"):
                    made[key] = {name: self._node(one, depth + 1) for name, one in value.items()}
            elif key in _LISTS and isinstance(value, list):
                made[key] = [self._node(one, depth + 1) for one in value]
            elif key in _SCHEMAS:
                made[key] = self._node(value, depth + 1)
            elif key == "const":
                made["enum"] = [value]
                made.setdefault("type", node.get("type") or _TYPES.get(type(value), "object"))
            elif not (key == "$schema" or (top and key == "$id")):
                made[key] = value
        return made

    def _reference(self, node: JsonSchema, reference: str, depth: int) -> Any:
        beside = {key: value for key, value in node.items() if not key.startswith("$") and key != "definitions"}
        for _ in range(_MAX_HOPS):
            target = _resolve(self._root, reference)
            if not isinstance(target, dict):
                break
            if not beside:
                return {"$ref": f"#/$defs/{self._name(reference, target, depth)}"}
            onward = target.get("$ref")
            if not isinstance(onward, str):
                return self._node({**target, **beside}, depth + 1)
            beside = {**{key: value for key, value in target.items() if not key.startswith("$")}, **beside}
            reference = onward
        self.lost.add("$ref")
        return self._node(beside, depth + 1)

    def _name(self, reference: str, target: JsonSchema, depth: int) -> str:
        """The name below `$defs` of what a reference leads to."""
        name = self._moved.get(reference)
        if name is None:
            name = _last_name(reference)
            taken = set(self._moved.values())
            name = next(one for one in (name, *(f"{name}_{n}" for n in range(2, _MAX_NODES))) if one not in taken)
            self._moved[reference] = name
            self._defs[name] = {}  # keeps its place
            self._defs[name] = self._node(target, depth + 1)
        return name


def _last_name(reference: str) -> str:
    last = reference.rpartition("/")[2]
    return "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in last) or "root"


def _resolve(root: JsonSchema, reference: str) -> Any:
    """What a JSON pointer into the schema leads to; None for other references, and those that lead nowhere."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


# --- OpenAPI's subset, for older models ---------------------------------------------------------------------------


def to_subset(schema: Any) -> tuple[JsonSchema, set[str]]:
    """The schema as models before 2.0 read it, and the keywords that are lost."""
    if not isinstance(schema, dict):
        return {}, set()
    writer = _SubsetWriter(schema)
    return writer.node(schema, (), 0), writer.lost


class _SubsetWriter:
    def __init__(self, root: JsonSchema) -> None:
        self._root = root
        self._nodes = 0
        self.lost: set[str] = set()

    def node(self, node: Any, inside: tuple[str, ...], depth: int) -> JsonSchema:
        """`inside`: the references that are being inlined around this node."""
        self._nodes += 1
        if not isinstance(node, dict):
            return {}
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            self.lost.add("depth")
            return {"type": "OBJECT"}
        if isinstance(reference := node.get("$ref"), str):
            target = _resolve(self._root, reference)
            if not isinstance(target, dict) or inside.count(reference) >= _MAX_UNROLLED:
                self.lost.add("$ref")
                target = {}
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return self.node({**target, **beside}, (*inside, reference), depth + 1)
        if isinstance(parts := node.get("allOf"), list):
            return self.node(self._merged(node, parts), inside, depth + 1)
        return self._plain(node, inside, depth)

    def _merged(self, node: JsonSchema, parts: list[Any]) -> JsonSchema:
        """One schema for all of several, as far as they are objects with properties."""
        made = {key: value for key, value in node.items() if key != "allOf"}
        for part in parts:
            hops = 0
            while isinstance(part, dict) and isinstance(part.get("$ref"), str) and hops < _MAX_HOPS:
                part, hops = _resolve(self._root, part["$ref"]), hops + 1
            for key, value in part.items() if isinstance(part, dict) else ():
                if key == "properties" and isinstance(value, dict):
                    made[key] = {**value, **made.get(key, {})}
                elif key == "required" and isinstance(value, list):
                    made[key] = [*made.get(key, []), *value]
                else:
                    made.setdefault(key, value)
        return made

    def _plain(self, node: JsonSchema, inside: tuple[str, ...], depth: int) -> JsonSchema:
        made: JsonSchema = {}
        kinds = node.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
        named = [str(kind).upper() for kind in kinds if kind != "null"]
        nullable = "null" in kinds
        choices = node.get("anyOf", node.get("oneOf"))
        if isinstance(choices, list):
            schemas = [one for one in choices if not (isinstance(one, dict) and one.get("type") == "null")]
            nullable = nullable or len(schemas) < len(choices)
            made["anyOf"] = [self.node(one, inside, depth + 1) for one in schemas]
            if len(schemas) == 1:
                made = made["anyOf"][0]
        elif len(named) > 1:
            made["anyOf"] = [self.node({**node, "type": kind.lower()}, inside, depth + 1) for kind in named]
        for key, value in node.items():
            self._keyword(made, key, value, inside, depth)
        if "const" in node:
            named = named or [_TYPES.get(type(node["const"]), "object").upper()]
            if isinstance(node["const"], str):
                made["enum"] = [node["const"]]
        if "anyOf" in made:  # such models take `anyOf` with nothing but words beside it
            made = {key: value for key, value in made.items() if key in ("anyOf", "title", "description")}
        elif len(named) == 1:
            made["type"] = named[0]
        elif "type" not in made:
            made["type"] = "STRING" if "enum" in made else "ARRAY" if "items" in made else "OBJECT"
        if made.get("type") == "ARRAY":
            made.setdefault("items", {"type": "STRING"})
        if made.get("type") != "STRING" and "enum" in made:
            del made["enum"]
            self.lost.add("enum")
        if made.get("properties") == {}:
            del made["properties"]
        if nullable:
            made["nullable"] = True
        return made

    def _keyword(self, made: JsonSchema, key: str, value: Any, inside: tuple[str, ...], depth: int) -> None:
        if key in ("type", "anyOf", "oneOf", "allOf", "additionalProperties") or key in _ANNOTATIONS:
            if key == "additionalProperties" and value not in (False, True):
                self.lost.add(key)
        elif key == "properties" and isinstance(value, dict):
            made[key] = {name: self.node(one, inside, depth + 1) for name, one in value.items()}
        elif key == "items" and isinstance(value, dict):
            made[key] = self.node(value, inside, depth + 1)
        elif key == "enum" and isinstance(value, list):
            made[key] = [one for one in value if isinstance(one, str) and one]
            if len(made[key]) < len([one for one in value if one is not None]):
                self.lost.add(key)
        elif key == "format":
            if value in _FORMATS:
                made[key] = value
        elif key == "const":
            if not isinstance(value, str):
                self.lost.add(key)
        elif key in _SUBSET and value is not None:
            made[key] = value
        else:
            self.lost.add(key)


# --- Gemini's schema to JSON Schema -------------------------------------------------------------------------------


def from_subset(schema: Any, depth: int = 0) -> Any:
    """JSON Schema for a schema in OpenAPI's subset, as google-genai sends it: names of types in capitals, `nullable`,
    counts that may be strings."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return schema if not isinstance(schema, dict) else {}
    made: JsonSchema = {}
    for key, value in schema.items():
        if value is None:
            continue
        if key in ("properties", "defs") and isinstance(value, dict):
            made["$defs" if key == "defs" else key] = {name: from_subset(one, depth + 1) for name, one in value.items()}
        elif key == "anyOf" and isinstance(value, list):
            made[key] = [from_subset(one, depth + 1) for one in value]
        elif key in ("items", "additionalProperties"):
            made[key] = from_subset(value, depth + 1)
        elif key == "type" and isinstance(value, str):
            made[key] = value.lower()
        elif key in _NUMBERS and isinstance(value, str) and value.isdigit():
            made[key] = int(value)
        elif key == "ref" and isinstance(value, str):
            made["$ref"] = value.replace("#/defs/", "#/$defs/")
        elif key not in ("nullable", "propertyOrdering", "example"):
            made[key] = value
    if made.get("type") == "type_unspecified":
        del made["type"]
    if isinstance(order := schema.get("propertyOrdering"), list) and isinstance(made.get("properties"), dict):
        made["properties"] = _ordered(made["properties"], order)
    if "example" in schema:
        made["examples"] = [schema["example"]]
    return _nullable(made) if schema.get("nullable") is True else made


def _ordered(properties: Mapping[str, Any], order: list[Any]) -> JsonSchema:
    first = {name: properties[name] for name in order if isinstance(name, str) and name in properties}
    return {**first, **properties}


def _nullable(made: JsonSchema) -> JsonSchema:
    if "anyOf" in made:
        return {**made, "anyOf": [*made["anyOf"], {"type": "null"}]}
    if isinstance(made.get("enum"), list):
        made["enum"] = [*made["enum"], None]
    return {**made, "type": [made["type"], "null"]} if isinstance(made.get("type"), str) else made
