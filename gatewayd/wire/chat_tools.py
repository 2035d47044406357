"""Tools, tool choice and output format in OpenAI's chat completions API, both ways. Part of `gatewayd.wire.chat`."""

from __future__ import annotations

from typing import Any, Final, cast

from gatewayd.wire.conversation import (
    CustomTool,
    FunctionTool,
    ModelTarget,
    OutputFormat,
    ServerTool,
    Tool,
    ToolChoice,
    ToolName,
)
from gatewayd.wire.converting import (
    BOOLEAN,
    STRING,
    DropList,
    Members,
    as_json,
    cache_control,
    cache_mark,
    extra_of,
    flat_name,
    invalid,
    text_or_none,
)
from gatewayd.wire.tool_names import FREE_TEXT

NOT_CHAT: Final = "cannot be expressed in the chat completions API"


def read_tool(tool: Members) -> Tool:
    if (function := tool.members("function")) is not None:
        return FunctionTool(
            name=_name(function),
            description=function.take("description", STRING),
            parameters=function.raw("parameters"),
            strict=function.take("strict", BOOLEAN),
            cache=cache_mark(tool.value("cache_control") or function.value("cache_control"), tool.path("")),
            deferred=tool.take("defer_loading", BOOLEAN),
            extra=function.rest(),
        )
    if (custom := tool.members("custom")) is not None:
        return CustomTool(
            name=_name(custom), description=custom.take("description", STRING), format=custom.raw("format")
        )
    raw = as_json(tool.rest())
    kind = tool.take("type", STRING)
    if kind is None or kind in ("function", "custom"):
        raise invalid(tool.path(kind or "type"), "is missing")
    return ServerTool(dialect="chat", type=kind, name=tool.take("name", STRING), raw=raw)


def _name(tool: Members) -> str:
    name = tool.take("name", STRING)
    if name is None:
        raise invalid(tool.path("name"), "is missing")
    return name


def read_tool_choice(choice: Any) -> ToolChoice:
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(mode=choice)
        case "any" | {"type": "any"}:
            return ToolChoice(mode="required")
        case {"type": "auto" | "none" | "required" as mode}:
            return ToolChoice(mode=mode)
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(tools)}}:
            names = tuple(name for tool in tools if (name := _read_name(tool)) is not None)
            return ToolChoice(mode=mode, allowed=names)
        case _:
            if (name := _read_name(choice)) is None:
                raise invalid("tool_choice", "must be auto, none, required, or an object that names a tool")
            return ToolChoice(mode="named", named=name)


def _read_name(tool: Any) -> ToolName | None:
    match tool:
        case {"type": "function" | "custom" as kind, **rest}:
            inner = rest.get(kind, rest)
            name = inner.get("name") if isinstance(inner, dict) else None
            return ToolName(name, cast(Any, kind)) if isinstance(name, str) else None
        case {"function": {"name": str(name)}}:
            return ToolName(name)
        case {"type": str(kind)}:
            return ToolName(kind, "server")
        case _:
            return None


def read_output(form: Any) -> OutputFormat:
    match form:
        case {"type": "text" | "json_object" as kind, **rest}:
            return OutputFormat(kind=kind, extra=extra_of(rest))
        case {"type": "json_schema", "json_schema": dict(spec)}:
            schema, strict = spec.get("schema"), spec.get("strict")
            return OutputFormat(
                kind="json_schema",
                name=text_or_none(spec.get("name")),
                description=text_or_none(spec.get("description")),
                schema=None if schema is None else as_json(schema),
                strict=strict if isinstance(strict, bool) else None,
            )
        case _:
            raise invalid("response_format", "must be an object of type text, json_object or json_schema")


def is_foreign(tool: Tool, losses: DropList) -> bool:
    """Whether only another dialect's provider can run it. Offers of such tools are advisory: the model goes without."""
    if not isinstance(tool, ServerTool) or tool.dialect == "chat":
        return False
    losses.drop(f"tools.{tool.name or tool.type}")
    return True


def write_tool(tool: Tool, target: ModelTarget, losses: DropList, *, own: bool) -> Any:
    """`own`: the request came in this dialect, so names are as they should be."""
    if isinstance(tool, ServerTool):
        return tool.raw
    spec: dict[str, Any] = {"name": tool.name if own else flat_name(tool.name, tool.namespace)}
    if tool.description is not None:
        spec["description"] = tool.description
    if isinstance(tool, FunctionTool):
        return _function(tool, spec, losses, own=own, marks=own or target.cache_marks)
    if not target.custom_tools:
        if tool.format is not None and b'"text"' not in bytes(tool.format):
            losses.drop("tools.format")
        return {"type": "function", "function": {**spec, "parameters": FREE_TEXT}}
    if tool.format is not None:
        spec["format"] = tool.format
    return {"type": "custom", "custom": spec}


def _function(tool: FunctionTool, spec: dict[str, Any], losses: DropList, *, own: bool, marks: bool) -> dict[str, Any]:
    if tool.parameters is not None:
        spec["parameters"] = tool.parameters
    if tool.strict is not None:
        spec["strict"] = tool.strict
    if own:
        spec.update(tool.extra)
    else:
        losses.parts("tools", tool.extra)
    written: dict[str, Any] = {"type": "function", "function": spec}
    if tool.deferred is not None:
        if own:
            written["defer_loading"] = tool.deferred
        elif tool.deferred:
            losses.drop("tools.defer_loading")
    if tool.cache is not None:
        if marks:
            written["cache_control"] = cache_control(tool.cache)
        else:
            losses.drop("tools.cache_control")
    return written


def write_tool_choice(choice: ToolChoice, target: ModelTarget, losses: DropList, *, own: bool) -> Any:
    def named(tool: ToolName) -> dict[str, Any]:
        kind = tool.kind if target.custom_tools else "function"
        return {"type": kind, kind: {"name": tool.name if own else flat_name(tool.name, tool.namespace)}}

    if choice.allowed is not None:
        tools = [named(name) for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    if choice.named is None:
        return choice.mode
    if choice.named.kind == "server":
        losses.refuse("tool_choice", f"names a tool of the provider, which {NOT_CHAT}")
        return "auto"
    return named(choice.named)


def write_output(output: OutputFormat) -> Any:
    if output.kind != "json_schema":
        return {"type": output.kind, **output.extra}
    spec: dict[str, Any] = {"name": output.name or "answer"}
    if output.description is not None:
        spec["description"] = output.description
    if output.schema is not None:
        spec["schema"] = output.schema
    if output.strict is not None:
        spec["strict"] = output.strict
    return {"type": "json_schema", "json_schema": spec}
