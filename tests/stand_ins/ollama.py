"""Ollama's own API on loopback: replies for `FakeUpstream`. Shapes after https://docs.ollama.com/api/chat.

It streams one JSON object a line, as `application/x-ndjson`. `/v1/...` is Ollama's API of OpenAI's form.
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakeup import Received, Reply, body_reply, chat_events, json_reply, sse_reply

PROMPT_TOKENS, OUTPUT_TOKENS = 5, 3
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": 8}
CALL = {"function": {"name": "weather", "arguments": {"city": "Bern"}}}


def answer(request: Received) -> Reply:
    asked = request.json()
    if request.path == "/api/embed":
        vectors = [[1.0, 0.5] for _ in asked["input"]]
        return json_reply({"model": asked["model"], "embeddings": vectors, "prompt_eval_count": PROMPT_TOKENS})
    if request.path.startswith("/v1/"):
        if asked.get("stream"):
            return sse_reply(chat_events("Good ", "day."))
        message = {"role": "assistant", "content": "Good day."}
        return json_reply({"object": "chat.completion", "choices": [{"index": 0, "message": message}], "usage": USAGE})
    if request.path != "/api/chat":
        return json_reply({"error": "404 page not found"}, status=404)
    if asked.get("stream"):
        return body_reply(b"".join(stream(tools="tools" in asked)), content_type="application/x-ndjson")
    said: dict[str, Any] = {"content": "", "tool_calls": [CALL]} if "tools" in asked else {"content": "Good day."}
    return json_reply(line(said, done=True))


def stream(*, tools: bool = False) -> list[bytes]:
    said: list[dict[str, Any]] = [{"content": "", "tool_calls": [CALL]}] if tools else [text("Good "), text("day.")]
    lines = [*(line(one) for one in said), line(text(""), done=True)]
    return [json.dumps(one).encode() + b"\n" for one in lines]


def text(content: str) -> dict[str, Any]:
    return {"content": content}


def line(message: dict[str, Any], *, done: bool = False) -> dict[str, Any]:
    told = {"model": "llama3", "created_at": "2026-11-30T10:00:00Z", "message": {"role": "assistant", **message}}
    if not done:
        return {**told, "done": False}
    counts = {"prompt_eval_count": PROMPT_TOKENS, "eval_count": OUTPUT_TOKENS}
    return {**told, "done": True, "done_reason": "stop", "total_duration": 1, **counts}
