"""Answers of Google's Gemini API, both ways. Part of `gatewayd.wire.gemini`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from gatewayd.errors import InvalidJson, InvalidRequest, UpstreamBadResponse
from gatewayd.wire.conversation import (
    Answer,
    AudioBlock,
    Block,
    Choice,
    FileBlock,
    ImageBlock,
    Json,
    RawBlock,
    RefusalBlock,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.converting import STRING, as_json
from gatewayd.wire.gemini_common import CommonAnswer, read_common
from gatewayd.wire.gemini_grounding import grounding, grounding_citations, has_searched, read_logprobs, write_logprobs
from gatewayd.wire.gemini_media import media_part
from gatewayd.wire.gemini_parts import AnswerIds, CamelMembers, read_parts, without_empty
from gatewayd.wire.openai import encode
from gatewayd.wire.tool_names import ToolNames, json_arguments

_FINISHED: Final = {
    "STOP": StopReason.END,
    "MAX_TOKENS": StopReason.LENGTH,
    "CONTINUATION": StopReason.LENGTH,
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION",
            "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED",
        ),
        StopReason.CONTENT_FILTER,
    ),
    **dict.fromkeys(
        (
            "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
            "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "IMAGE_OTHER", "LANGUAGE", "OTHER",
        ),
        StopReason.FAULT,
    ),
}  # fmt: skip
_WRITTEN: Final = {
    StopReason.END: "STOP",
    StopReason.STOP_SEQUENCE: "STOP",
    StopReason.TOOL_USE: "STOP",
    StopReason.PAUSE: "STOP",
    StopReason.LENGTH: "MAX_TOKENS",
    StopReason.CONTEXT_WINDOW: "MAX_TOKENS",
    StopReason.REFUSAL: "SAFETY",
    StopReason.CONTENT_FILTER: "SAFETY",
    StopReason.FAULT: "OTHER",
}


class _Modality(msgspec.Struct, rename="camel"):
    modality: str | None = None
    token_count: int | None = None


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


_counts: Final = msgspec.json.Decoder(_Counts)


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Turns what is wrong with an answer's JSON into the upstream's fault."""
    try:
        yield
    except InvalidJson:
        raise UpstreamBadResponse("The upstream's answer is not a JSON object.") from None
    except InvalidRequest as error:
        raise UpstreamBadResponse(f"The upstream's answer is not one of the Gemini API: {error.message}") from None


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamBadResponse."""
    if (common := read_common(body)) is not None:
        return _common(common, body)
    with understood():
        top = CamelMembers.of_body(body)
        assert isinstance(top, CamelMembers)
        answer_id = top.take("responseId", STRING) or made_id(body)
        found = top.camel_list("candidates") or []
        choices = tuple(_choice(candidate, f"{answer_id}/{at}") for at, candidate in enumerate(found))
        if not choices:
            if not is_blocked(top):
                raise UpstreamBadResponse("The upstream's answer holds no candidates.")
            choices = (Choice(blocks=(), stop=StopReason.CONTENT_FILTER),)
        usage = top.raw("usageMetadata")
        searched = any(has_searched(choice.extra.get("groundingMetadata")) for choice in choices)
        return Answer(
            dialect="gemini",
            answer_id=answer_id,
            model=served_model(top.take("modelVersion", STRING)),
            choices=choices,
            usage=None if usage is None else read_usage_metadata(usage, searched=searched),
            extra=top.rest(),
        )


def _common(answer: CommonAnswer, body: bytes) -> Answer:
    choices = []
    for candidate in answer.candidates:
        blocks = without_empty((part.block for part in candidate.content.parts), "gemini")
        extra = candidate.extra
        if candidate.finish_reason is not None:
            extra["finishReason"] = as_json(candidate.finish_reason)
        stop = gemini_stop_reason(candidate.finish_reason, False)
        choices.append(Choice(blocks=tuple(_merged(blocks)), stop=stop, extra=extra))
    return Answer(
        dialect="gemini",
        answer_id=answer.response_id or made_id(body),
        model=served_model(answer.model_version),
        choices=tuple(choices),
        usage=read_usage_metadata(answer.usage_metadata) if bytes(answer.usage_metadata) else None,
        extra={"createTime": answer.create_time} if bytes(answer.create_time) else {},
    )


def made_id(body: bytes) -> str:
    """An id for an answer that has none."""
    return f"gemini-{hashlib.blake2s(body, digest_size=12).hexdigest()}"


def served_model(name: str | None) -> str:
    """`models/gemini-3-flash` is `gemini-3-flash`."""
    return (name or "").rpartition("/")[2]


def is_blocked(top: CamelMembers) -> bool:
    """Whether the prompt was refused before a model saw it."""
    return "promptFeedback" in top and b'"blockReason"' in bytes(top.rest()["promptFeedback"])


def _choice(candidate: CamelMembers, seed: str) -> Choice:
    content = candidate.camel_members("content")
    parts = [] if content is None else content.camel_list("parts") or []
    blocks = _merged(read_parts(parts, AnswerIds(seed), "gemini"))
    finish = candidate.take("finishReason", STRING)
    candidate.raw("index")
    extra = candidate.rest()
    if finish is not None:
        extra["finishReason"] = as_json(finish)
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    if (cited := grounding_citations(extra.get("groundingMetadata"), text)) and text:
        at = max(at for at, block in enumerate(blocks) if isinstance(block, TextBlock))
        blocks[at] = msgspec.structs.replace(blocks[at], citations=cited)
    return Choice(
        blocks=tuple(blocks),
        stop=gemini_stop_reason(finish, any(isinstance(block, ToolUseBlock) for block in blocks)),
        logprobs=read_logprobs(extra.get("logprobsResult")),
        extra=extra,
    )


def _merged(blocks: Iterable[Block]) -> list[Block]:
    """Pieces of text and of thought that follow each other are one, up to the piece that is signed: as in a stream."""
    merged: list[Block] = []
    for block in blocks:
        last = merged[-1] if merged else None
        if (
            isinstance(block, TextBlock | ThinkingBlock)
            and isinstance(last, TextBlock | ThinkingBlock)
            and type(block) is type(last)
            and last.signature is None
            and not (block.extra or last.extra)
        ):
            merged[-1] = msgspec.structs.replace(block, text=last.text + block.text)
        else:
            merged.append(block)
    return merged


def gemini_stop_reason(finish: str | None, has_calls: bool) -> StopReason:
    """Gemini says STOP behind calls of tools too."""
    reason = _FINISHED.get(finish or "", StopReason.END)
    return StopReason.TOOL_USE if reason is StopReason.END and has_calls else reason


def read_usage_metadata(raw: Json, *, searched: bool = False) -> TokenUsage | None:
    """None for counts that cannot be understood.

    `searched`: what Google's search or maps found is not billed as input, and not counted here.
    """
    try:
        counts = _counts.decode(raw)
    except msgspec.DecodeError:
        return None
    prompt, answer, thoughts = counts.prompt_token_count, counts.candidates_token_count, counts.thoughts_token_count
    used = counts.tool_use_prompt_token_count or 0
    # Some models count thoughts as part of the candidates: then the sum is the total without them.
    apart = (prompt or 0) + (answer or 0) + used != counts.total_token_count
    return TokenUsage(
        input=None if prompt is None else prompt + (0 if searched else used),
        output=None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0 if apart else 0),
        cache_read=counts.cached_content_token_count,
        reasoning=thoughts,
        audio_input=_audio(counts.prompt_tokens_details),
        audio_output=_audio(counts.candidates_tokens_details),
        extra={"usageMetadata": raw},
    )


def _audio(details: list[_Modality] | None) -> int | None:
    counts = [detail.token_count or 0 for detail in details or () if detail.modality == "AUDIO"]
    return sum(counts) if counts else None


# --- writing ------------------------------------------------------------------------------------------------------


def write_answer(answer: Answer, request: Request) -> bytes:
    """`request` is the caller's."""
    own = answer.dialect == "gemini"
    body: dict[str, Any] = {}
    if not (own and not answer.choices[0].blocks and "promptFeedback" in answer.extra):
        choices = answer.choices if own else map(ToolNames(request).restored_choice, answer.choices)
        body["candidates"] = [_candidate(at, choice, own) for at, choice in enumerate(choices)]
    if answer.usage is not None:
        body["usageMetadata"] = write_usage_metadata(answer.usage)
    body["modelVersion"] = answer.model
    body["responseId"] = answer.answer_id
    return encode({**body, **(answer.extra if own else {})})


def _candidate(at: int, choice: Choice, own: bool) -> dict[str, Any]:
    parts = answer_parts(choice.blocks, own=own)
    candidate: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": gemini_finish_reason(choice.stop),
        "index": at,
    }
    if own:
        return {**candidate, **choice.extra}
    citations = [one for block in choice.blocks if isinstance(block, TextBlock) for one in block.citations]
    if citations:
        text = "".join(block.text for block in choice.blocks if isinstance(block, TextBlock))
        candidate["groundingMetadata"] = grounding(citations, text)
    if choice.logprobs is not None and (logprobs := write_logprobs(choice.logprobs)) is not None:
        candidate["logprobsResult"] = logprobs
    return candidate


def gemini_finish_reason(stop: StopReason) -> str:
    return _WRITTEN[stop]


def answer_parts(blocks: Sequence[Block], *, own: bool) -> list[Any]:
    """An answer's parts. What only another dialect knows (calls of its server tools) is left out."""
    parts: list[Any] = []
    for block in blocks:
        match block:
            case TextBlock():
                parts.append({"text": block.text, **signature_member(block.signature), **(block.extra if own else {})})
            case RefusalBlock():
                parts.append({"text": block.text})
            case ThinkingBlock():
                text = block.text or "\n\n".join(block.summary)
                if text or block.signature:
                    parts.append(thought_part(text, block.signature) | (dict(block.extra) if own else {}))
            case ToolUseBlock():
                parts.append(call_part(block) | (dict(block.extra) if own else {}))
            case ImageBlock() | AudioBlock() | FileBlock():
                parts += media_part(block) or []
            case RawBlock(dialect="gemini", raw=raw):
                parts.append(raw)
            case _:
                pass
    return parts


def thought_part(text: str, signature: str | None) -> dict[str, Any]:
    return {"text": text, "thought": True, **signature_member(signature)}


def signature_member(signature: str | None) -> dict[str, str]:
    """The member for a signature, if there is one."""
    return {} if signature is None else {"thoughtSignature": signature}


def call_part(block: ToolUseBlock) -> dict[str, Any]:
    call = {"name": block.name, "args": json_arguments(block)}
    return {
        "functionCall": ({"id": block.call_id} if block.call_id else {}) | call,
        **signature_member(block.signature),
    }


def write_usage_metadata(usage: TokenUsage) -> Any:
    if "usageMetadata" in usage.extra:
        return usage.extra["usageMetadata"]
    prompt, output, thoughts = usage.input or 0, usage.output or 0, usage.reasoning
    counts = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": max(output - (thoughts or 0), 0),
        "totalTokenCount": prompt + output,
    }
    if thoughts:
        counts["thoughtsTokenCount"] = thoughts
    if usage.cache_read:
        counts["cachedContentTokenCount"] = usage.cache_read
    return counts
