"""Demands of a caller that litellm would drop silently: expressed otherwise where the provider's API can, else refused.
The error names the field. With `drop_params` such fields are dropped, as configured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import InvalidRequest, Verdict


def check_demands(arguments: dict[str, Any], deployment: Deployment) -> None:
    """`arguments` are the caller's; they are changed. Raises InvalidRequest."""
    provider = deployment.provider
    is_claude = provider == "anthropic" or "claude" in deployment.model
    if is_claude or provider == "bedrock":
        wanted = arguments.get("response_format")
        if isinstance(wanted, dict) and wanted.get("type") == "json_object" and "response_schema" not in wanted:
            _leave_out("response_format", "a 'response_format' of type 'json_object'", arguments, deployment)
    elif provider in ("gemini", "vertex_ai"):
        tools = arguments.get("tools")
        if arguments.get("parallel_tool_calls") is False and tools:
            _leave_out("parallel_tool_calls", "a 'parallel_tool_calls' of false", arguments, deployment)
        for index, tool in enumerate(tools if isinstance(tools, list) else ()):
            function = tool.get("function") if isinstance(tool, dict) else None
            if isinstance(function, dict):
                _check_schema(function.get("parameters"), f"tools[{index}].function.parameters", deployment)


def unsupported(what: str, param: str, provider: str) -> InvalidRequest:
    """The error for something that the provider does not take."""
    hint = "with 'drop_params' the gateway leaves it out."
    error = InvalidRequest(f"{provider} does not accept {what}; {hint}", param=param)
    error.verdict = Verdict.ELSEWHERE  # another provider may take it
    return error


def _leave_out(name: str, what: str, arguments: dict[str, Any], deployment: Deployment) -> None:
    if not deployment.drop_params and name not in deployment.additional_drop_params:
        raise unsupported(what, name, deployment.provider)
    del arguments[name]


def _check_schema(schema: Any, param: str, deployment: Deployment) -> None:
    """The parameters of Gemini's tools know `enum` for texts, and no `const`, which is an `enum` of one."""
    for node in _nodes(schema):
        if isinstance(node.get("const"), str):
            node["enum"] = [node.pop("const")]
            node.setdefault("type", "string")
        values = [node["const"]] if "const" in node else node.get("enum")
        texts = isinstance(values, list) and all(isinstance(value, str | None) for value in values)
        if values is not None and not texts and not deployment.drop_params:
            raise unsupported("an 'enum' or 'const' of anything but texts", param, deployment.provider)


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and those inside it. What a property is called is no keyword."""
    if isinstance(schema, list):
        for item in schema:
            yield from _nodes(item)
    elif isinstance(schema, dict):
        yield schema
        for name in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"):
            yield from _nodes(schema.get(name))
        for name in ("properties", "$defs", "definitions"):
            inner = schema.get(name)
            yield from _nodes(list(inner.values()) if isinstance(inner, dict) else None)
