"""Writes requests of OpenAI's Responses API from the neutral form. Part of `gatewayd.wire.responses`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    FileBlock,
    ImageBlock,
    ModelTarget,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    TextBlock,
    ThinkingBlock,
    ToolKind,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    WrittenRequest,
)
from gatewayd.wire.converting import STRINGS, DropList, data_url, effort_of, without_server_items
from gatewayd.wire.openai import encode
from gatewayd.wire.responses_items import sealed_thought, write_annotation
from gatewayd.wire.responses_request import ENCRYPTED, LOGPROBS
from gatewayd.wire.responses_tools import NOT_RESPONSES, write_choice, write_format, write_tools

_API: Final = "the Responses API"
_LEAST_TOKENS: Final = 16
"""The API refuses smaller limits, which other APIs take: to ask whether a model is there, clients send 1."""
_ADVISORY: Final = ("top_k", "min_p", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty")
_OTHERS: Final = {
    "parallel_tool_calls": "parallel_tool_calls",
    "user": "user",
    "session": "prompt_cache_key",
    "safety_id": "safety_identifier",
    "service_tier": "service_tier",
    "previous_id": "previous_response_id",
}
"""Fields of the neutral form that are written as they are, by their names in this API."""


def write_request(request: Request, target: ModelTarget) -> WrittenRequest:
    """Raises InvalidRequest for what cannot be said and is not advisory."""
    losses = DropList(request, drop_params=target.drop_params)
    request = without_server_items(request, "responses", losses)
    own = request.dialect == "responses"
    items = ItemWriter(request, losses)
    body: dict[str, Any] = {"model": target.model, "input": items.all()}
    if request.system:
        body["instructions"] = items.instructions(request.system)
    tools = write_tools(request, losses)
    if tools or (own and request.tools is not None):
        body["tools"] = tools
    if request.tool_choice is not None and tools:
        body["tool_choice"] = write_choice(request.tool_choice, None if own else losses)
    for name, ours in _OTHERS.items():
        value = getattr(request, name)
        if value is None or (name == "parallel_tool_calls" and not tools):
            continue
        if name in target.unsupported:
            losses.drop(name)
        else:
            body[ours] = value
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens if own else max(request.max_tokens, _LEAST_TOKENS)
    include = _sampling(request, target, losses, body)
    _text(request, target, losses, body)
    include += _reasoning(request, target, losses, body)
    if request.metadata:
        body["metadata"] = request.metadata
    if request.modalities is not None and request.modalities != ("text",):
        losses.refuse("modalities", NOT_RESPONSES)
    store = request.store if own else request.store or False  # the other APIs keep nothing unless they are asked to
    if store is not None:
        body["store"] = store
    if request.stream:
        body["stream"] = True
    if own:
        _extra(request, body, include)
    else:
        losses.extra(_API)
    if include:
        body["include"] = include
    return losses.written(encode(body))


def _sampling(request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> list[Any]:
    sampling = request.sampling
    for name in ("temperature", "top_p", "top_logprobs"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if name in target.unsupported:
            losses.drop(name)
        else:
            body[name] = value
    for name in _ADVISORY:
        if getattr(sampling, name) is not None:
            losses.drop(name)
    if sampling.stop:
        losses.refuse("stop", NOT_RESPONSES)
    if sampling.logit_bias:
        losses.refuse("logit_bias", NOT_RESPONSES)
    if sampling.n is not None and sampling.n != 1:
        losses.refuse("n", NOT_RESPONSES)
    return [LOGPROBS] if sampling.logprobs else []


def _text(request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> None:
    text: dict[str, Any] = {}
    if request.output is not None:
        if request.output.kind == "json_schema" and not target.structured_output:
            losses.refuse("output", "is not supported by the model")
        else:
            text["format"] = write_format(request.output)
    if request.verbosity is not None:
        if "verbosity" in target.unsupported:
            losses.drop("verbosity")
        else:
            text["verbosity"] = request.verbosity
    if text:
        body["text"] = text


def _reasoning(request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> list[Any]:
    reasoning = request.reasoning
    if reasoning is None:
        return []
    own = request.dialect == "responses"
    if not target.reasons or "reasoning" in target.unsupported:
        losses.drop("reasoning")
        return []
    written: dict[str, Any] = {}
    effort = "none" if reasoning.mode == "disabled" else effort_of(reasoning)
    if effort is not None:
        written["effort"] = "xhigh" if effort == "max" and not own else effort
    summary = reasoning.summary
    if summary is None and reasoning.mode in ("enabled", "adaptive") and reasoning.display != "omitted":
        summary = "auto"  # who turns thinking on in the other APIs is shown the thoughts
    if summary is not None:
        written["summary"] = summary
    if own:
        written.update(reasoning.extra)
    else:
        losses.parts("reasoning", reasoning.extra)
    if written:
        body["reasoning"] = written
    # A caller of another API keeps the conversation itself, so it has to keep the thoughts too.
    wanted = reasoning.encrypted if own else reasoning.mode != "disabled" and effort != "none"
    return [ENCRYPTED] if wanted else []


def _extra(request: Request, body: dict[str, Any], include: list[Any]) -> None:
    for name, raw in request.extra.items():
        if name == "include":
            include += [name for name in STRINGS.decode(raw) if name not in include]
        elif name.startswith("text."):
            body.setdefault("text", {})[name.removeprefix("text.")] = raw
        else:
            body[name] = raw


def _is_plain(parts: list[Any]) -> bool:
    """Whether a string says all of the parts."""
    return len(parts) == 1 and isinstance(parts[0], dict) and parts[0].keys() == {"type", "text"}


class ItemWriter:
    """The items of a conversation."""

    def __init__(self, request: Request, losses: DropList) -> None:
        self._request = request
        self._losses = losses
        self._own = request.dialect == "responses"
        self._kinds: dict[str, ToolKind] = {
            block.call_id: block.kind
            for turn in request.turns
            for block in turn.blocks
            if isinstance(block, ToolUseBlock)
        }

    def all(self) -> list[Any]:
        return [item for turn in self._request.turns for item in self._turn(turn)]

    def instructions(self, blocks: Iterable[Block]) -> str:
        texts = []
        for block in blocks:
            if isinstance(block, TextBlock):
                self._advisory(block)
                texts.append(block.text)
            else:
                self._losses.refuse("system", f"has content that {NOT_RESPONSES}")
        return "\n\n".join(texts)

    def _turn(self, turn: Turn) -> Iterable[Any]:
        """Results of tools stand before what the user says; what an assistant does keeps its order."""
        blocks: Iterable[Block] = turn.blocks
        if turn.role == "user":
            blocks = sorted(blocks, key=lambda block: not isinstance(block, ToolResultBlock))
        parts: list[Any] = []
        extra: dict[str, Any] = dict(turn.extra) if self._own else {}
        if not self._own:
            self._losses.parts("messages", turn.extra)
        if turn.name is not None:
            self._losses.drop("messages.name")
        for block in blocks:
            item = self._item(block)
            if item is None:
                parts += self._part(block, turn.role)
                continue
            if parts:
                yield self._message(turn, parts, extra)
                parts = []
            if item:
                yield item
        if parts or not turn.blocks:
            yield self._message(turn, parts, extra)

    def _message(self, turn: Turn, parts: list[Any], extra: dict[str, Any]) -> dict[str, Any]:
        content: Any = parts
        if turn.role != "assistant" and _is_plain(parts):
            content = parts[0]["text"]
        return {"type": "message", "role": turn.role, "content": content or "", **extra}

    def _item(self, block: Block) -> Any:
        """The item that a block is; None for a part of a message, empty for what is left out."""
        match block:
            case ToolUseBlock():
                return self._call(block)
            case ToolResultBlock():
                return self._result(block)
            case ThinkingBlock() | RedactedThinkingBlock():
                return self._thought(block)
            case RawBlock(dialect="responses", type=kind, raw=raw):
                return None if kind.startswith("input_") else raw
            case RawBlock(type=kind):
                self._losses.refuse("messages", f"has content of type '{kind}', which {NOT_RESPONSES}")
                return {}
            case _:
                return None

    def _call(self, block: ToolUseBlock) -> dict[str, Any]:
        self._advisory(block)
        custom = block.kind == "custom"
        item: dict[str, Any] = {"type": "custom_tool_call" if custom else "function_call", "call_id": block.call_id}
        if block.item_id is not None:
            item["id"] = block.item_id
        item["name"] = block.name
        if block.namespace is not None:
            item["namespace"] = block.namespace
        if custom:
            item["input"] = block.arguments
        else:
            item["arguments"] = block.arguments or "{}"
        if self._own:
            item.update(block.extra)
        return item

    def _result(self, block: ToolResultBlock) -> dict[str, Any]:
        self._advisory(block)
        custom = self._kinds.get(block.call_id, block.kind) == "custom"
        kind = "custom_tool_call_output" if custom else "function_call_output"
        item: dict[str, Any] = {"type": kind, "call_id": block.call_id}
        if block.item_id is not None:
            item["id"] = block.item_id
        parts = [part for inner in block.blocks for part in self._part(inner, "user")]
        item["output"] = parts[0]["text"] if _is_plain(parts) else parts or ""
        if block.is_error:
            self._losses.drop("messages.is_error")
        if self._own:
            item.update(block.extra)
        return item

    def _thought(self, block: ThinkingBlock | RedactedThinkingBlock) -> dict[str, Any]:
        if not self._own and (isinstance(block, RedactedThinkingBlock) or block.origin != "responses"):
            self._losses.drop("messages.thinking")  # a provider refuses the proof of another one
            return {}
        item: dict[str, Any] = {"type": "reasoning"}
        if isinstance(block, RedactedThinkingBlock):
            return {**item, "summary": [], "encrypted_content": sealed_thought(block)}
        if block.item_id is not None:
            item["id"] = block.item_id
        item["summary"] = [{"type": "summary_text", "text": text} for text in block.summary]
        if block.text and self._own:
            item["content"] = [{"type": "reasoning_text", "text": block.text}]
        proof = block.encrypted if block.signature is None else sealed_thought(block)
        if proof is not None:
            item["encrypted_content"] = proof
        return item

    def _part(self, block: Block, role: str) -> list[Any]:
        """The part of a message; none for a text that is empty, and for what is refused and may be dropped."""
        match block:
            case TextBlock(text):
                if not text:
                    return []
                part: dict[str, Any] = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
                if role == "assistant" and block.citations:
                    notes = [write_annotation(cited, len(text)) for cited in block.citations]
                    part["annotations"] = [note for note in notes if note is not None]
            case RefusalBlock(text):
                part = {"type": "refusal", "refusal": text}
            case ImageBlock():
                part = {"type": "input_image", "detail": block.detail or "auto"}
                if block.file_id is not None:
                    part["file_id"] = block.file_id
                else:
                    part["image_url"] = block.url if block.data is None else data_url(block.data, block.media_type)
            case AudioBlock(data=str(data)):
                form = (block.media_type or "audio/wav").partition("/")[2]
                part = {"type": "input_audio", "input_audio": {"data": data, "format": form}}
            case FileBlock():
                part = self._file(block)
            case RawBlock(raw=raw):
                return [raw]
            case _:
                self._losses.refuse("messages", f"has content in a place where it {NOT_RESPONSES}")
                return []
        self._advisory(block)
        if self._own:
            part.update(block.extra)
        return [part]

    def _file(self, block: FileBlock) -> dict[str, Any]:
        if block.text is not None:
            return {"type": "input_text", "text": block.text if block.name is None else f"{block.name}\n{block.text}"}
        part: dict[str, Any] = {"type": "input_file"}
        if block.data is not None:
            part["filename"] = block.name or "document.pdf"  # the API wants one
            part["file_data"] = data_url(block.data, block.media_type or "application/pdf")
            return part
        if block.name is not None and block.file_id is None:
            part["filename"] = block.name
        name, value = ("file_id", block.file_id) if block.url is None else ("file_url", block.url)
        return {**part, name: value}

    def _advisory(self, block: Any) -> None:
        """Notes what a block says beside its content, and this API has no word for."""
        if getattr(block, "cache", None) is not None:
            self._losses.drop("messages.cache_control")
        if not self._own:
            self._losses.parts("messages", block.extra)
            if isinstance(block, FileBlock):
                if block.context is not None:
                    self._losses.drop("messages.context")
                if block.cite:
                    self._losses.drop("messages.citations")
