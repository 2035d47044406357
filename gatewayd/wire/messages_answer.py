"""Answers and errors of Anthropic's Messages API, both ways. Part of `gatewayd.wire.messages`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire.conversation import (
    Answer,
    Block,
    Choice,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.converting import MALFORMED, MEMBERS, STRING, Members, extra_of, int_or_none
from gatewayd.wire.events import StreamError
from gatewayd.wire.messages_blocks import write_citation
from gatewayd.wire.messages_request import proof_of, read_blocks
from gatewayd.wire.openai import encode
from gatewayd.wire.signatures import signed_call_id
from gatewayd.wire.tool_names import ToolNames, json_arguments

NO_ANSWER: Final = "The model declined to answer."
"""For an answer that was refused without a word: clients send answers back, and an empty turn is refused."""
_READ: Final = {
    "end_turn": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "tool_use": StopReason.TOOL_USE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
}
_WRITTEN: Final = {
    **{reason: name for name, reason in _READ.items()},
    StopReason.CONTENT_FILTER: "refusal",
    StopReason.FAULT: "refusal",
}
_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TIERS: Final = {"standard": "default"}
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamBadResponse."""
    try:
        if not body.isascii():
            body.decode()
        members = Members(MEMBERS.decode(body))
        content = members.raw("content")
        if content is None:
            raise KeyError
        reason, sequence = members.take("stop_reason", STRING), members.take("stop_sequence", STRING)
        usage = members.value("usage")
        answer_id, model = members.take("id", STRING), members.take("model", STRING)
        blocks = tuple(read_blocks(content, "content"))
    except MALFORMED:
        raise UpstreamBadResponse("The upstream's answer is not a message.") from None
    for name in ("type", "role"):
        members.raw(name)
    choice = Choice(blocks=blocks, stop=read_reason(reason), stop_sequence=sequence)
    return Answer(
        dialect="messages",
        answer_id=answer_id or "",
        model=model or "",
        choices=(choice,),
        usage=read_anthropic_usage(usage),
        service_tier=read_tier(usage),
        extra=members.rest(),
    )


def read_reason(reason: str | None) -> StopReason:
    return _READ.get(reason or "", StopReason.END)


# --- usage --------------------------------------------------------------------------------------------------------


def read_anthropic_usage(usage: Any, before: TokenUsage | None = None) -> TokenUsage | None:
    """Anthropic counts the input without what caches gave or took. `before`: what the start of a stream said, which its
    end repeats in part."""
    if not isinstance(usage, dict):
        return before
    fresh, read, written = (int_or_none(usage.get(name)) for name in _INPUT)
    details = usage.get("cache_creation")
    hour = int_or_none(details.get("ephemeral_1h_input_tokens")) if isinstance(details, dict) else None
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    thoughts = usage.get("output_tokens_details")
    counts = TokenUsage(
        input=total,
        output=int_or_none(usage.get("output_tokens")),
        cache_read=read,
        cache_write=written,
        cache_write_1h=hour,
        reasoning=int_or_none(thoughts.get("thinking_tokens")) if isinstance(thoughts, dict) else None,
        extra=extra_of({name: value for name, value in usage.items() if name not in _KNOWN}),
    )
    return counts if before is None else _merged(before, counts)


_INPUT: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_KNOWN: Final = frozenset({*_INPUT, "output_tokens", "cache_creation", "service_tier", "output_tokens_details"})


def _merged(before: TokenUsage, after: TokenUsage) -> TokenUsage:
    known = {name: value for name in after.__struct_fields__ if (value := getattr(after, name)) not in (None, {})}
    if "input" not in known and known.keys() & {"cache_read", "cache_write"}:
        known = {name: known[name] for name in known if name not in ("cache_read", "cache_write", "cache_write_1h")}
    return msgspec.structs.replace(before, **known)


def read_tier(usage: Any) -> str | None:
    tier = usage.get("service_tier") if isinstance(usage, dict) else None
    return _TIERS.get(tier, tier) if isinstance(tier, str) else None


def write_anthropic_usage(usage: TokenUsage | None, *, tier: str | None = None) -> dict[str, Any]:
    """All that clients add up is there, as 0 if nothing is known."""
    usage = usage or TokenUsage()
    read, written = usage.cache_read or 0, usage.cache_write or 0
    counts: dict[str, Any] = {
        "input_tokens": max(0, (usage.input or 0) - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output or 0,
    }
    if usage.cache_write_1h is not None:
        hour = usage.cache_write_1h
        counts["cache_creation"] = {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour}
    if usage.reasoning is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if tier is not None:
        counts["service_tier"] = "standard" if tier == "default" else tier
    return counts


# --- writing ------------------------------------------------------------------------------------------------------


def write_answer(answer: Answer, request: Request) -> bytes:
    own = answer.dialect == "messages"
    choice = ToolNames(request).restored_choice(answer.choices[0])
    usage = write_anthropic_usage(answer.usage, tier=answer.service_tier)
    if own and answer.usage is not None:
        usage.update(answer.usage.extra)
    content = [part for block in choice.blocks for part in _written(block, own=own)]
    reason = _WRITTEN[choice.stop]
    if reason == "refusal" and not content:
        content = [{"type": "text", "text": NO_ANSWER}]
    body: dict[str, Any] = {
        "id": answer.answer_id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": choice.stop_sequence,
        "usage": usage,
    }
    if own:
        body.update(answer.extra)
    return encode(body)


def write_reason(reason: StopReason) -> str:
    return _WRITTEN[reason]


def _written(block: Block, *, own: bool) -> list[Any]:
    """A block of an answer. What only another API knows, and images and sound, are left out."""
    match block:
        case TextBlock(text):
            if not text:
                return []
            part: dict[str, Any] = {"type": "text", "text": text}
            citations = [found for citation in block.citations if (found := write_citation(citation)) is not None]
            return [{**part, "citations": citations}] if citations else [part]
        case ThinkingBlock():
            text, proof = block.text or "\n\n".join(block.summary), proof_of(block)
            return [{"type": "thinking", "thinking": text, "signature": proof}] if text or proof else []
        case RedactedThinkingBlock():
            return [{"type": "redacted_thinking", "data": proof_of(block)}]
        case RefusalBlock(text):
            return [{"type": "text", "text": text}] if text else []
        case ToolUseBlock():
            call_id = signed_call_id(block.call_id, block.signature)
            call = {"type": "tool_use", "id": call_id, "name": block.name, "input": json_arguments(block)}
            return [{**call, **(block.extra if own else {})}]
        case RawBlock(dialect="messages", raw=raw):
            return [raw]
        case _:
            return []


# --- errors -------------------------------------------------------------------------------------------------------


def read_error(body: bytes) -> StreamError | None:
    """An error body, or the data of an error event; None if it is neither."""
    try:
        members = _decoder.decode(body)
    except MALFORMED:
        return None
    match members:
        case {"type": "error", "error": {"message": str(message), **rest}}:
            kind = rest.get("type")
            kind = kind if isinstance(kind, str) else None
            return StreamError(message=message, type=kind, status=_STATUSES.get(kind or ""))
        case _:
            return None


def write_error(error: StreamError) -> bytes:
    kind = error.type
    if kind not in _STATUSES:
        status = error.status or 500
        found = next((name for name, code in _STATUSES.items() if code == status), None)
        kind = found or ("invalid_request_error" if 400 <= status < 500 else "api_error")
    return encode({"type": "error", "error": {"type": kind, "message": error.message}})
