"""Google's Gemini API on loopback: replies for `FakeUpstream`.

Shapes after https://ai.google.dev/api/generate-content and .../embeddings. litellm takes `base_url(up)` as `api_base`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakeup import FakeUpstream, Received, Reply, json_reply, sse_reply

PROMPT_TOKENS, ANSWER_TOKENS = 5, 3


def base_url(up: FakeUpstream) -> str:
    return up.base_url.removesuffix("/v1")


def answer(request: Received) -> Reply:
    if not request.headers.get("x-goog-api-key"):
        return error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
    if ":batchEmbedContents" in request.target:
        texts = [part["content"]["parts"][0]["text"] for part in request.json()["requests"]]
        return json_reply({"embeddings": [{"values": [len(text), 0.5]} for text in texts]})
    return said(request)


def said(request: Received) -> Reply:
    """The model's answer, whoever asks."""
    if ":streamGenerateContent" in request.target:
        return sse_reply([chunk("Good "), chunk("day.", reason="STOP")])
    return json_reply(body("Good day.", reason="STOP"))


def chunk(text: str, *, reason: str | None = None) -> bytes:
    return b"data: " + json.dumps(body(text, reason=reason)).encode() + b"\r\n\r\n"


def body(text: str, *, reason: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    counts = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": ANSWER_TOKENS}
    counts["totalTokenCount"] = PROMPT_TOKENS + ANSWER_TOKENS
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "gemini-stand-in", "responseId": "r1"}


def blocked() -> bytes:
    """A stream's only event when the prompt itself was refused."""
    tree = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": PROMPT_TOKENS}}
    return b"data: " + json.dumps(tree).encode() + b"\r\n\r\n"


def error(status: int, kind: str, message: str) -> Reply:
    return json_reply({"error": {"code": status, "message": message, "status": kind}}, status=status)
