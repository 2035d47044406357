"""Reads requests of OpenAI's Responses API into the neutral form. Part of `gatewayd.wire.responses`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import OutputFormat, Reasoning, Request, Sampling, TextBlock, Turn
from gatewayd.wire.converting import (
    BOOLEAN,
    EFFORTS,
    INTEGER,
    MEMBERS,
    NUMBER,
    STRING,
    STRINGS,
    Members,
    as_json,
    extra_of,
    invalid,
)
from gatewayd.wire.responses_items import read_items
from gatewayd.wire.responses_tools import read_choice, read_format, read_tools

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"
_BINDING: Final = frozenset({"background", "conversation", "prompt"})
"""Fields that change what is asked. Others that only this API knows are advisory."""
_DEFAULTS: Final = {"background": b"false", "truncation": b'"disabled"'}
"""Values that say what happens anyway."""
_NAMES: Final = {
    "turns": "input",
    "messages": "input",
    "messages.thinking": "input.reasoning",
    "system": "instructions",
    "max_tokens": "max_output_tokens",
    "output": "text.format",
    "verbosity": "text.verbosity",
    "session": "prompt_cache_key",
    "safety_id": "safety_identifier",
    "previous_id": "previous_response_id",
    "logprobs": "include",
}


def read_request(body: bytes) -> Request:
    """Raises InvalidJson or InvalidRequest."""
    top = Members.of_body(body)
    system = top.take("instructions", STRING)
    listed = top.member_list("tools")
    tools, namespaces = (None, {}) if listed is None else read_tools(listed)
    choice = top.value("tool_choice")
    include = top.take("include", STRINGS) or ()
    extra: dict[str, msgspec.Raw] = {}
    reasoning = _reasoning(top, encrypted=ENCRYPTED in include)
    output, verbosity = _text(top, extra)
    others = tuple(name for name in include if name not in (ENCRYPTED, LOGPROBS))
    if others:
        extra["include"] = as_json(others)
    _stream_options(top, extra)
    top_logprobs = top.take("top_logprobs", INTEGER)
    request = Request(
        dialect="responses",
        model=top.take("model", STRING) or "",
        turns=_input(top),
        system=() if not system else (TextBlock(system),),
        tools=tools,
        namespaces=namespaces,
        tool_choice=None if choice is None else read_choice(choice, tools or ()),
        parallel_tool_calls=top.take("parallel_tool_calls", BOOLEAN),
        max_tokens=top.take("max_output_tokens", INTEGER),
        sampling=Sampling(
            temperature=top.take("temperature", NUMBER),
            top_p=top.take("top_p", NUMBER),
            logprobs=True if LOGPROBS in include or top_logprobs else None,
            top_logprobs=top_logprobs,
        ),
        output=output,
        verbosity=verbosity,
        reasoning=reasoning,
        stream=top.take("stream", BOOLEAN) or False,
        include_usage=True,
        user=top.take("user", STRING),
        metadata=top.take("metadata", MEMBERS),
        session=top.take("prompt_cache_key", STRING),
        safety_id=top.take("safety_identifier", STRING),
        service_tier=top.take("service_tier", STRING),
        store=top.take("store", BOOLEAN),
        previous_id=top.take("previous_response_id", STRING),
        names=_NAMES,
    )
    for name, raw in top.rest().items():
        if bytes(raw) != _DEFAULTS.get(name):
            extra[name] = raw
    return msgspec.structs.replace(request, extra=extra, binding=_BINDING.intersection(extra)) if extra else request


def _input(top: Members) -> tuple[Turn, ...]:
    given = top.value("input")
    if given is None:  # everything may be in the previous response
        return ()
    if isinstance(given, str):
        return (Turn("user", (TextBlock(given),)),)
    if not isinstance(given, list):
        raise invalid("input", "must be a string or a list of items")
    for at, item in enumerate(given):
        if not isinstance(item, dict):
            raise invalid(f"input[{at}]", "must be an object")
    return read_items(given, "input")


def _reasoning(top: Members, *, encrypted: bool) -> Reasoning | None:
    value = top.value("reasoning")
    if value is None:
        return Reasoning(encrypted=True) if encrypted else None
    if not isinstance(value, dict):
        raise invalid("reasoning", "must be an object")
    effort, summary = value.pop("effort", None), value.pop("summary", None)
    older = value.pop("generate_summary", None)
    summary = older if summary is None else summary
    if effort is not None and effort not in EFFORTS:
        raise invalid("reasoning.effort", f"must be one of {', '.join(EFFORTS)}")
    if summary is not None and not isinstance(summary, str):
        raise invalid("reasoning.summary", "must be a string")
    return Reasoning(effort=effort, summary=summary, encrypted=True if encrypted else None, extra=extra_of(value))


def _text(top: Members, extra: dict[str, msgspec.Raw]) -> tuple[OutputFormat | None, str | None]:
    value = top.value("text")
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise invalid("text", "must be an object")
    form, verbosity = value.pop("format", None), value.pop("verbosity", None)
    if verbosity is not None and not isinstance(verbosity, str):
        raise invalid("text.verbosity", "must be a string")
    for name, raw in extra_of(value).items():
        extra[f"text.{name}"] = raw
    return None if form is None else read_format(form), verbosity


def _stream_options(top: Members, extra: dict[str, msgspec.Raw]) -> None:
    value: Any = top.value("stream_options")
    if value is not None and value != {"include_obfuscation": False}:  # there is none anyway
        extra["stream_options"] = as_json(value)
