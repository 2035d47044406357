"""Writes requests for Bedrock's Converse API, whole and streamed: the bodies are the same. Part of
`gatewayd.wire.converse`.

What a model has besides (`top_k`, thinking) is in `additionalModelRequestFields`, in the model's own words. Fields of
the API itself that a caller put into its request (`guardrailConfig`) go on as they are.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from gatewayd.wire.conversation import (
    CustomTool,
    FunctionTool,
    ModelTarget,
    Request,
    ServerTool,
    ToolChoice,
    WrittenRequest,
)
from gatewayd.wire.converse_blocks import CONVERSE_API, ConverseBlocks, converse_turns
from gatewayd.wire.converse_model import ConverseModel
from gatewayd.wire.converting import MEMBERS, DropList, effort_of, flat_name, invalid, leading_system
from gatewayd.wire.messages_reasoning import MAX_TOKENS, write_reasoning
from gatewayd.wire.messages_tools import output_schema
from gatewayd.wire.openai import encode, parsed
from gatewayd.wire.tool_names import FREE_TEXT

_NOT_HERE: Final = f"cannot be expressed in {CONVERSE_API}"
_OWN: Final = ("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables")
_MORE: Final = "additionalModelRequestFields"
_DEFAULTS: Final = {
    "n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "logprobs": False, "top_logprobs": 0,
    "min_p": 0, "repetition_penalty": 1,
}  # fmt: skip
"""Sampling that the API does not know, with the values that change nothing."""
_DROPPED: Final = ("verbosity", "user", "metadata", "session", "safety_id", "store")
_TIERS: Final = frozenset({"default", "flex", "priority", "reserved"})
_JSON_ONLY: Final = "Answer with one JSON object and nothing else."


def write_request(request: Request, target: ModelTarget) -> WrittenRequest:
    """Raises InvalidRequest for what cannot be said and is not advisory."""
    return _ConverseWriter(request, target).written()


class _ConverseWriter:
    def __init__(self, request: Request, target: ModelTarget) -> None:
        self._own = {name: raw for name, raw in request.extra.items() if name in _OWN or name == _MORE}
        rest = {name: raw for name, raw in request.extra.items() if name not in self._own}
        self._request = request = replace(request, extra=rest, binding=request.binding.intersection(rest))
        self._target = target
        self._model = ConverseModel.named(target.model)
        self._losses = DropList(request, drop_params=target.drop_params)
        self._more: dict[str, Any] = {}
        """Fields of the model's own."""
        self._paths: list[str] = []
        """Fields of the model's own that its answer shall have."""

    def written(self) -> WrittenRequest:
        request, losses = self._request, self._losses
        blocks = self._blocks(has_tools=True)
        tools = self._tools(blocks)
        if not tools:
            blocks = self._blocks(has_tools=False)
        system, turns = leading_system(request)
        said, messages = blocks.system(system), converse_turns(turns, blocks, in_place=self._target.system_turns)
        if not messages:
            if not said:
                raise invalid("messages", "is empty")
            said, messages = [], [{"role": "user", "content": said}]
        body: dict[str, Any] = {"messages": messages}
        if tools:
            body["toolConfig"] = {"tools": tools}
            if (choice := self._tool_choice()) is not None:
                body["toolConfig"]["toolChoice"] = choice
        self._output(body, said)
        if said:
            body["system"] = said
        config = self._think()
        self._sampling(config)
        if config:
            body["inferenceConfig"] = config
        self._others(body)
        losses.extra(CONVERSE_API)
        return losses.written(encode(body))

    def _blocks(self, *, has_tools: bool) -> ConverseBlocks:
        return ConverseBlocks(self._model, self._losses, has_tools=has_tools)

    # --- tools ---

    def _tools(self, blocks: ConverseBlocks) -> list[dict[str, Any]]:
        """None for a choice of none: the API has no such choice. A choice of some is written as those tools only."""
        choice = self._request.tool_choice
        if choice is not None and choice.mode == "none":
            return []
        allowed = None if choice is None else choice.allowed
        names = None if allowed is None else {(name.name, name.namespace) for name in allowed}
        tools: list[dict[str, Any]] = []
        for tool in self._request.tools or ():
            if isinstance(tool, ServerTool):
                self._losses.drop(f"tools.{tool.name or tool.type}")
            elif names is None or (tool.name, tool.namespace) in names:
                tools.append({"toolSpec": self._tool(tool)})
                tools += blocks.cache_point(tool.cache, "tools")
        return tools

    def _tool(self, tool: FunctionTool | CustomTool) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": flat_name(tool.name, tool.namespace)}
        if tool.description:
            spec["description"] = tool.description
        if tool.deferred:
            self._losses.drop("tools.defer_loading")
        self._losses.parts("tools", tool.extra)
        if isinstance(tool, CustomTool):
            if tool.format is not None:
                self._losses.drop("tools.format")
            return {**spec, "inputSchema": {"json": FREE_TEXT}}
        schema: Any = {"type": "object", "properties": {}}
        if tool.parameters is not None:
            given = parsed("tools", tool.parameters)
            if not isinstance(given, dict):
                raise invalid(f"tools.{tool.name}.parameters", "must be an object")
            schema = tool.parameters if given.get("type") == "object" else {**schema, **given, "type": "object"}
        spec["inputSchema"] = {"json": schema}
        if tool.strict:
            if self._model.takes_strict and self._target.structured_output:
                spec["strict"] = True
            else:
                self._losses.drop("tools.strict")
        return spec

    def _tool_choice(self) -> dict[str, Any] | None:
        choice = self._request.tool_choice
        written = None if choice is None else self._choice(choice)
        parallel = self._request.parallel_tool_calls
        if parallel is False and self._model.is_claude:
            # Both together may not say the type.
            kind = {} if written is not None else {"type": "auto"}
            self._more["tool_choice"] = {**kind, "disable_parallel_tool_use": True}
        elif parallel is False:
            self._losses.drop("parallel_tool_calls")
        return written

    def _choice(self, choice: ToolChoice) -> dict[str, Any] | None:
        if "tool_choice" in self._target.unsupported:
            self._losses.drop("tool_choice")
            return None
        if choice.named is None:
            return {"any": {}} if choice.mode == "required" else {"auto": {}}
        if choice.named.kind == "server":
            self._losses.refuse("tool_choice", f"names a tool of another provider, which {_NOT_HERE}")
            return None
        return {"tool": {"name": flat_name(choice.named.name, choice.named.namespace)}}

    # --- configuration ---

    def _think(self) -> dict[str, Any]:
        """`inferenceConfig` with the limit of tokens, which a budget for thoughts has to fit into."""
        request, config = self._request, dict[str, Any]()
        if request.max_tokens is not None:
            config["maxTokens"] = request.max_tokens
        elif self._target.max_tokens is not None:
            config["maxTokens"] = self._target.max_tokens
        reasoning = request.reasoning
        if reasoning is None:
            return config
        if not self._model.is_claude:
            off = reasoning.mode == "disabled"
            effort = "none" if off else effort_of(reasoning)
            takes = self._target.reasons and "reasoning" not in self._target.unsupported
            fields = None if effort is None or not takes else self._model.effort(effort)
            if fields is None:
                self._losses.drop("reasoning")
            self._more |= fields or {}
            return config
        choice = request.tool_choice
        forced = choice is not None and choice.mode in ("required", "named")
        asked: dict[str, Any] = {"max_tokens": config.get("maxTokens", MAX_TOKENS)}
        if forced:
            asked["tool_choice"] = {"type": "any"}
        effort_config: dict[str, Any] = {}
        write_reasoning(request, self._target, self._losses, asked, effort_config)
        if (thinking := asked.get("thinking")) is not None:
            self._more["thinking"] = thinking
            if thinking["type"] != "disabled":
                self._paths.append("/usage/output_tokens_details")
            if "budget_tokens" in thinking:
                config["maxTokens"] = asked["max_tokens"]
        if effort_config:
            self._more["output_config"] = effort_config
        return config

    def _sampling(self, config: dict[str, Any]) -> None:
        sampling, losses = self._request.sampling, self._losses
        for name, ours in (("temperature", "temperature"), ("top_p", "topP")):
            value = getattr(sampling, name)
            if value is None:
                continue
            if name in self._target.unsupported or (self._model.is_claude and self._is_unfit(name, value, config)):
                losses.drop(name)
            elif value > 1:  # OpenAI's temperature goes up to 2
                losses.drop(name)
                config[ours] = 1
            else:
                config[ours] = value
        if sampling.top_k is not None:
            fields = None if "top_k" in self._target.unsupported or self._thinks else self._model.top_k(sampling.top_k)
            if fields is None:
                losses.drop("top_k")
            self._more |= fields or {}
        if sampling.stop:
            config["stopSequences"] = [word for word in sampling.stop if word.strip()]
            if len(config["stopSequences"]) < len(sampling.stop):
                losses.refuse("stop", f"has nothing but white space, which {_NOT_HERE}")
            if self._model.is_claude:
                self._paths.append("/stop_sequence")
        if sampling.seed is not None:
            losses.drop("seed")
        for name, default in _DEFAULTS.items():
            if getattr(sampling, name) not in (None, default):
                losses.refuse(name, _NOT_HERE)

    @property
    def _thinks(self) -> bool:
        thinking = self._more.get("thinking")
        return isinstance(thinking, dict) and thinking["type"] != "disabled"

    def _is_unfit(self, name: str, value: float, config: dict[str, Any]) -> bool:
        """Claude's newer models take one of both, and beside thinking hardly any."""
        if name == "top_p" and "temperature" in config:
            return True
        return self._thinks and not (value == 1 or (name == "top_p" and value >= 0.95))

    def _output(self, body: dict[str, Any], system: list[dict[str, Any]]) -> None:
        output = self._request.output
        if output is None or output.kind == "text":
            return
        if output.kind == "json_object":
            system.append({"text": _JSON_ONLY})
        elif not self._target.structured_output:
            self._losses.refuse("output", "is not supported by this model")
            schema = b"{}" if output.schema is None else bytes(output.schema)
            system.append({"text": f"{_JSON_ONLY} Its JSON schema: {schema.decode()}"})
        elif output.schema is not None:
            schema = output_schema(output.schema) if self._model.is_claude else output.schema
            named = {"name": output.name, "description": output.description}
            written = {"schema": bytes(schema).decode()} | {key: value for key, value in named.items() if value}
            body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": written}}}

    def _others(self, body: dict[str, Any]) -> None:
        request, losses = self._request, self._losses
        if request.service_tier is not None:
            if request.service_tier in _TIERS and "service_tier" not in self._target.unsupported:
                body["serviceTier"] = {"type": request.service_tier}
            else:
                losses.drop("service_tier")
        for name in _DROPPED:
            if getattr(request, name) not in (None, False if name == "store" else None):
                losses.drop(name)
        if request.modalities is not None and set(request.modalities) != {"text"}:
            losses.refuse("modalities", _NOT_HERE)
        if request.previous_id is not None:
            losses.refuse("previous_id", _NOT_HERE)
        for name in _OWN:
            if name in self._own:
                body[name] = self._own[name]
        if _MORE in self._own:
            self._more |= MEMBERS.decode(self._own[_MORE])
        if self._more:
            body[_MORE] = self._more
        if self._paths:
            body["additionalModelResponseFieldPaths"] = self._paths
