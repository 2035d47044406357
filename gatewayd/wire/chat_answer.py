"""Answers and errors of OpenAI's chat completions API, both ways. Part of `gatewayd.wire.chat`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire.chat_request import read_content, thinking_of, tool_use
from gatewayd.wire.chat_request_out import thinking_members, tool_call
from gatewayd.wire.conversation import (
    Answer,
    AudioBlock,
    Block,
    Choice,
    Citation,
    ImageBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.converting import MALFORMED, as_json, data_url, derived_call_id, extra_of, int_or_none, text_or_none
from gatewayd.wire.events import StreamError
from gatewayd.wire.openai import encode
from gatewayd.wire.signatures import signed_call
from gatewayd.wire.tool_names import ToolNames

NO_WORDS: Final = "The model declined to answer."
"""For an answer that was refused without a word: an empty one would look like a failure of the client's."""
_READ: Final = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "max_tokens": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "content_filter": StopReason.CONTENT_FILTER,
    "error": StopReason.FAULT,
}
_WRITTEN: Final = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_USE: "tool_calls",
    StopReason.REFUSAL: "content_filter",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.PAUSE: "stop",
    StopReason.CONTEXT_WINDOW: "length",
    StopReason.FAULT: "content_filter",
}
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamBadResponse."""
    try:
        members = _decoder.decode(body)
        answer_id = str(members.pop("id", ""))
        choices = tuple(_choice(choice, answer_id) for choice in members.pop("choices", None) or ())
    except MALFORMED:
        raise UpstreamBadResponse("The upstream's answer is not a chat completion.") from None
    if not choices:
        raise UpstreamBadResponse("The upstream's answer holds no choices.")
    members.pop("object", None)
    return Answer(
        dialect="chat",
        answer_id=answer_id,
        model=str(members.pop("model", "")),
        choices=choices,
        usage=read_counts(members.pop("usage", None)),
        created=int_or_none(members.pop("created", None)),
        service_tier=members.pop("service_tier", None),
        extra=extra_of(members),
    )


def _choice(choice: dict[str, Any], answer_id: str) -> Choice:
    message = {name: value for name, value in choice["message"].items() if value is not None}
    blocks = thinking_of(message)
    content = read_content(message.get("content"), "content")
    if content and isinstance(content[-1], TextBlock):
        content[-1] = msgspec.structs.replace(content[-1], citations=read_citations(message.get("annotations", ())))
    blocks += content
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append(RefusalBlock(refusal))
    match message.get("audio"):
        case {"data": str(data), **rest}:
            audio_id, words = rest.get("id"), rest.get("transcript")
            blocks.append(AudioBlock(data=data, audio_id=text_or_none(audio_id), transcript=text_or_none(words)))
        case _:
            pass
    for image in message.get("images", ()):
        blocks += read_content([image], "images")
    for at, call in enumerate(message.get("tool_calls", ())):
        use = tool_use(call, f"tool_calls[{at}]")
        blocks.append(use if use.call_id else msgspec.structs.replace(use, call_id=derived_call_id(answer_id, at)))
    logprobs = choice.get("logprobs")
    return Choice(
        blocks=tuple(blocks),
        stop=stop_reason(choice.get("finish_reason"), map(type, blocks)),
        logprobs=None if logprobs is None else as_json(logprobs),
    )


def stop_reason(finish: Any, kinds: Iterable[type]) -> StopReason:
    """`kinds` are the types of the blocks: many servers say `stop` behind tool calls."""
    reason = _READ.get(text_or_none(finish) or "", StopReason.END)
    if reason is StopReason.END:
        kinds = set(kinds)
        if ToolUseBlock in kinds:
            return StopReason.TOOL_USE
        if RefusalBlock in kinds:
            return StopReason.REFUSAL
    return reason


def read_citations(annotations: Any) -> tuple[Citation, ...]:
    found = []
    for annotation in annotations if isinstance(annotations, list) else ():
        match annotation:
            case {"type": "url_citation", "url_citation": dict(cited)}:
                found.append(
                    Citation(
                        url=text_or_none(cited.get("url")),
                        title=text_or_none(cited.get("title")),
                        start=int_or_none(cited.get("start_index")),
                        end=int_or_none(cited.get("end_index")),
                    )
                )
            case _:
                pass
    return tuple(found)


# --- usage --------------------------------------------------------------------------------------------------------


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_counts(usage: Any) -> TokenUsage | None:
    if not isinstance(usage, dict) or not usage:
        return None
    read, written = _object(usage.get("prompt_tokens_details")), _object(usage.get("completion_tokens_details"))
    cached = int_or_none(read.get("cached_tokens"))
    if cached is None:
        cached = int_or_none(usage.get("cache_read_input_tokens"))
    if cached is None:
        cached = int_or_none(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
    stored = int_or_none(usage.get("cache_creation_input_tokens"))
    return TokenUsage(
        input=int_or_none(usage.get("prompt_tokens")),
        output=int_or_none(usage.get("completion_tokens")),
        cache_read=cached,
        cache_write=int_or_none(read.get("cache_write_tokens")) if stored is None else stored,
        reasoning=int_or_none(written.get("reasoning_tokens")),
        audio_input=int_or_none(read.get("audio_tokens")),
        audio_output=int_or_none(written.get("audio_tokens")),
    )


def write_counts(usage: TokenUsage) -> dict[str, Any]:
    """Details of which nothing is known are left out. The cache's counts are also where LiteLLM has them."""
    prompt, completion = usage.input or 0, usage.output or 0
    counts: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    read = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input}
    written = {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output}
    for name, details in (("prompt_tokens_details", read), ("completion_tokens_details", written)):
        said = {detail: count for detail, count in details.items() if count is not None}
        if said:
            counts[name] = said
    if usage.cache_write is not None:
        counts["cache_creation_input_tokens"] = usage.cache_write
        counts["cache_read_input_tokens"] = usage.cache_read or 0
    return counts


# --- writing ------------------------------------------------------------------------------------------------------


def write_answer(answer: Answer, request: Request) -> bytes:
    """`created` should be set: this module has no clock."""
    choices = map(ToolNames(request).restored_choice, answer.choices)
    body: dict[str, Any] = {
        "id": answer.answer_id,
        "object": "chat.completion",
        "created": answer.created or 0,
        "model": answer.model,
        "choices": [_written(index, choice) for index, choice in enumerate(choices)],
    }
    if answer.usage is not None:
        body["usage"] = write_counts(answer.usage)
    if answer.service_tier is not None:
        body["service_tier"] = answer.service_tier
    if answer.dialect == "chat":
        body.update(answer.extra)
    return encode(body)


def _written(index: int, choice: Choice) -> dict[str, Any]:
    message = write_message(choice.blocks)
    reason = finish_reason(choice.stop, has_words="refusal" in message)
    if reason == "content_filter" and message.keys() == {"role", "content"} and message["content"] is None:
        message["refusal"] = NO_WORDS
    return {"index": index, "message": message, "logprobs": choice.logprobs, "finish_reason": reason}


def finish_reason(stop: StopReason, *, has_words: bool) -> str:
    """`has_words`: the model refused in words of its own, as a whole answer."""
    return "stop" if stop is StopReason.REFUSAL and has_words else _WRITTEN[stop]


def write_message(blocks: Sequence[Block]) -> dict[str, Any]:
    """An answer's message. What only another dialect knows (calls of its server tools) is left out."""
    texts: list[str] = []
    thoughts: list[ThinkingBlock | RedactedThinkingBlock] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    audio: dict[str, Any] | None = None
    length = 0
    for block in blocks:
        match block:
            case TextBlock(text):
                notes += [note for cited in block.citations if (note := annotation(cited, length, length + len(text)))]
                texts.append(text)
                length += len(text)
            case ThinkingBlock() | RedactedThinkingBlock():
                thoughts.append(block)
            case RefusalBlock(text):
                refusals.append(text)
            case ToolUseBlock():
                calls.append(tool_call(signed_call(answered(block))))
            case ImageBlock():
                url = block.url if block.data is None else data_url(block.data, block.media_type)
                images.append({"type": "image_url", "image_url": {"url": url}})
            case AudioBlock():
                audio = {"id": block.audio_id or "", "data": block.data or "", "transcript": block.transcript or ""}
            case _:
                pass
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if refusals:
        message["refusal"] = "".join(refusals)
    if thoughts:
        message.update(thinking_members(thoughts))
    if calls:
        message["tool_calls"] = calls
    if notes:
        message["annotations"] = notes
    if images:
        message["images"] = images
    if audio is not None:
        message["audio"] = audio
    return message


def answered(call: ToolUseBlock) -> ToolUseBlock:
    """A call as clients read it: they parse the arguments as JSON, also where there are none."""
    if call.arguments or call.kind == "custom":
        return call
    return msgspec.structs.replace(call, arguments="{}")


def annotation(citation: Citation, start: int, end: int) -> dict[str, Any] | None:
    """`start` and `end` are those of the text, for a citation without its own. Chat knows citations of URLs only."""
    if citation.url is None:
        return None
    cited: dict[str, Any] = {
        "url": citation.url,
        "title": citation.title or "",
        "start_index": start if citation.start is None else citation.start,
        "end_index": end if citation.end is None else citation.end,
    }
    return {"type": "url_citation", "url_citation": cited}


# --- errors -------------------------------------------------------------------------------------------------------


def read_error(body: bytes) -> StreamError | None:
    """An error body, or the data of an error event; None if it is neither."""
    try:
        members = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return chat_error(members)


def chat_error(members: dict[str, Any]) -> StreamError | None:
    match members.get("error"):
        case str(message) if message:
            return StreamError(message=message)
        case {"message": message, **rest}:
            code, kind = rest.get("code"), text_or_none(rest.get("type"))
            status = code if isinstance(code, int) and 400 <= code < 600 else None
            text = None if code is None else str(code)
            return StreamError(
                message=str(message), type=kind, code=text, param=text_or_none(rest.get("param")), status=status
            )
        case _:
            return None


def write_error(error: StreamError) -> bytes:
    kind = error.type or "upstream_error"
    return encode({"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}})
