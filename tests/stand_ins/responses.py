"""OpenAI's Responses API on loopback: replies for `FakeUpstream`, whole and streamed, with tools and faults.

    async with FakeUpstream(responses.answer) as up:        # answers by what the request asks for
        ...                                                 # api_base = up.base_url

Shapes after OpenAI's openapi.yaml (Response, ResponseStreamEvent).
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakeup import Received, Reply, error_reply, json_reply, sse_reply

MODEL = "gpt-stand-in"
TEXT = "Good day to you."
USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 18,
}
ARGUMENTS = '{"city":"Bern"}'


def answer(request: Received) -> Reply:
    """A right answer to a right request."""
    if request.path != "/v1/responses":
        return error_reply(404, "Unknown path", type="invalid_request_error")
    body = request.json()
    if "model" not in body or "input" not in body:
        return error_reply(400, "Missing field", type="invalid_request_error")
    functions = [tool["name"] for tool in body.get("tools") or () if tool["type"] == "function"]
    items = body["input"] if isinstance(body["input"], list) else []
    tool = None if not functions or (items and items[-1].get("type") == "function_call_output") else functions[0]
    return sse_reply(stream(tool=tool)) if body.get("stream") else whole(tool=tool)


def whole(text: str = TEXT, *, tool: str | None = None) -> Reply:
    return json_reply(response("completed", [message(text) if tool is None else call(tool)]))


def response(status: str, output: list[Any], **changes: Any) -> dict[str, Any]:
    body = {
        "id": "resp_stand_in",
        "object": "response",
        "created_at": 1,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": MODEL,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE if status == "completed" else None,
        "user": None,
    }
    return body | changes


def message(text: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}] if text else []
    return {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content}


def call(tool: str, arguments: str = ARGUMENTS, status: str = "completed") -> dict[str, Any]:
    ids = {"id": "fc_1", "call_id": "call_1"}
    return {**ids, "type": "function_call", "status": status, "name": tool, "arguments": arguments}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, separators=(',', ':'))}\n\n".encode()


def stream(*texts: str, tool: str | None = None) -> list[bytes]:
    """The events of a whole stream, `response.completed` included."""
    texts = texts or ("Good ", "day ", "to you.")
    output = message("".join(texts)) if tool is None else call(tool)
    inner: list[tuple[str, dict[str, Any]]]
    place: dict[str, Any]
    if tool is None:
        empty, place = message("", "in_progress"), {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        inner = [
            ("response.content_part.added", {**place, "part": part}),
            *(("response.output_text.delta", {**place, "delta": text, "logprobs": []}) for text in texts),
            ("response.output_text.done", {**place, "text": "".join(texts), "logprobs": []}),
            ("response.content_part.done", {**place, "part": output["content"][0]}),
        ]
    else:
        empty, place = call(tool, "", "in_progress"), {"item_id": "fc_1", "output_index": 0}
        inner = [
            *(
                ("response.function_call_arguments.delta", {**place, "delta": part})
                for part in (ARGUMENTS[:4], ARGUMENTS[4:])
            ),
            ("response.function_call_arguments.done", {**place, "arguments": ARGUMENTS}),
        ]
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": response("in_progress", [])}),
        ("response.in_progress", {"response": response("in_progress", [])}),
        ("response.output_item.added", {"output_index": 0, "item": empty}),
        *inner,
        ("response.output_item.done", {"output_index": 0, "item": output}),
        ("response.completed", {"response": response("completed", [output])}),
    ]
    return [event(kind, sequence_number=number, **members) for number, (kind, members) in enumerate(events)]


FAILED = event("response.failed", response=response("failed", [], error={"code": "server_error", "message": "boom"}))
