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


def conversing(request: Received) -> Reply:
    """Says "Good day to you.", or calls the first tool if it is asked to; the last turn's results end the loop."""
    asked = request.json()
    last = asked["contents"][-1]["parts"]
    is_called = bool(asked.get("tools")) and "call it" in json.dumps(last)
    if ":streamGenerateContent" in request.target:
        assert request.target.endswith("?alt=sse")
        if is_called:
            return sse_reply([event(part_body(THOUGHT)), event(part_body(CALL, reason="STOP"))])
        return sse_reply([chunk("Good "), chunk("day "), chunk("to you.", reason="STOP")])
    if is_called:
        tree = part_body(THOUGHT, reason="STOP")
        tree["candidates"][0]["content"]["parts"].append(CALL)
        return json_reply(tree)
    return json_reply(body("Good day to you.", reason="STOP"))


SIGNATURE = "c2lnbmF0dXJl"
THOUGHT: dict[str, Any] = {"text": "I should read it.", "thought": True}
CALL: dict[str, Any] = {
    "functionCall": {"name": "Read", "args": {"path": "/a"}, "id": "fc1"}, "thoughtSignature": SIGNATURE
}  # fmt: skip


def part_body(part: dict[str, Any], *, reason: str | None = None) -> dict[str, Any]:
    tree = body("", reason=reason)
    tree["candidates"][0]["content"]["parts"] = [part]
    return tree


def event(tree: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(tree).encode() + b"\r\n\r\n"


def error_event(code: int = 503, kind: str = "UNAVAILABLE", message: str = "The model is overloaded.") -> bytes:
    return event({"error": {"code": code, "message": message, "status": kind}})


def chunk(text: str, *, reason: str | None = None) -> bytes:
    return event(body(text, reason=reason))


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
    return event(tree)


def error(status: int, kind: str, message: str) -> Reply:
    return json_reply({"error": {"code": status, "message": message, "status": kind}}, status=status)
