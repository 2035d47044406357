"""The bodies that travel: the same request, the same answer and the same stream for every gateway.

Every streamed piece of text carries the moment at which the mock upstream sent it, `@` + 18 digits of nanoseconds of
CLOCK_MONOTONIC (one clock for all processes of a machine) + `@`. It survives every gateway, re-serialising ones too, so
that the load generator can count what was relayed, see what was lost, and tell how long each piece was under way.
"""

from __future__ import annotations

import json
import re
from typing import Any

MODEL = "bench"
CHUNKS = 100
"""Pieces of text in one stream; the request asks for them with `max_tokens`, which every gateway passes on."""
SMALL = 216
LARGE = 1 << 20

STAMP = re.compile(rb"@(\d{18})@")
STAMP_BYTES = 20

_FILL = 'Say "hi" to the lazy dog.\n'


def dumps(value: Any) -> bytes:
    """JSON without spaces, as most clients send it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def chat_body(size: int = SMALL, *, stream: bool = False, chunks: int = CHUNKS, model: str = MODEL) -> bytes:
    """A chat completion request of `size` bytes (or the smallest possible, if that is more)."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": ""}],
        "max_tokens": chunks,
        "temperature": 0.7,
    }
    if stream:
        body["stream"] = True
    return _filled(body, body["messages"][1], "content", size)


def answer(size: int = 500) -> bytes:
    """The chat completion that the mock upstream answers, of `size` bytes."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    body = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1767225600,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 42, "completion_tokens": 64, "total_tokens": 106},
    }
    return _filled(body, message, "content", size)


def anthropic_answer(size: int = 500) -> bytes:
    """The same in Anthropic's wire (https://docs.anthropic.com/en/api/messages)."""
    block: dict[str, Any] = {"type": "text", "text": ""}
    body = {
        "id": "msg_benchmark",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [block],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 42, "output_tokens": 64},
    }
    return _filled(body, block, "text", size)


def openai_stream() -> tuple[bytes, tuple[bytes, bytes], bytes]:
    """Opening events, what stands before and after the stamp of a piece, and closing events of a streamed answer."""

    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {"id": "chatcmpl-benchmark", "object": "chat.completion.chunk", "created": 1767225600, "model": MODEL}
        return b"data: " + dumps({**head, "choices": [choice]}) + b"\n\n"

    before, _, after = chunk({"content": "?"}).partition(b"?")
    return chunk({"role": "assistant", "content": ""}), (before, after), chunk({}, "stop") + b"data: [DONE]\n\n"


def anthropic_stream() -> tuple[bytes, tuple[bytes, bytes], bytes]:
    """The same in Anthropic's wire (https://docs.anthropic.com/en/api/messages-streaming)."""

    def event(name: str, **data: Any) -> bytes:
        return b"event: " + name.encode() + b"\ndata: " + dumps({"type": name, **data}) + b"\n\n"

    message = {**json.loads(anthropic_answer()), "content": [], "stop_reason": None}
    opening = event("message_start", message=message)
    opening += event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    piece = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "?"})
    before, _, after = piece.partition(b"?")
    closing = event("content_block_stop", index=0)
    closing += event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 64}
    )
    return opening, (before, after), closing + event("message_stop")


def _filled(body: dict[str, Any], holder: dict[str, Any], key: str, size: int) -> bytes:
    """`body` as JSON with `holder[key]` grown until the whole has `size` bytes."""
    room = max(size - len(dumps(body)), 0)
    unit = len(dumps(_FILL)) - 2  # without its quotes; escapes count
    holder[key] = _FILL * (room // unit) + "." * (room % unit)
    return dumps(body)
