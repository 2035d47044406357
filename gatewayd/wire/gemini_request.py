"""Reads requests of Google's Gemini API into the neutral form. Part of `gatewayd.wire.gemini`.

The model and whether to stream are in the URL: `/v1beta/models/{model}:generateContent`, `:streamGenerateContent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    Effort,
    FunctionTool,
    Json,
    OutputFormat,
    Reasoning,
    Request,
    Role,
    Sampling,
    ServerTool,
    Tool,
    ToolChoice,
    ToolName,
    Turn,
)
from gatewayd.wire.converting import BOOLEAN, INTEGER, NUMBER, STRING, STRINGS, as_json, invalid
from gatewayd.wire.gemini_parts import CamelMembers, ConversationIds, read_parts
from gatewayd.wire.gemini_schema import from_subset

_CONFIG: Final = "generationConfig"
_NAMES: Final = {
    "tools": "tools", "tool_choice": "toolConfig", "reasoning": f"{_CONFIG}.thinkingConfig",
    "max_tokens": f"{_CONFIG}.maxOutputTokens", "output": f"{_CONFIG}.responseMimeType",
    "modalities": f"{_CONFIG}.responseModalities", "temperature": f"{_CONFIG}.temperature", "top_p": f"{_CONFIG}.topP",
    "top_k": f"{_CONFIG}.topK", "seed": f"{_CONFIG}.seed", "frequency_penalty": f"{_CONFIG}.frequencyPenalty",
    "presence_penalty": f"{_CONFIG}.presencePenalty", "logprobs": f"{_CONFIG}.responseLogprobs",
    "top_logprobs": f"{_CONFIG}.logprobs", "n": f"{_CONFIG}.candidateCount", "stop": f"{_CONFIG}.stopSequences",
    "service_tier": "serviceTier", "system": "systemInstruction",
}  # fmt: skip
_BINDING: Final = frozenset(
    {"cachedContent", "continuationToken", *(f"{_CONFIG}.{name}Config" for name in ("speech", "image"))}
) | {f"{_CONFIG}.responseFormat"}
"""Fields that change what is asked. Others that only Gemini knows are advisory."""
_ROLES: Final[Mapping[str, Role]] = {
    "user": "user", "model": "assistant", "function": "user", "system": "system", "tool": "user",
}  # fmt: skip
_LEVELS: Final[Mapping[str, Effort]] = {
    "MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh",
}  # fmt: skip
_JSON: Final = "application/json"


def read_request(body: bytes, *, model: str, stream: bool = False) -> Request:
    """Raises InvalidJson or InvalidRequest."""
    top = CamelMembers.of_body(body)
    assert isinstance(top, CamelMembers)
    extra: dict[str, Json] = {}
    config = top.camel_members(_CONFIG) or CamelMembers({}, _CONFIG)
    contents = top.camel_list("contents")
    if contents is None:
        raise invalid("contents", "is missing")
    ids = ConversationIds()
    turns = tuple(_turn(content, ids) for content in contents)
    system = top.camel_members("systemInstruction")
    tools = top.camel_list("tools")
    choice = _tool_choice(top.camel_members("toolConfig"), extra)
    modalities = config.take("responseModalities", STRINGS)
    request = Request(
        dialect="gemini",
        model=model,
        turns=turns,
        system=() if system is None else read_parts(system.camel_list("parts") or (), ids, None),
        tools=None if tools is None else tuple(tool for found in tools for tool in _tools(found)),
        tool_choice=choice,
        max_tokens=config.take("maxOutputTokens", INTEGER),
        sampling=_sampling(config),
        output=_output(config),
        reasoning=_reasoning(config.camel_members("thinkingConfig")),
        modalities=None if modalities is None else tuple(map(str.lower, modalities)),
        stream=stream,
        include_usage=True,
        service_tier=top.take("serviceTier", STRING),
        names=_NAMES,
    )
    top.raw("model")
    extra |= top.rest()
    extra |= {f"{_CONFIG}.{name}": raw for name, raw in config.rest().items()}
    return msgspec.structs.replace(request, extra=extra, binding=_BINDING.intersection(extra))


def _turn(content: CamelMembers, ids: ConversationIds) -> Turn:
    role = content.take("role", STRING)
    found = _ROLES.get("user" if role is None else role)
    if found is None:
        raise invalid(content.path("role"), "must be user or model")
    return Turn(found, read_parts(content.camel_list("parts") or (), ids, None), extra=content.rest())


def _sampling(config: CamelMembers) -> Sampling:
    top_k = config.take("topK", NUMBER)
    return Sampling(
        temperature=config.take("temperature", NUMBER),
        top_p=config.take("topP", NUMBER),
        top_k=None if top_k is None else int(top_k),
        seed=config.take("seed", INTEGER),
        frequency_penalty=config.take("frequencyPenalty", NUMBER),
        presence_penalty=config.take("presencePenalty", NUMBER),
        logprobs=config.take("responseLogprobs", BOOLEAN),
        top_logprobs=config.take("logprobs", INTEGER),
        n=config.take("candidateCount", INTEGER),
        stop=config.take("stopSequences", STRINGS),
    )


def _output(config: CamelMembers) -> OutputFormat | None:
    media_type = config.take("responseMimeType", STRING)
    schema = config.raw("responseJsonSchema")
    subset = config.value("responseSchema")
    if schema is None and subset is not None:
        schema = as_json(from_subset(subset))
    if media_type not in (None, "text/plain", _JSON):
        raise invalid(config.path("responseMimeType"), f"must be text/plain or {_JSON}")
    if schema is not None:
        return OutputFormat(kind="json_schema", schema=schema)
    if media_type is None:
        return None
    return OutputFormat(kind="json_object" if media_type == _JSON else "text")


def _reasoning(config: CamelMembers | None) -> Reasoning | None:
    if config is None:
        return None
    budget, level = config.take("thinkingBudget", INTEGER), config.take("thinkingLevel", STRING)
    shown = config.take("includeThoughts", BOOLEAN)
    return Reasoning(
        mode=None if budget is None else "disabled" if budget == 0 else "adaptive" if budget < 0 else "enabled",
        effort=_LEVELS.get((level or "").upper()),
        budget=budget if budget is not None and budget > 0 else None,
        display="summarized" if shown else "omitted",
        extra=config.rest(),
    )


# --- tools --------------------------------------------------------------------------------------------------------


def _tools(tool: CamelMembers) -> list[Tool]:
    """One object of Gemini's is one list of functions, or one tool that Google runs."""
    tools: list[Tool] = [_function(one) for one in tool.camel_list("functionDeclarations") or ()]
    for name, raw in tool.rest().items():
        tools.append(ServerTool(dialect="gemini", type=name, raw=as_json({name: raw})))
    return tools


def _function(function: CamelMembers) -> FunctionTool:
    name = function.take("name", STRING)
    if name is None:
        raise invalid(function.path("name"), "is missing")
    schema = function.raw("parametersJsonSchema")
    subset: Any = function.value("parameters")
    if schema is None and subset is not None:
        schema = as_json(from_subset(subset))
    return FunctionTool(
        name=name, description=function.take("description", STRING), parameters=schema, extra=function.rest()
    )


def _tool_choice(config: CamelMembers | None, extra: dict[str, Json]) -> ToolChoice | None:
    if config is None:
        return None
    calling = config.camel_members("functionCallingConfig")
    extra |= {f"toolConfig.{name}": raw for name, raw in config.rest().items()}
    if calling is None:
        return None
    mode = (calling.take("mode", STRING) or "AUTO").upper()
    allowed = calling.take("allowedFunctionNames", STRINGS) or ()
    names = tuple(ToolName(name) for name in allowed)
    rest = calling.rest()
    match mode:
        case "NONE":
            return ToolChoice(mode="none", extra=rest)
        case "ANY" if len(names) == 1:
            return ToolChoice(mode="named", named=names[0], extra=rest)
        case "ANY":
            return ToolChoice(mode="required", allowed=names or None, extra=rest)
        case "VALIDATED":
            return ToolChoice(mode="auto", allowed=names or None, extra={**rest, "mode": as_json("VALIDATED")})
        case "AUTO" | "MODE_UNSPECIFIED":
            return ToolChoice(mode="auto", extra=rest)
        case _:
            raise invalid(calling.path("mode"), "must be AUTO, ANY, NONE or VALIDATED")
