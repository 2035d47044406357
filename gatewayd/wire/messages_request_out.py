"""Writes requests of Anthropic's Messages API from the neutral form. Part of `gatewayd.wire.messages`."""

from __future__ import annotations

from typing import Any, Final

from gatewayd.wire.conversation import DEFAULT_SAMPLING, ModelTarget, Request, WrittenRequest
from gatewayd.wire.converting import MEMBERS, DropList, invalid, leading_system, without_server_items
from gatewayd.wire.messages_blocks import BlockWriter, flat, write_turns
from gatewayd.wire.messages_reasoning import MAX_TOKENS, write_reasoning
from gatewayd.wire.messages_tools import API, output_schema, write_anthropic_tools
from gatewayd.wire.openai import encode

_NOT_HERE: Final = f"cannot be expressed in {API}"
_DEFAULTS: Final = {
    "n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "logprobs": False, "top_logprobs": 0,
    "min_p": 0, "repetition_penalty": 1,
}  # fmt: skip
"""Sampling that Anthropic does not know, with the values that change nothing."""
_TIERS: Final = {"auto": "auto", "priority": "auto", "default": "standard_only"}
_JSON_ONLY: Final = "Answer with one JSON object and nothing else."


def write_request(request: Request, target: ModelTarget) -> WrittenRequest:
    """Raises InvalidRequest for what cannot be said and is not advisory."""
    losses = DropList(request, drop_params=target.drop_params)
    request = without_server_items(request, "messages", losses)
    own = request.dialect == "messages"
    body: dict[str, Any] = {"model": target.model, "max_tokens": request.max_tokens or target.max_tokens or MAX_TOKENS}
    blocks = BlockWriter(request, losses)
    if own:
        system, turns = request.system, request.turns
    else:
        system, turns = leading_system(request)
    body["messages"] = write_turns(turns, blocks, own=own, in_place=target.system_turns)
    if not own and not body["messages"]:
        raise invalid("messages", f"has nothing but system messages, which {_NOT_HERE}")
    written = blocks.write(system)
    write_anthropic_tools(request, target, losses, body)
    config: dict[str, Any] = {}
    _output(request, target, losses, config, written)
    if written:
        body["system"] = flat(written)
    write_reasoning(request, target, losses, body, config)
    _sampling(request, target, losses, body)
    _others(request, losses, body)
    if own:
        extra = dict(request.extra)
        if (rest := extra.pop("output_config", None)) is not None:
            config.update(MEMBERS.decode(rest))
        body.update(extra)
    else:
        losses.extra(API)
    if config:
        body["output_config"] = config
    if request.stream:
        body["stream"] = True
    return losses.written(encode(body))


def _output(request: Request, target: ModelTarget, losses: DropList, config: dict[str, Any], system: list[Any]) -> None:
    output = request.output
    if output is None or output.kind == "text":
        return
    if output.kind == "json_object":  # a schema of any object is not accepted
        system.append({"type": "text", "text": _JSON_ONLY})
    elif not target.structured_output:
        losses.refuse("output", "is not supported by this model")
    elif output.schema is not None:
        own = request.dialect == "messages"
        schema = output.schema if own else output_schema(output.schema)
        config["format"] = {"type": "json_schema", "schema": schema, **(output.extra if own else {})}


def _sampling(request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> None:
    sampling, own = request.sampling, request.dialect == "messages"
    if sampling is DEFAULT_SAMPLING:
        return
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if name in target.unsupported or (not own and thinks and not _fits_thinking(name, value)):
            losses.drop(name)
        elif not own and name == "temperature" and value > 1:
            losses.drop(name)
            body[name] = 1
        else:
            body[name] = value
    if not own and "temperature" in body and "top_p" in body:  # newer models refuse both together
        losses.drop("top_p") if body["top_p"] != 1 else None
        del body["top_p"]
    if sampling.stop:
        body["stop_sequences"] = [word for word in sampling.stop if own or word.strip()]
        if len(body["stop_sequences"]) < len(sampling.stop):
            losses.refuse("stop", f"has nothing but white space, which {_NOT_HERE}")
    if sampling.seed is not None:
        losses.drop("seed")
    for name, default in _DEFAULTS.items():
        if getattr(sampling, name) not in (None, default):
            losses.refuse(name, _NOT_HERE)


def _fits_thinking(name: str, value: float) -> bool:
    return (name == "temperature" and value == 1) or (name == "top_p" and value >= 0.95)


def _others(request: Request, losses: DropList, body: dict[str, Any]) -> None:
    own = request.dialect == "messages"
    metadata: dict[str, Any] = {}
    user = request.user if request.user is not None else request.safety_id
    if user is not None:
        metadata["user_id"] = user
    if request.metadata and own:
        metadata.update(request.metadata)
    elif request.metadata:
        losses.drop("metadata")
    if metadata:
        body["metadata"] = metadata
    if request.service_tier is not None:
        tier = _TIERS.get(request.service_tier, request.service_tier if own else None)
        if tier is None:
            losses.drop("service_tier")
        else:
            body["service_tier"] = tier
    if request.user is not None and request.safety_id is not None:
        losses.drop("safety_id")
    for name in ("verbosity", "session", "store"):
        if getattr(request, name) is not None:
            losses.drop(name)
    if request.modalities is not None and set(request.modalities) != {"text"}:
        losses.refuse("modalities", _NOT_HERE)
    if request.previous_id is not None:
        losses.refuse("previous_id", _NOT_HERE)
