"""Anthropic's Messages API on loopback: replies for `FakeUpstream`, whole, streamed, with tools and faults.

    async with FakeUpstream(anthropic.answer) as up:        # answers by what the request asks for
        ...                                                 # api_base = anthropic.base_url(up)

Shapes after https://docs.anthropic.com/en/api/messages and .../messages-streaming, version 2023-06-01.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.fakeup import FakeUpstream, Received, Reply, Step, json_reply, sse_reply
from tests.replies import Headers

MODEL = "claude-stand-in-1"
INPUT_TOKENS, OUTPUT_TOKENS = 11, 7


def base_url(up: FakeUpstream) -> str:
    """What litellm wants as `api_base` of anthropic: it appends /v1/messages."""
    return up.base_url.removesuffix("/v1")


def answer(request: Received) -> Reply:
    """A right answer to a right request; what Anthropic says to a wrong one."""
    if request.path != "/v1/messages":
        return error(404, "not_found_error", "Not found")
    if not request.headers.get("x-api-key"):
        return error(401, "authentication_error", "x-api-key header is required")
    if "anthropic-version" not in request.headers:
        return error(400, "invalid_request_error", "anthropic-version: header is required")
    body = request.json()
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            return error(400, "invalid_request_error", f"{name}: Field required")
    if any(message["role"] not in ("user", "assistant") for message in body["messages"]):
        return error(400, "invalid_request_error", "messages: Unexpected role")
    tool = body["tools"][0]["name"] if body.get("tools") and not _has_result(body["messages"][-1]) else None
    if body.get("stream"):
        return sse_reply(stream(tool=tool))
    return whole(tool=tool)


def whole(text: str = "Good day to you.", *, tool: str | None = None) -> Reply:
    content: list[Any] = [{"type": "text", "text": text}]
    if tool is not None:
        content.append({"type": "tool_use", "id": "toolu_1", "name": tool, "input": {"city": "Bern"}})
    message = _message(content, "tool_use" if tool else "end_turn")
    return json_reply(message, headers=[("request-id", "req_stand_in")])


def stream(*texts: str, tool: str | None = None, pings: int = 1) -> list[bytes]:
    """The events of a whole stream, `message_stop` included."""
    texts = texts or ("Good ", "day ", "to you.")
    return [
        start(),
        *[event("ping")] * pings,
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[delta(text) for text in texts],
        event("content_block_stop", index=0),
        *(_tool_events(tool) if tool else []),
        *end("tool_use" if tool else "end_turn"),
    ]


def start() -> bytes:
    message = _message([], None) | {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1}}
    return event("message_start", message=message)


def delta(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def end(reason: str = "end_turn") -> list[bytes]:
    usage = {"output_tokens": OUTPUT_TOKENS}
    return [
        event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage),
        event("message_stop"),
    ]


def error_event(kind: str = "overloaded_error", message: str = "Overloaded") -> bytes:
    return event("error", error={"type": kind, "message": message})


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def error(status: int, kind: str, message: str, headers: Headers = ()) -> Reply:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_stand_in"}
    return json_reply(body, status=status, headers=headers)


def cut(events: Sequence[Step], *, framing: str = "chunked", by: Step) -> Reply:
    """A stream that ends by FIN, RST or HANG, without its end mark."""
    return sse_reply([*events, by], framing=framing, finish=False)


def _tool_events(tool: str) -> list[bytes]:
    block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
    parts = ['{"city"', ': "Bern"}']
    return [
        event("content_block_start", index=1, content_block=block),
        *[event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": p}) for p in parts],
        event("content_block_stop", index=1),
    ]


def _message(content: list[Any], reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_stand_in",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
    }


def _has_result(message: dict[str, Any]) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)
