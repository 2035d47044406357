"""Reads answers of Bedrock's Converse API. Part of `gatewayd.wire.converse`.

An answer says neither its id nor its model: the request id of its head and the deployment's model stand for them.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire.conversation import (
    Answer,
    Block,
    Choice,
    Citation,
    ImageBlock,
    Json,
    RawBlock,
    RedactedThinkingBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.converting import MEMBERS, as_json

_STOPS: Final = {
    "end_turn": StopReason.END,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "guardrail_intervened": StopReason.CONTENT_FILTER,
    "content_filtered": StopReason.CONTENT_FILTER,
    "malformed_model_output": StopReason.FAULT,
    "malformed_tool_use": StopReason.FAULT,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}


class _Cached(msgspec.Struct, rename="camel"):
    ttl: str = ""
    input_tokens: int = 0


class _Counts(msgspec.Struct, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[_Cached] | None = None


class _Thoughts(msgspec.Struct):
    thinking_tokens: int | None = None


class _MoreCounts(msgspec.Struct):
    output_tokens_details: _Thoughts | None = None


class MoreFields(msgspec.Struct):
    """What was asked of the model besides (`additionalModelResponseFieldPaths`)."""

    stop_sequence: str | None = None
    usage: _MoreCounts | None = None

    @property
    def reasoning(self) -> int | None:
        details = None if self.usage is None else self.usage.output_tokens_details
        return None if details is None else details.thinking_tokens


class _Message(msgspec.Struct):
    content: list[dict[str, msgspec.Raw]] = []


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Tier(msgspec.Struct):
    type: str = ""


class _Body(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str = ""
    usage: msgspec.Raw = msgspec.Raw(b"null")
    additional_model_response_fields: msgspec.Raw = msgspec.Raw(b"null")
    trace: msgspec.Raw = msgspec.Raw(b"null")
    service_tier: _Tier | None = None


class _Call(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str = ""


class _Thought(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _Thought | None = None
    redacted_content: str | None = None


class _Source(msgspec.Struct):
    bytes: str | None = None


class _Image(msgspec.Struct):
    format: str = "png"
    source: _Source | None = None


class _Said(msgspec.Struct):
    text: str = ""


class _Cited(msgspec.Struct):
    content: list[_Said] = []
    citations: list[msgspec.Raw] = []


class _Web(msgspec.Struct):
    url: str | None = None


class _Location(msgspec.Struct):
    web: _Web | None = None


class _Citation(msgspec.Struct, rename="camel"):
    title: str | None = None
    source: str | None = None
    source_content: list[_Said] = []
    location: _Location | None = None


_body: Final = msgspec.json.Decoder(_Body)
_counts: Final = msgspec.json.Decoder(_Counts)
_more: Final = msgspec.json.Decoder(MoreFields)
_text: Final = msgspec.json.Decoder(str)
_call: Final = msgspec.json.Decoder(_Call)
_reasoning: Final = msgspec.json.Decoder(_Reasoning)
_image: Final = msgspec.json.Decoder(_Image)
_cited: Final = msgspec.json.Decoder(_Cited)
_citation: Final = msgspec.json.Decoder(_Citation)
BROKEN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(body: bytes, *, answer_id: str = "", model: str = "") -> Answer:
    """Raises UpstreamBadResponse. `answer_id` is that of the answer's head: `x-amzn-requestid`."""
    try:
        if not body.isascii():
            body.decode()
        found = _body.decode(body)
        if found.output.message is None:
            raise UpstreamBadResponse("The upstream's answer holds no message.")
        blocks = tuple(block for part in found.output.message.content for block in _block(part))
        more = read_more(found.additional_model_response_fields)
    except BROKEN:
        raise UpstreamBadResponse("The upstream's answer is not one of the Converse API.") from None
    choice = Choice(blocks=blocks, stop=converse_stop(found.stop_reason), stop_sequence=more.stop_sequence)
    return Answer(
        dialect="converse",
        answer_id=answer_id or converse_id(body),
        model=model,
        choices=(choice,),
        usage=converse_usage(found.usage, more),
        service_tier=None if found.service_tier is None else found.service_tier.type,
        extra={} if bytes(found.trace) == b"null" else {"trace": found.trace},
    )


def converse_id(data: bytes) -> str:
    """An id for an answer that has none."""
    return f"converse-{hashlib.blake2s(data, digest_size=12).hexdigest()}"


def converse_stop(reason: str) -> StopReason:
    return _STOPS.get(reason, StopReason.END)


def read_more(raw: Json) -> MoreFields:
    """Nothing if it cannot be understood: each model has its own."""
    try:
        return _more.decode(raw)
    except BROKEN:
        return MoreFields()


def converse_usage(raw: Json, more: MoreFields) -> TokenUsage | None:
    """The whole input: Bedrock counts what it read from a cache, and wrote to one, apart."""
    try:
        counts = _counts.decode(raw)
    except BROKEN:
        return None
    read, written = counts.cache_read_input_tokens, counts.cache_write_input_tokens
    details = counts.cache_details
    return TokenUsage(
        input=None if counts.input_tokens is None else counts.input_tokens + (read or 0) + (written or 0),
        output=counts.output_tokens,
        cache_read=read,
        cache_write=written,
        cache_write_1h=None if details is None else sum(one.input_tokens for one in details if one.ttl == "1h"),
        reasoning=more.reasoning,
    )


def _block(part: dict[str, Json]) -> list[Block]:
    """Mostly one block; one for each piece of cited text."""
    for kind, raw in part.items():
        match kind:
            case "text":
                return [TextBlock(_text.decode(raw))]
            case "toolUse" if not (call := _call.decode(raw)).type:
                arguments = msgspec.json.format(bytes(call.input), indent=-1).decode()
                return [ToolUseBlock(call_id=call.tool_use_id, name=call.name, arguments=arguments)]
            case "reasoningContent":
                return [_thought(_reasoning.decode(raw))]
            case "image" if (image := converse_image(raw)) is not None:
                return [image]
            case "citationsContent":
                cited = _cited.decode(raw)
                found = tuple(citation for one in cited.citations if (citation := converse_citation(one)) is not None)
                text = "".join(said.text for said in cited.content)
                return [TextBlock(text, citations=found)]
            case _:
                return [RawBlock(dialect="converse", type=kind, raw=as_json(part))]
    return []


def _thought(found: _Reasoning) -> Block:
    """Signatures are Anthropic's, which takes them on every cloud."""
    if found.redacted_content is not None:
        return RedactedThinkingBlock(data=found.redacted_content, origin="messages")
    thought = found.reasoning_text or _Thought()
    return ThinkingBlock(text=thought.text, signature=thought.signature, origin="messages")


def converse_image(raw: Json) -> ImageBlock | None:
    image = _image.decode(raw)
    data = None if image.source is None else image.source.bytes
    return None if data is None else ImageBlock(data=data, media_type=f"image/{image.format}")


def converse_citation(raw: Json) -> Citation | None:
    try:
        found = _citation.decode(raw)
        extra = MEMBERS.decode(raw)
    except BROKEN:
        return None
    web = None if found.location is None else found.location.web
    return Citation(
        url=None if web is None else web.url,
        title=found.title,
        cited="".join(said.text for said in found.source_content) or None,
        extra={name: value for name, value in extra.items() if name in ("location", "source")},
    )
