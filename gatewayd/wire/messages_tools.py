"""Tools, tool choice and output format in Anthropic's Messages API, both ways. Part of `gatewayd.wire.messages`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    CustomTool,
    FunctionTool,
    Json,
    ModelTarget,
    Request,
    ServerTool,
    Tool,
    ToolChoice,
    ToolName,
)
from gatewayd.wire.converting import (
    BOOLEAN,
    MEMBERS,
    STRING,
    DropList,
    Members,
    as_json,
    cache_control,
    cache_mark,
    flat_name,
    invalid,
    text_or_none,
)
from gatewayd.wire.openai import parsed
from gatewayd.wire.tool_names import FREE_TEXT

API: Final = "the Anthropic API"
_NOT_HERE: Final = f"cannot be expressed in {API}"
_DATED: Final = re.compile(r"_20\d{6}$")
"""Ends the types of Anthropic's own tools: `web_search_20250305`."""
_EMPTY: Final = msgspec.Raw(b'{"type":"object","properties":{}}')


# --- reading ------------------------------------------------------------------------------------------------------


def read_anthropic_tool(tool: Members) -> Tool:
    """Tools with a type are Anthropic's own; `custom` is a function of the caller's, whatever its name suggests."""
    kind, name = tool.peek("type", STRING), tool.peek("name", STRING)
    if kind not in (None, "custom"):
        return ServerTool(dialect="messages", type=kind, name=name, raw=as_json(tool.rest()))
    if name is None:
        raise invalid(tool.path("name"), "is missing")
    tool.raw("name")
    return FunctionTool(
        name=name,
        description=tool.take("description", STRING),
        parameters=tool.raw("input_schema"),
        strict=tool.take("strict", BOOLEAN),
        cache=cache_mark(tool.value("cache_control"), tool.path("")),
        deferred=tool.take("defer_loading", BOOLEAN),
        extra=tool.rest(),
    )


def read_anthropic_choice(choice: Any) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls may be parallel."""
    parallel = None
    if isinstance(choice, dict) and isinstance(disabled := choice.get("disable_parallel_tool_use"), bool):
        parallel = not disabled
    match choice:
        case None:
            return None, None
        case {"type": "auto" | "none" as mode}:
            return ToolChoice(mode=mode), parallel
        case {"type": "any"}:
            return ToolChoice(mode="required"), parallel
        case {"type": "tool", "name": str(name)}:
            return ToolChoice(mode="named", named=ToolName(name)), parallel
        case _:
            raise invalid("tool_choice", "must be an object of type auto, any, none, or tool with a name")


# --- writing ------------------------------------------------------------------------------------------------------


def write_anthropic_tools(request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> None:
    """Adds `tools` and `tool_choice`. A choice of some tools is written as those tools only."""
    tools, choice = request.tools, request.tool_choice
    if tools and choice is not None and choice.allowed is not None:
        allowed = {(name.name, name.namespace) for name in choice.allowed}
        tools = tuple(tool for tool in tools if isinstance(tool, ServerTool) or (tool.name, tool.namespace) in allowed)
    written = [found for tool in tools or () if (found := _write_tool(request, tool, target, losses)) is not None]
    if written or (request.tools is not None and request.dialect == "messages"):
        body["tools"] = written
    if not written:
        return
    wanted = _write_choice(choice, losses, own=request.dialect == "messages")
    if request.parallel_tool_calls is not None and (wanted is not None or not request.parallel_tool_calls):
        wanted = wanted or {"type": "auto"}
        if wanted["type"] != "none":
            wanted["disable_parallel_tool_use"] = not request.parallel_tool_calls
    if wanted is not None:
        body["tool_choice"] = wanted


def _write_tool(request: Request, tool: Tool, target: ModelTarget, losses: DropList) -> Any:
    if isinstance(tool, ServerTool):
        if tool.dialect == "messages" or (
            tool.dialect == "chat" and tool.type[-9:-8] == "_" and tool.type[-8:].isdigit()
        ):
            return tool.raw  # LiteLLM's clients put Anthropic's own tools into chat requests
        losses.drop(f"tools.{tool.name or tool.type}")
        return None
    own = request.dialect == "messages"
    written: dict[str, Any] = {"name": tool.name if own else flat_name(tool.name, tool.namespace)}
    if tool.description is not None:
        written["description"] = tool.description
    if isinstance(tool, CustomTool):
        written["input_schema"] = FREE_TEXT
        if tool.format is not None and b'"text"' not in bytes(tool.format):
            losses.drop("tools.format")
    else:
        written["input_schema"] = tool.parameters if own else _input_schema(tool)
        if tool.strict and not (own or target.structured_output):
            losses.drop("tools.strict")
        elif tool.strict or (own and tool.strict is not None):
            written["strict"] = tool.strict
    if tool.cache is not None:
        written["cache_control"] = cache_control(tool.cache)
    if tool.deferred is not None:
        written["defer_loading"] = tool.deferred
    if own:
        written.update(tool.extra)
        if written["input_schema"] is None:
            del written["input_schema"]
    else:
        losses.parts("tools", tool.extra)
    return written


def _input_schema(tool: FunctionTool) -> Json:
    """Anthropic wants a schema, and `type: object` in it."""
    if tool.parameters is None:
        return _EMPTY
    try:
        members = MEMBERS.decode(tool.parameters)
    except msgspec.DecodeError:
        raise invalid(f"tools.{tool.name}.parameters", "must be an object") from None
    if "type" in members:
        return tool.parameters
    return as_json({"type": "object", "properties": {}, **members})


def _write_choice(choice: ToolChoice | None, losses: DropList, *, own: bool) -> dict[str, Any] | None:
    if choice is None:
        return None
    if choice.named is not None:
        if choice.named.kind == "server":
            losses.refuse("tool_choice", f"names a tool of another provider, which {_NOT_HERE}")
            return None
        name = choice.named.name if own else flat_name(choice.named.name, choice.named.namespace)
        return {"type": "tool", "name": name}
    return {"type": "any" if choice.mode == "required" else choice.mode}


# --- schemas of answers -------------------------------------------------------------------------------------------

_CONSTRAINTS: Final = frozenset(
    {
        "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems", "minimum",
        "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minProperties",
        "maxProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
        "unevaluatedProperties", "if", "then", "else", "not",
    }
)  # fmt: skip
"""Keywords that Anthropic's structured outputs refuse."""
_SCHEMAS: Final = frozenset({"properties", "$defs", "definitions"})
_LISTS: Final = frozenset({"anyOf", "allOf", "oneOf"})


def output_schema(schema: Json) -> Json:
    """A schema as Anthropic takes it for answers: constraints become words, which the model still reads."""
    try:
        return as_json(_plain(parsed("schema", schema)))
    except RecursionError:
        raise invalid("schema", "is nested too deeply") from None


def _plain(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    plain: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in schema.items():
        if name in _CONSTRAINTS:
            if value not in (None, False):
                notes.append(f"{name}: {msgspec.json.encode(value).decode()}")
        elif name in _SCHEMAS and isinstance(value, Mapping):
            plain[name] = {member: _plain(inner) for member, inner in value.items()}
        elif name in _LISTS:
            if not isinstance(value, list):
                continue
            name = "anyOf" if name == "oneOf" else name
            plain[name] = [*plain.get(name, ()), *map(_plain, value)]
        elif name == "items":
            plain[name] = _plain(value)
        else:
            plain[name] = value
    if plain.get("type") == "object" or "properties" in plain:
        plain["additionalProperties"] = False
    if notes:
        said = text_or_none(plain.get("description"))
        plain["description"] = " ".join(filter(None, (said, f"({'; '.join(notes)})")))
    return plain
