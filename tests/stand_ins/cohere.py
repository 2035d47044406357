"""Cohere's API v2 on loopback: replies for `FakeUpstream`. Shapes after https://docs.cohere.com/reference/chat.

Without `accept: text/event-stream` Cohere streams one JSON object a line. litellm takes whole URLs as `api_base`:
`chat_url(up)`, `embed_url(up)`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakeup import FakeUpstream, Received, Reply, json_reply, sse_reply

INPUT_TOKENS, OUTPUT_TOKENS = 5, 3
USAGE = {"tokens": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}}


def chat_url(up: FakeUpstream) -> str:
    return up.base_url.removesuffix("/v1") + "/v2/chat"


def embed_url(up: FakeUpstream) -> str:
    return up.base_url.removesuffix("/v1") + "/v2/embed"


def answer(request: Received) -> Reply:
    if not request.headers.get("authorization", "").startswith("Bearer "):
        return json_reply({"message": "no api key supplied"}, status=401)
    asked = request.json()
    if request.path == "/v2/embed":
        vectors = [[len(text), 0.5] for text in asked["texts"]]
        meta = {"billed_units": {"input_tokens": INPUT_TOKENS}}
        return json_reply({"id": "e1", "embeddings": {"float": vectors}, "texts": asked["texts"], "meta": meta})
    if asked.get("stream"):
        return sse_reply(stream())
    message = {"role": "assistant", "content": [{"type": "text", "text": "Good day."}]}
    return json_reply({"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": USAGE})


def stream() -> list[bytes]:
    return [
        line("message-start", id="c1", delta={"message": {"role": "assistant", "content": [], "tool_calls": []}}),
        line("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}),
        delta("Good "),
        delta("day."),
        line("content-end", index=0),
        line("message-end", delta={"finish_reason": "COMPLETE", "usage": USAGE}),
    ]


def delta(text: str) -> bytes:
    return line("content-delta", index=0, delta={"message": {"content": {"text": text}}})


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode() + b"\n"
