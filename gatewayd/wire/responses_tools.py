"""Tools, tool choice and output format in OpenAI's Responses API, both ways. Part of `gatewayd.wire.responses`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    CustomTool,
    FunctionTool,
    OutputFormat,
    Request,
    ServerTool,
    Tool,
    ToolChoice,
    ToolKind,
    ToolName,
)
from gatewayd.wire.converting import BOOLEAN, STRING, DropList, Members, as_json, extra_of, flat_name, invalid

NOT_RESPONSES: Final = "cannot be expressed in the Responses API"


def read_tools(tools: list[Members]) -> tuple[tuple[Tool, ...], dict[str, str | None]]:
    """The tools, those of namespaces one by one, and the descriptions of the namespaces. Raises InvalidRequest."""
    found: list[Tool] = []
    namespaces: dict[str, str | None] = {}
    for tool in tools:
        whole = tool.rest()
        kind = tool.take("type", STRING)
        if kind != "namespace":
            found.append(_tool(tool, kind, as_json(whole), None))
            continue
        namespace = _name(tool)
        namespaces[namespace] = tool.take("description", STRING)
        for member in tool.member_list("tools") or ():
            raw = as_json(member.rest())
            found.append(_tool(member, member.take("type", STRING), raw, namespace))
    return tuple(found), namespaces


def _tool(tool: Members, kind: str | None, whole: msgspec.Raw, namespace: str | None) -> Tool:
    if kind == "function":
        return FunctionTool(
            name=_name(tool),
            description=tool.take("description", STRING),
            parameters=tool.raw("parameters"),
            strict=tool.take("strict", BOOLEAN),
            namespace=namespace,
            deferred=tool.take("defer_loading", BOOLEAN),
            extra=tool.rest(),
        )
    if kind == "custom":
        return CustomTool(
            name=_name(tool),
            description=tool.take("description", STRING),
            format=tool.raw("format"),
            namespace=namespace,
            deferred=tool.take("defer_loading", BOOLEAN),
            extra=tool.rest(),
        )
    if kind is None:
        raise invalid(tool.path("type"), "is missing")
    return ServerTool(dialect="responses", type=kind, name=tool.take("name", STRING), raw=whole)


def _name(tool: Members) -> str:
    name = tool.take("name", STRING)
    if name is None:
        raise invalid(tool.path("name"), "is missing")
    return name


def read_choice(choice: Any, tools: Iterable[Tool]) -> ToolChoice:
    """Raises InvalidRequest."""
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(mode=choice)
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(allowed)}:
            names = tuple(name for tool in allowed for name in _names(tool, tools))
            return ToolChoice(mode=mode, allowed=names)
        case {"type": str()}:
            names = tuple(_names(choice, tools))
            if len(names) == 1:
                return ToolChoice(mode="named", named=names[0], extra=_beside(choice, names[0]))
            return ToolChoice(mode="required", allowed=names)
        case _:
            raise invalid("tool_choice", "must be auto, none, required, or an object that names tools")


def _names(tool: Any, tools: Iterable[Tool]) -> Iterable[ToolName]:
    match tool:
        case {"type": "function" | "custom" as kind, "name": str(name), **rest}:
            namespace = rest.get("namespace")
            yield ToolName(name, kind, namespace if isinstance(namespace, str) else None)
        case {"type": "namespace", "name": str(namespace)}:
            for other in tools:
                if not isinstance(other, ServerTool) and other.namespace == namespace:
                    yield ToolName(other.name, "custom" if isinstance(other, CustomTool) else "function", namespace)
        case {"type": str(kind)}:
            yield ToolName(kind, "server")
        case _:
            pass


def _beside(choice: dict[str, Any], name: ToolName) -> dict[str, msgspec.Raw]:
    """What a choice of a server's tool says beside its type."""
    return dict(extra_of({key: choice[key] for key in choice if key != "type"})) if name.kind == "server" else {}


def read_format(form: Any) -> OutputFormat:
    """Raises InvalidRequest."""
    match form:
        case {"type": "text" | "json_object" as kind, **rest}:
            return OutputFormat(kind=kind, extra=extra_of(rest))
        case {"type": "json_schema", "name": str(name), **rest}:
            schema, strict = rest.pop("schema", None), rest.pop("strict", None)
            description = rest.pop("description", None)
            return OutputFormat(
                kind="json_schema",
                name=name,
                description=description if isinstance(description, str) else None,
                schema=None if schema is None else as_json(schema),
                strict=strict if isinstance(strict, bool) else None,
                extra=extra_of(rest),
            )
        case _:
            raise invalid("text.format", "must be an object of type text, json_object or json_schema with its name")


# --- writing ------------------------------------------------------------------------------------------------------


def write_tools(request: Request, losses: DropList | None) -> list[Any]:
    """`losses` None: nothing can be lost, because the tools are only repeated."""
    own = request.dialect == "responses"
    written: list[Any] = []
    group: tuple[str | None, list[Any]] = (None, written)
    for tool in request.tools or ():
        if isinstance(tool, ServerTool):
            if tool.dialect == "responses":
                written.append(tool.raw)
            elif losses is not None:
                losses.drop(f"tools.{tool.name or tool.type}")
            group = (None, written)
            continue
        spec = _written(tool, losses, own=own)
        if tool.namespace != group[0]:
            group = (tool.namespace, written)
            if tool.namespace is not None:
                members: list[Any] = []
                description = request.namespaces.get(tool.namespace) or ""
                written.append(
                    {"type": "namespace", "name": tool.namespace, "description": description, "tools": members}
                )
                group = (tool.namespace, members)
        group[1].append(spec)
    return written


def _written(tool: FunctionTool | CustomTool, losses: DropList | None, *, own: bool) -> dict[str, Any]:
    custom = isinstance(tool, CustomTool)
    spec: dict[str, Any] = {"type": "custom" if custom else "function", "name": tool.name}
    if tool.description is not None:
        spec["description"] = tool.description
    if isinstance(tool, CustomTool):
        if tool.format is not None:
            spec["format"] = tool.format
    else:
        spec["parameters"] = tool.parameters
        # This API makes a schema strict unless it is told not to; the others do not.
        spec["strict"] = tool.strict or False
    if tool.deferred is not None:
        spec["defer_loading"] = tool.deferred
    if own:
        spec.update(tool.extra)
    elif losses is not None:
        losses.parts("tools", tool.extra)
        if tool.cache is not None:
            losses.drop("tools.cache_control")
    return spec


def write_choice(choice: ToolChoice, losses: DropList | None) -> Any:
    if choice.allowed is not None:
        return {"type": "allowed_tools", "mode": choice.mode, "tools": [_named(name) for name in choice.allowed]}
    if choice.named is None:
        return choice.mode
    if choice.named.kind == "server":
        if losses is not None:
            losses.refuse("tool_choice", f"names a tool of the provider, which {NOT_RESPONSES}")
            return "auto"
        return {"type": choice.named.name, **choice.extra}
    return _named(choice.named)


def _named(tool: ToolName) -> dict[str, Any]:
    if tool.kind == "server":
        return {"type": tool.name}
    named = {"type": tool.kind, "name": tool.name}
    return named if tool.namespace is None else {**named, "namespace": tool.namespace}


def write_format(output: OutputFormat) -> dict[str, Any]:
    if output.kind != "json_schema":
        return {"type": output.kind, **output.extra}
    spec: dict[str, Any] = {"type": "json_schema", "name": output.name or "answer"}
    if output.description is not None:
        spec["description"] = output.description
    spec["schema"] = {} if output.schema is None else output.schema
    if output.strict is not None:
        spec["strict"] = output.strict
    return {**spec, **output.extra}


class CallNames:
    """What the caller calls the tools that a model calls by their names in a dialect without namespaces."""

    def __init__(self, request: Request) -> None:
        self._tools: dict[str, ToolName] = {}
        for tool in request.tools or ():
            if not isinstance(tool, ServerTool):
                kind: ToolKind = "custom" if isinstance(tool, CustomTool) else "function"
                found = ToolName(tool.name, kind, tool.namespace)
                self._tools.setdefault(flat_name(tool.name, tool.namespace), found)

    def original(self, name: str, kind: ToolKind) -> ToolName:
        return self._tools.get(name) or ToolName(name, kind)
