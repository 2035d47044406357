"""Whole answers and errors of OpenAI's Responses API, both ways. Part of `gatewayd.wire.responses`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gatewayd.errors import InvalidRequest, UpstreamBadResponse
from gatewayd.wire.conversation import (
    Answer,
    AudioBlock,
    Block,
    Choice,
    ImageBlock,
    RefusalBlock,
    Request,
    StopReason,
    TextBlock,
    ToolUseBlock,
)
from gatewayd.wire.converting import as_json, text_or_none
from gatewayd.wire.events import BlockStart, BlockStop, Delta, End, Start, Stop, StreamError, UsageReport
from gatewayd.wire.openai import encode
from gatewayd.wire.responses_items import read_content_parts, read_item
from gatewayd.wire.responses_object import failure_status, read_tokens
from gatewayd.wire.responses_stream_out import Writer

_FORMATS: Final = {"jpeg": "image/jpeg", "webp": "image/webp"}
_REASONS: Final = {"max_output_tokens": StopReason.LENGTH, "content_filter": StopReason.CONTENT_FILTER}
_decoder: Final = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE: Final = (
    msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRequest, AttributeError, TypeError
)  # fmt: skip


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamBadResponse, for a response that has failed too: `read_error` says why."""
    try:
        members = _decoder.decode(body)
        if (error := failure_of(members)) is not None:
            raise UpstreamBadResponse(f"The upstream's response failed: {error.message}")
        blocks = tuple(block for item in members["output"] for block in output_blocks(item))
        stop = stopped_by(members, map(type, blocks))
    except (*_UNREADABLE, KeyError):
        raise UpstreamBadResponse("The upstream's answer is not a response.") from None
    created, tier = members.get("created_at"), members.get("service_tier")
    return Answer(
        dialect="responses",
        answer_id=str(members.get("id", "")),
        model=str(members.get("model", "")),
        choices=(Choice(blocks=blocks, stop=stop, logprobs=_logprobs(members["output"])),),
        usage=read_tokens(members.get("usage")),
        created=int(created) if isinstance(created, int | float) else None,
        service_tier=tier if isinstance(tier, str) else None,
    )


def output_blocks(item: dict[str, Any]) -> list[Block]:
    """The blocks that an item of an answer is. Raises InvalidRequest, which readers of answers turn into their own."""
    match item:
        case {"type": "message"}:
            return read_content_parts(item.get("content"), "content")
        case {"type": "image_generation_call", "result": str(data)}:
            form = item.get("output_format", "png")
            return [ImageBlock(data=data, media_type=_FORMATS.get(form, "image/png"))]
        case _:
            return [read_item(item, "output")]


def stopped_by(response: dict[str, Any], kinds: Iterable[type]) -> StopReason:
    """Why a response has ended; `kinds` are the types of its blocks. Raises UpstreamBadResponse if it has not."""
    status = response.get("status", "completed")
    if status == "incomplete":
        details = response.get("incomplete_details") or {}
        return _REASONS.get(details.get("reason") or "", StopReason.END)
    if status not in ("completed", None):
        raise UpstreamBadResponse(f"The upstream's response has the status '{str(status)[:20]}'.")
    found = set(kinds)
    if ToolUseBlock in found:
        return StopReason.TOOL_USE
    return StopReason.REFUSAL if RefusalBlock in found else StopReason.END


def _logprobs(output: list[dict[str, Any]]) -> msgspec.Raw | None:
    """Of all texts together, in chat's form."""
    tokens = [
        token
        for item in output
        if item.get("type") == "message"
        for part in item.get("content") or ()
        for token in part.get("logprobs") or ()
    ]
    return as_json({"content": tokens}) if tokens else None


def write_answer(answer: Answer, request: Request) -> bytes:
    """`created` should be set: this module has no clock."""
    writer = Writer(request)
    choice = answer.choices[0]
    writer.feed(
        Start(
            dialect=answer.dialect,
            answer_id=answer.answer_id,
            model=answer.model,
            created=answer.created,
            service_tier=answer.service_tier,
        )
    )
    logprobs = choice.logprobs
    for index, block in enumerate(choice.blocks):
        if isinstance(block, TextBlock) and logprobs is not None and block.text:
            writer.feed(Delta(index, "text", block.text, logprobs=logprobs))
            block, logprobs = msgspec.structs.replace(block, text=""), None
        elif isinstance(block, AudioBlock) and block.transcript:
            block = TextBlock(block.transcript)
        writer.feed(BlockStart(index, block))
        writer.feed(BlockStop(index))
    if answer.usage is not None:
        writer.feed(UsageReport(answer.usage))
    writer.feed(Stop(choice.stop))
    writer.feed(End())
    return encode(writer.response)


# --- errors -------------------------------------------------------------------------------------------------------


def read_error(body: bytes) -> StreamError | None:
    """An error body, a response that has failed, or the data of an error event; None if it is none of them."""
    try:
        members = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return failure_of(members)


def failure_of(members: dict[str, Any]) -> StreamError | None:
    """The same, decoded."""
    match members:
        case {"status": "failed", "object": "response"} | {"status": "failed", "output": list()}:
            error = members.get("error")
            return _error(error if isinstance(error, dict) else {})
        case {"error": dict(error)} if "status" not in members or "output" not in members:
            return _error(error)
        case {"error": str(message)} if message and "output" not in members:
            return StreamError(message=message)
        case {"type": "error"}:
            return _error(members)
        case _:
            return None


def _error(error: dict[str, Any]) -> StreamError:
    code, kind, message = error.get("code"), text_or_none(error.get("type")), text_or_none(error.get("message"))
    kind = None if kind == "error" else kind
    said = None if code is None else str(code)
    status = code if isinstance(code, int) and 400 <= code < 600 else failure_status(said, kind)
    return StreamError(
        message=message or "The response failed.",
        type=kind,
        code=said,
        param=text_or_none(error.get("param")),
        status=status,
    )
