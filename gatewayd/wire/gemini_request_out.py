"""Writes requests for Google's Gemini API, with a key or on Vertex AI: the bodies are the same. _Part of
`gatewayd.wire.gemini`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    CustomTool,
    Extra,
    FileBlock,
    FunctionTool,
    ImageBlock,
    Json,
    ModelTarget,
    RawBlock,
    RefusalBlock,
    Request,
    ServerTool,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    WrittenRequest,
)
from gatewayd.wire.converting import (
    DropList,
    flat_name,
    leading_system,
    quoted_system,
    tool_names,
    without_server_items,
)
from gatewayd.wire.gemini_media import media_part
from gatewayd.wire.gemini_model import GeminiModel
from gatewayd.wire.gemini_parts import RESOLUTIONS, result_object
from gatewayd.wire.gemini_schema import to_json_schema, to_subset
from gatewayd.wire.openai import encode, parsed
from gatewayd.wire.signatures import split_call_id
from gatewayd.wire.tool_names import FREE_TEXT, json_arguments

_API: Final = "the Gemini API"
_NO_SIGNATURE: Final = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""`skip_thought_signature_validator`: what Google wants in place of the signature of a call that another model made."""
_SERVER_TOOLS: Final = {"web_search": "googleSearch", "web_fetch": "urlContext", "code_execution": "codeExecution"}
"""Tools of other APIs by the start of their type, and Google's tools for the same."""
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
_SAMPLING: Final = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "seed": "seed", "n": "candidateCount",
    "frequency_penalty": "frequencyPenalty", "presence_penalty": "presencePenalty", "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs", "stop": "stopSequences",
}  # fmt: skip
_PENALTIES: Final = ("frequency_penalty", "presence_penalty")
_DROPPED: Final = ("verbosity", "user", "metadata", "session", "safety_id", "store", "parallel_tool_calls")
_Part = dict[str, Any]


def write_request(request: Request, target: ModelTarget) -> WrittenRequest:
    """Raises InvalidRequest for what cannot be said and is not advisory."""
    return _RequestWriter(request, target).written()


class _RequestWriter:
    def __init__(self, request: Request, target: ModelTarget) -> None:
        self._drops = DropList(request, drop_params=target.drop_params)
        self._request = request = without_server_items(request, "gemini", self._drops)
        self._target = target
        self._model = GeminiModel.named(target.model)
        self._own = request.dialect == "gemini"
        self._called = {split_call_id(call_id)[0]: name for call_id, name in tool_names(request).items()}

    def written(self) -> WrittenRequest:
        request = self._request
        system, turns = leading_system(request)
        body: dict[str, Any] = {"contents": self._contents(turns)}
        if parts := [part for block in system for part in self._system(block)]:
            if body["contents"]:
                body["systemInstruction"] = {"parts": parts}
            else:  # Gemini answers to a user's words only
                body["contents"] = [{"role": "user", "parts": parts}]
        if tools := self._tools():
            body["tools"] = tools
            if (choice := self._tool_choice()) is not None:
                body["toolConfig"] = {"functionCallingConfig": choice}
        elif request.tool_choice is not None and request.tool_choice.mode not in ("auto", "none"):
            self._drops.drop("tool_choice")
        if config := self._config(turns):
            body["generationConfig"] = config
        if request.service_tier is not None:
            tier = None if "service_tier" in self._target.unsupported else _TIERS.get(request.service_tier)
            if tier is not None:
                body["serviceTier"] = tier
            else:  # `auto` means a project's own choice, for which Google has no word
                self._drops.drop("service_tier")
        if request.previous_id is not None:
            self._drops.refuse("previous_id", f"is not supported by {_API}")
        for name in _DROPPED:
            if getattr(request, name) not in (None, False if name == "store" else None):
                self._drops.drop(name)
        if self._own:
            _put_back(body, request.extra)
        else:
            self._drops.extra(_API)
        return self._drops.written(encode(body))

    # --- contents ---

    def _system(self, block: Block) -> list[_Part]:
        if isinstance(block, TextBlock):
            return self._part(block)
        self._drops.drop("system")
        return []

    def _contents(self, turns: tuple[Turn, ...]) -> list[dict[str, Any]]:
        """Turns of one role become one content, but results of tools stay apart from what the user says.

        A system turn in the middle is marked words of the user: Gemini has no such role, and moving it to the start
        would say something else, and change the part of the prompt that is cached.
        """
        contents: list[dict[str, Any]] = []
        kinds: list[str] = []
        for turn in turns:
            for block in turn.blocks:
                is_result = isinstance(block, ToolResultBlock)
                kind = "model" if turn.role == "assistant" else "results" if is_result else "user"
                parts = self._part(block)
                if not parts:
                    continue
                if turn.role in ("system", "developer"):
                    parts = [_quoted(part) for part in parts]
                if kinds and kinds[-1] == kind:
                    contents[-1]["parts"] += parts
                else:
                    kinds.append(kind)
                    contents.append({"role": "model" if kind == "model" else "user", "parts": parts})
        if self._model.signs_calls:
            start = max((at for at, kind in enumerate(kinds) if kind == "user"), default=0)
            for content in contents[start:]:
                _sign(content["parts"])
        return contents

    def _part(self, block: Block) -> list[_Part]:
        """One block as parts; mostly one, and none for what is left out."""
        match block:
            case TextBlock():
                self._note(block)
                if not block.text and block.signature is None:
                    return []
                return [{"text": block.text, **_signed(block.signature), **self._extra(block.extra)}]
            case RefusalBlock():
                return [{"text": block.text}] if block.text else []
            case ThinkingBlock():
                return self._thinking(block)
            case ToolUseBlock():
                return [self._call(block)]
            case ToolResultBlock():
                return self._result(block)
            case ImageBlock() | AudioBlock() | FileBlock():
                self._note(block)
                return self._media(block)
            case RawBlock(dialect="gemini", raw=raw):
                return [_as_part(raw)]
            case RawBlock(type=kind):
                self._drops.refuse("messages", f"has content of type '{kind}', which {_API} does not know")
            case _:
                self._drops.drop("messages.thinking")
        return []

    def _note(self, block: TextBlock | ImageBlock | AudioBlock | FileBlock) -> None:
        if block.cache is not None:  # Gemini caches prompts by itself
            self._drops.drop("messages.cache_control")
        if (isinstance(block, TextBlock) and block.citations) or (isinstance(block, FileBlock) and block.cite):
            self._drops.drop("messages.citations")
        if isinstance(block, FileBlock) and block.name is not None:
            self._drops.drop("messages.filename")
        if not self._own:
            self._drops.parts("messages", block.extra)

    def _extra(self, extra: Extra) -> dict[str, Json]:
        return dict(extra) if self._own else {}

    def _thinking(self, block: ThinkingBlock) -> list[_Part]:
        text = block.text or "\n\n".join(block.summary)
        if block.origin not in (None, "gemini") or not (text or block.signature):
            self._drops.drop("messages.thinking")
            return []
        return [{"text": text, "thought": True, **_signed(block.signature), **self._extra(block.extra)}]

    def _call(self, block: ToolUseBlock) -> _Part:
        call_id, signature = split_call_id(block.call_id)
        call: _Part = {"name": flat_name(block.name, block.namespace), "args": json_arguments(block)}
        if self._model.has_call_ids and call_id:
            call["id"] = call_id
        return {"functionCall": call, **_signed(block.signature or signature), **self._extra(block.extra)}

    def _result(self, block: ToolResultBlock) -> list[_Part]:
        call_id = split_call_id(block.call_id)[0]
        name = block.name or self._called.get(call_id) or "unknown"
        text = "\n".join(one.text for one in block.blocks if isinstance(one, TextBlock | RefusalBlock))
        others = (one for one in block.blocks if not isinstance(one, TextBlock | RefusalBlock))
        media = [part for one in others for part in self._part(one)]
        own = self._extra(block.extra)
        result: _Part = {"name": name, "response": own.pop("response", result_object(text, block.is_error is True))}
        result |= {key.partition(".")[2]: own.pop(key) for key in list(own) if key.startswith("functionResponse.")}
        if self._model.has_call_ids and call_id:
            result["id"] = call_id
        if media and self._model.sees_tool_results:
            result["parts"], media = media, []
        if block.cache is not None:
            self._drops.drop("messages.cache_control")
        return [{"functionResponse": result, **own}, *media]

    def _media(self, block: ImageBlock | AudioBlock | FileBlock) -> list[_Part]:
        parts = media_part(block)
        if parts is None:
            self._drops.refuse("messages", f"refers to a file or an answer that {_API} does not know")
            return []
        if isinstance(block, ImageBlock) and block.detail in RESOLUTIONS and self._model.since(3):
            parts[-1]["mediaResolution"] = {"level": RESOLUTIONS[block.detail]}
        parts[-1] |= self._extra(block.extra)
        return parts

    # --- tools ---

    def _tools(self) -> list[dict[str, Any]]:
        """Functions that follow each other share one object; each of Google's own tools has one."""
        tools: list[dict[str, Any]] = []
        group: list[dict[str, Any]] = []
        has_functions = any(isinstance(tool, FunctionTool | CustomTool) for tool in self._request.tools or ())
        for tool in self._request.tools or ():
            if not isinstance(tool, ServerTool):
                if not group:
                    tools.append({"functionDeclarations": group})
                group.append(self._function(tool))
            elif others := self._server_tool(tool, has_functions):
                tools += others
                group = []
        return tools

    def _function(self, tool: FunctionTool | CustomTool) -> dict[str, Any]:
        function: dict[str, Any] = {"name": flat_name(tool.name, tool.namespace)}
        if tool.description:
            function["description"] = tool.description
        if tool.cache is not None:
            self._drops.drop("tools.cache_control")
        if tool.deferred:
            self._drops.drop("tools.defer_loading")
        if isinstance(tool, CustomTool):
            function |= self._schema("parameters", parsed("tools", FREE_TEXT), "tools.parameters")
            if tool.format is not None:
                self._drops.drop("tools.format")
            return function
        if tool.parameters is not None:
            function |= self._schema("parameters", parsed("tools", tool.parameters), "tools.parameters")
        if tool.strict:
            self._drops.drop("tools.strict")
        if self._own:
            function |= tool.extra
        else:
            self._drops.parts("tools", tool.extra)
        return function

    def _schema(self, field: str, schema: Any, where: str) -> dict[str, Any]:
        """The schema under the name that the model reads it by; an empty one is left out."""
        if self._model.reads_json_schema:
            made, lost = to_json_schema(schema)
            name = "parametersJsonSchema" if field == "parameters" else "responseJsonSchema"
        else:
            made, lost = to_subset(schema)
            name = field
        self._drops.parts(where, sorted(lost))
        return {name: made} if made else {}

    def _server_tool(self, tool: ServerTool, has_functions: bool) -> list[dict[str, Any]]:
        if tool.dialect == "gemini":
            return [_as_part(tool.raw)]
        name = next((name for start, name in _SERVER_TOOLS.items() if tool.type.startswith(start)), None)
        if name is None or has_functions:  # most models take functions or Google's tools, not both
            self._drops.drop(f"tools.{tool.type}")
            return []
        return [{name: {}}]

    def _tool_choice(self) -> dict[str, Any] | None:
        choice = self._request.tool_choice
        if choice is None:
            return None
        names = [flat_name(one.name, one.namespace) for one in choice.allowed or () if one.kind != "server"]
        mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}[choice.mode]
        if choice.named is not None and choice.named.kind == "server":
            self._drops.refuse("tool_choice", f"names a tool of the provider, which cannot be expressed in {_API}")
            return None
        if choice.named is not None:
            names = [flat_name(choice.named.name, choice.named.namespace)]
        elif choice.mode == "auto" and names:
            mode = "VALIDATED"  # the mode in which a model may, but need not, call one of some functions
        config: dict[str, Any] = {"mode": mode, **self._own_choice(choice)}
        if names:
            config["allowedFunctionNames"] = names
        return config

    def _own_choice(self, choice: ToolChoice) -> Mapping[str, Json]:
        # With this the arguments of a call would come in pieces of another form, which nobody here reads.
        return {name: raw for name, raw in self._extra(choice.extra).items() if name != "streamFunctionCallArguments"}

    # --- configuration ---

    def _config(self, turns: Iterable[Turn]) -> dict[str, Any]:
        request, config = self._request, dict[str, Any]()
        for field, name in _SAMPLING.items():
            value = getattr(request.sampling, field)
            if value is None or value == ():
                continue
            if field in self._target.unsupported or (field in _PENALTIES and not self._model.takes_penalties):
                self._drops.drop(field)
            else:
                config[name] = value
        if isinstance(seed := config.get("seed"), int):  # Google's is of 32 bits
            config["seed"] = seed if -(2**31) <= seed < 2**31 else seed % 2**31
        for field in ("min_p", "repetition_penalty"):
            if getattr(request.sampling, field) is not None:
                self._drops.drop(field)
        if request.sampling.logit_bias:
            self._drops.refuse("logit_bias", f"is not supported by {_API}")
        if request.max_tokens is not None:
            config["maxOutputTokens"] = request.max_tokens
        self._output(config)
        if request.modalities is not None:
            config["responseModalities"] = [modality.upper() for modality in request.modalities]
        self._think(config)
        if not self._model.since(3) and not self._own:
            self._resolution(config, turns)
        return config

    def _output(self, config: dict[str, Any]) -> None:
        output = self._request.output
        if output is None:
            return
        config["responseMimeType"] = "text/plain" if output.kind == "text" else "application/json"
        if output.kind == "json_schema" and output.schema is not None:
            if self._target.structured_output:
                config |= self._schema("responseSchema", parsed("schema", output.schema), "response_format")
            else:
                self._drops.drop("output")

    def _think(self, config: dict[str, Any]) -> None:
        reasoning = self._request.reasoning
        if reasoning is None:
            return
        takes = self._target.reasons and "reasoning" not in self._target.unsupported
        thinking = self._model.thinking(self._request) if takes else None
        if thinking is None:
            self._drops.drop("reasoning")
        else:
            config["thinkingConfig"] = {**thinking, **self._extra(reasoning.extra)}

    def _resolution(self, config: dict[str, Any], turns: Iterable[Turn]) -> None:
        """Before Gemini 3 one resolution holds for all images: the highest that was asked for."""
        asked = {block.detail for turn in turns for block in turn.blocks if isinstance(block, ImageBlock)}
        found = [level for detail, level in RESOLUTIONS.items() if detail in asked]
        if found and self._model.since(2):
            config["mediaResolution"] = found[-1]


def _quoted(part: _Part) -> _Part:
    return {**part, "text": quoted_system(part["text"])} if "text" in part else part


def _as_part(raw: Json) -> Any:
    return raw


def _signed(signature: str | None) -> dict[str, str]:
    return {} if signature is None else {"thoughtSignature": signature}


def _sign(parts: list[Any]) -> None:
    """Puts the placeholder on the first call of a model's turn if nothing in that turn is signed."""
    if any(isinstance(part, dict) and "thoughtSignature" in part for part in parts):
        return
    for part in parts:
        if isinstance(part, dict) and "functionCall" in part:
            part["thoughtSignature"] = _NO_SIGNATURE
            return


def _put_back(body: dict[str, Any], extra: Extra) -> None:
    """The caller's unknown fields; those of an object inside of the body are named `generationConfig.speechConfig`."""
    for name, raw in extra.items():
        where, _, inner = name.rpartition(".")
        (body.setdefault(where, {}) if where else body)[inner] = raw
