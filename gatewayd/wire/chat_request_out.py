"""Writes requests of OpenAI's chat completions API from the neutral form. Part of `gatewayd.wire.chat`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gatewayd.wire.chat_tools import NOT_CHAT, is_foreign, write_output, write_tool, write_tool_choice
from gatewayd.wire.conversation import (
    DEFAULT_SAMPLING,
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
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    WrittenRequest,
)
from gatewayd.wire.converting import (
    EFFORTS,
    DropList,
    cache_control,
    data_url,
    effort_of,
    effort_within,
    flat_name,
    without_server_items,
)
from gatewayd.wire.openai import encode
from gatewayd.wire.tool_names import json_arguments

_EFFORTS: Final = EFFORTS[:-1]
"""OpenAI has no effort above `xhigh`."""
_API: Final = "the chat completions API"
_SAMPLING: Final = (
    "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "logit_bias", "logprobs", "top_logprobs", "n", "stop",
)  # fmt: skip
_OTHERS: Final = {
    "parallel_tool_calls": "parallel_tool_calls",
    "verbosity": "verbosity",
    "modalities": "modalities",
    "user": "user",
    "session": "prompt_cache_key",
    "safety_id": "safety_identifier",
    "service_tier": "service_tier",
    "store": "store",
}
"""Fields of the neutral form that are written as they are, by their names in chat."""
_BEYOND_OPENAI: Final = frozenset({"top_k", "min_p", "repetition_penalty"})
"""Sampling that OpenAI's own API refuses, and most servers of open models take."""


def write_request(request: Request, target: ModelTarget) -> WrittenRequest:
    """Raises InvalidRequest for what cannot be said and is not advisory."""
    losses = DropList(request, drop_params=target.drop_params)
    request = without_server_items(request, "chat", losses)
    chat = request.dialect == "chat"
    writer = _Messages(request, target, losses)
    body: dict[str, Any] = {"model": target.model, "messages": writer.all()}
    if request.tools:
        ours = [tool for tool in request.tools if not is_foreign(tool, losses)]
        tools = [write_tool(tool, target, losses, own=chat) for tool in ours]
        if tools:
            body["tools"] = tools
    if request.tool_choice is not None and "tools" in body:
        body["tool_choice"] = write_tool_choice(request.tool_choice, target, losses, own=chat)
    for name in () if request.sampling is DEFAULT_SAMPLING else _SAMPLING:
        value = getattr(request.sampling, name)
        if value is None:
            continue
        if name in target.unsupported:
            losses.drop(name)
        elif name in _BEYOND_OPENAI and not chat and not target.extended_sampling:
            losses.refuse(name, NOT_CHAT)
        else:
            body[name] = value
    for name, member in _OTHERS.items():
        value = getattr(request, name)
        if value is None or (name == "parallel_tool_calls" and "tools" not in body):
            continue
        if name in target.unsupported:
            losses.drop(name)
        else:
            body[member] = value
    if request.max_tokens is not None:
        body["max_completion_tokens" if target.completion_tokens else "max_tokens"] = request.max_tokens
    if request.output is not None:
        body["response_format"] = write_output(request.output)
    _reasoning(request, target, losses, body)
    if request.metadata:
        body["metadata"] = request.metadata
    if request.previous_id is not None:
        losses.refuse("previous_id", NOT_CHAT)
    if request.stream:
        body["stream"] = True
        if request.include_usage:
            body["stream_options"] = {"include_usage": True}
    if chat:
        body.update(request.extra)
    else:
        losses.extra(_API)
    return losses.written(encode(body))


def _reasoning(request: Request, target: ModelTarget, losses: DropList, body: dict[str, Any]) -> None:
    reasoning = request.reasoning
    if reasoning is None:
        return
    if not target.reasons or "reasoning" in target.unsupported:
        losses.drop("reasoning")
        return
    if target.thinking_blocks and reasoning.mode is not None:
        thinking: dict[str, Any] = {"type": reasoning.mode}
        if reasoning.budget is not None:
            thinking["budget_tokens"] = reasoning.budget
        if reasoning.display is not None:
            thinking["display"] = reasoning.display
        body["thinking"] = {**thinking, **reasoning.extra}
        if reasoning.effort is not None:
            body["reasoning_effort"] = reasoning.effort
        return
    effort = effort_of(reasoning)
    if effort is not None:
        body["reasoning_effort"] = effort_within(effort, target.efforts or _EFFORTS)
    elif reasoning.mode == "disabled":
        losses.drop("reasoning")


# --- messages -----------------------------------------------------------------------------------------------------


class _Messages:
    def __init__(self, request: Request, target: ModelTarget, losses: DropList) -> None:
        self._request = request
        self._target = target
        self._losses = losses
        self._marks = request.dialect == "chat" or target.cache_marks

    def all(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self._request.system:
            messages.append({"role": "system", "content": self._content(self._request.system)})
        for turn in self._request.turns:
            if turn.role == "assistant":
                messages.append(self._assistant(turn))
            elif turn.role == "user":
                messages += self._user(turn)
            else:
                role = turn.role if self._target.developer_role else "system"
                messages.append(self._named(turn, {"role": role, "content": self._content(turn.blocks)}))
        return messages

    def _named(self, turn: Turn, message: dict[str, Any]) -> dict[str, Any]:
        if turn.name is not None:
            message["name"] = turn.name
        if turn.extra:
            if self._request.dialect == "chat":
                message.update(turn.extra)
            else:
                self._losses.parts("messages", turn.extra)
        return message

    def _user(self, turn: Turn) -> Iterable[dict[str, Any]]:
        """Results of tools are messages of their own, and stand before what the user says."""
        rest: list[Block] = []
        shown: list[Block] = []
        for block in turn.blocks:
            if isinstance(block, ToolResultBlock):
                yield self._result(turn, block, shown)
            else:
                rest.append(block)
        rest = shown + rest
        if rest or not turn.blocks:
            yield self._named(turn, {"role": "user", "content": self._content(rest)})

    def _result(self, turn: Turn, result: ToolResultBlock, shown: list[Block]) -> dict[str, Any]:
        """`shown` takes what a tool's message cannot hold: images follow in the user's message."""
        own = self._request.dialect == "chat"
        texts = [block for block in result.blocks if own or isinstance(block, TextBlock)]
        shown += [block for block in result.blocks if not own and not isinstance(block, TextBlock)]
        if result.is_error:
            self._losses.drop("messages.is_error")
        self._foreign_extra(result.extra)
        message: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id}
        if result.name is not None and own:
            message["name"] = result.name
        content = self._content(texts)
        if result.cache is not None and isinstance(content, str):
            content = self._cached(content, result)
        message["content"] = content
        if turn.extra and own:
            message.update(turn.extra)
        return message

    def _cached(self, text: str, result: ToolResultBlock) -> Any:
        assert result.cache is not None
        if not self._marks:
            self._losses.drop("messages.cache_control")
            return text
        return [{"type": "text", "text": text, "cache_control": cache_control(result.cache)}]

    def _assistant(self, turn: Turn) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None}
        content: list[Block] = []
        thoughts: list[ThinkingBlock | RedactedThinkingBlock] = []
        calls: list[dict[str, Any]] = []
        images: list[dict[str, Any]] = []
        for block in turn.blocks:
            match block:
                case ThinkingBlock() | RedactedThinkingBlock():
                    thoughts.append(block)
                case ToolUseBlock():
                    calls.append(self._call(block))
                case RefusalBlock(text) if not any(isinstance(other, TextBlock) for other in turn.blocks):
                    message["refusal"] = text
                case AudioBlock(audio_id=str(audio_id)):
                    message["audio"] = {"id": audio_id}
                case ImageBlock():
                    images.append(self._part(block))
                case _:
                    content.append(block)
        if content:
            message["content"] = self._content(content)
        elif not calls and "refusal" not in message and "audio" not in message:
            message["content"] = ""
        if images:
            message["images"] = images
        if thoughts:
            self._thoughts(thoughts, message)
        if calls:
            message["tool_calls"] = calls
        return self._named(turn, message)

    def _thoughts(self, thoughts: list[ThinkingBlock | RedactedThinkingBlock], message: dict[str, Any]) -> None:
        if not self._target.thinking_blocks:
            self._losses.drop("messages.thinking")
            return
        message.update(thinking_members(thoughts))

    def _call(self, block: ToolUseBlock) -> dict[str, Any]:
        self._foreign_extra(block.extra)
        if self._request.dialect != "chat":
            name = flat_name(block.name, block.namespace)
            block = msgspec.structs.replace(block, name=name, namespace=None)
        if block.kind == "custom" and not self._target.custom_tools:
            block = msgspec.structs.replace(block, arguments=bytes(json_arguments(block)).decode(), kind="function")
        call = tool_call(block)
        if block.cache is not None:
            if self._marks:
                call["cache_control"] = cache_control(block.cache)
            else:
                self._losses.drop("messages.cache_control")
        return call

    def _content(self, blocks: Sequence[Block]) -> Any:
        """A string where that says all of it, else a list of parts."""
        if not blocks:
            return ""
        parts = [part for block in blocks if (part := self._part(block)) is not None]
        plain = all(part.keys() == {"type", "text"} for part in parts)
        if plain and len(parts) == 1:
            return parts[0]["text"]
        if plain and not self._target.text_parts:
            return "\n\n".join(part["text"] for part in parts)
        return parts

    def _part(self, block: Block) -> Any:
        match block:
            case TextBlock(text):
                part: dict[str, Any] = {"type": "text", "text": text}
                self._foreign_extra(block.extra, part)
            case ImageBlock():
                part = {"type": "image_url", "image_url": self._image(block)}
            case AudioBlock(data=str(data)):
                form = (block.media_type or "audio/wav").partition("/")[2]
                part = {"type": "input_audio", "input_audio": {"data": data, "format": _FORMATS.get(form, form)}}
            case FileBlock():
                return self._file(block)
            case RefusalBlock(text):
                return {"type": "refusal", "refusal": text}
            case RawBlock(dialect="chat", raw=raw):
                return msgspec.json.decode(raw)
            case RawBlock(type=kind):
                self._losses.refuse("messages", f"has content of type '{kind}', which {NOT_CHAT}")
                return None
            case _:
                self._losses.refuse("messages", f"has content in a place where it {NOT_CHAT}")
                return None
        return self._marked(block, part)

    def _marked(self, block: TextBlock | ImageBlock | AudioBlock | FileBlock, part: dict[str, Any]) -> dict[str, Any]:
        if block.cache is not None:
            if self._marks:
                part["cache_control"] = cache_control(block.cache)
            else:
                self._losses.drop("messages.cache_control")
        return part

    def _image(self, block: ImageBlock) -> dict[str, Any]:
        if block.file_id is not None:
            self._losses.refuse("messages", f"has an image in a file, which {NOT_CHAT}")
        url = block.url if block.data is None else data_url(block.data, block.media_type)
        image: dict[str, Any] = {"url": url or ""}
        if block.url is not None and block.media_type is not None:
            image["format"] = block.media_type
        if block.detail is not None:
            image["detail"] = block.detail
        return image

    def _file(self, block: FileBlock) -> Any:
        if block.text is not None:
            title = "" if block.name is None else f"{block.name}\n"
            return self._marked(block, {"type": "text", "text": f"{title}{block.text}"})
        file: dict[str, Any] = {}
        if block.name is not None:
            file["filename"] = block.name
        if block.data is not None:
            file["file_data"] = data_url(block.data, block.media_type)
        elif block.file_id is not None:
            file["file_id"] = block.file_id
        elif self._request.dialect == "chat":
            file["file_id"] = block.url
        else:
            self._losses.refuse("messages", f"has a document at an address, which {NOT_CHAT}")
            return None
        if self._request.dialect == "chat" and block.media_type is not None and block.data is None:
            file["format"] = block.media_type
        if block.context is not None:
            self._losses.drop("messages.context")
        if block.cite:
            self._losses.drop("messages.citations")
        return self._marked(block, {"type": "file", "file": file})

    def _foreign_extra(self, extra: Any, part: dict[str, Any] | None = None) -> None:
        if self._request.dialect == "chat":
            if part is not None:
                part.update(extra)
        else:
            self._losses.parts("messages", extra)


_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}


def thinking_members(thoughts: Iterable[ThinkingBlock | RedactedThinkingBlock]) -> dict[str, Any]:
    """`reasoning_content` for people, and `thinking_blocks`, which a client sends back for the model.

    The form is LiteLLM's. `origin` is ours: it names the API whose signature it is, where that is not Anthropic's.
    """
    texts: list[str] = []
    blocks: list[dict[str, Any]] = []
    for thought in thoughts:
        if isinstance(thought, RedactedThinkingBlock):
            member: dict[str, Any] = {"type": "redacted_thinking", "data": thought.data}
        else:
            text = thought.text or "\n\n".join(thought.summary)
            if text:
                texts.append(text)
            proof = thought.signature if thought.encrypted is None else thought.encrypted
            if proof is None and thought.item_id is None:
                continue
            member = {"type": "thinking", "thinking": text, "signature": proof or ""}
            if thought.item_id is not None:
                member["id"] = thought.item_id
        if thought.origin not in (None, "messages"):
            member["origin"] = thought.origin
        blocks.append(member)
    members: dict[str, Any] = {}
    if texts:
        members["reasoning_content"] = "".join(texts)
    if blocks:
        members["thinking_blocks"] = blocks
    return members


def tool_call(block: ToolUseBlock) -> dict[str, Any]:
    """A member of `tool_calls`."""
    call: dict[str, Any] = {"id": block.call_id, "type": block.kind}
    if block.kind == "custom":
        call["custom"] = {"name": block.name, "input": block.arguments}
    else:
        call["function"] = {"name": block.name, "arguments": block.arguments}
    if block.signature is not None:
        call["extra_content"] = {"google": {"thought_signature": block.signature}}
    return call
