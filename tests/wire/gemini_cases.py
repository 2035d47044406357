"""Recorded conversations with the Gemini API, as a chat client has them: its request, Google's, and both answers.

Answers are whole; `chunks` cuts one into a stream as Google does: text in pieces, calls whole, the counts in each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

USER = {"role": "user", "content": "What is the weather in Paris?"}
ASKED = {"role": "user", "parts": [{"text": "What is the weather in Paris?"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA},
}
DECLARED = {"functionDeclarations": [{"name": "weather", "description": "Tells it.", "parametersJsonSchema": SCHEMA}]}
USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
COUNTED = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
SIGNATURE = "CiQBc2lnbmF0dXJl"
PNG = "iVBORw0KGgo="


def said(*parts: Object, finish: str | None = "STOP", usage: Object | None = None, **more: Any) -> Object:
    """An answer with one candidate."""
    candidate: Object = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": USAGE if usage is None else usage,
        "modelVersion": "gemini-3-flash",
        "responseId": "r1",
    }


def called(name: str, args: Object | None = None, **more: Any) -> Object:
    return {"functionCall": {"name": name, **({} if args is None else {"args": args})}, **more}


@dataclass
class Case:
    asked: Object
    """The chat request, without its model."""
    sent: Object
    """Google's request."""
    answered: Object
    message: Object
    """The chat answer's message; ids of calls are CALL, for those that gatewayd makes."""
    finish: str
    model: str = "gemini-3-flash"
    usage: Object = field(default_factory=lambda: COUNTED)


CALL = "call_*"

CASES = {
    "text": Case(
        {"messages": [{"role": "system", "content": "Be brief."}, USER], "temperature": 0.5, "max_tokens": 100},
        {
            "contents": [ASKED],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100},
        },
        said({"text": "It is "}, {"text": "sunny."}),
        {"role": "assistant", "content": "It is sunny."},
        "stop",
    ),
    "tools": Case(
        {"messages": [USER], "tools": [TOOL], "tool_choice": "auto"},
        {
            "contents": [ASKED],
            "tools": [DECLARED],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        },
        said({"text": "Let me see."}, called("weather", {"city": "Paris"}, thoughtSignature=SIGNATURE)),
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": f"{CALL}__thought__{SIGNATURE}",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                    "extra_content": {"google": {"thought_signature": SIGNATURE}},
                }
            ],
        },
        "tool_calls",
    ),
    "parallel": Case(
        {"messages": [USER], "tools": [TOOL]},
        {"contents": [ASKED], "tools": [DECLARED]},
        said(
            {"functionCall": {"id": "a1", "name": "weather", "args": {"city": "Paris"}}},
            {"functionCall": {"id": "b2", "name": "weather", "args": {"city": "Rome"}}},
        ),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
                {"id": "b2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
            ],
        },
        "tool_calls",
    ),
    "results": Case(
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "a1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
                            "extra_content": {"google": {"thought_signature": SIGNATURE}},
                        },
                        {"id": "b2", "type": "function", "function": {"name": "clock", "arguments": ""}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a1", "content": '{"id": 12345678901234567890}'},
                {"role": "tool", "tool_call_id": "b2", "content": "noon"},
            ]
        },
        {
            "contents": [
                ASKED,
                {
                    "role": "model",
                    "parts": [
                        {
                            "functionCall": {"name": "weather", "args": {"city": "Paris"}, "id": "a1"},
                            "thoughtSignature": SIGNATURE,
                        },
                        {"functionCall": {"name": "clock", "args": {}, "id": "b2"}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "name": "weather",
                                "response": {"output": '{"id": 12345678901234567890}'},
                                "id": "a1",
                            }
                        },
                        {"functionResponse": {"name": "clock", "response": {"output": "noon"}, "id": "b2"}},
                    ],
                },
            ]
        },
        said({"text": "Sunny."}),
        {"role": "assistant", "content": "Sunny."},
        "stop",
    ),
    "no arguments": Case(
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "clock"}}]},
        {"contents": [ASKED], "tools": [{"functionDeclarations": [{"name": "clock"}]}]},
        said(called("clock")),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": CALL, "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
        },
        "tool_calls",
    ),
    "thinking": Case(
        {"messages": [USER], "reasoning_effort": "high"},
        {
            "contents": [ASKED],
            "generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "high"}},
        },
        said(
            {"text": "Paris, ", "thought": True},
            {"text": "hm.", "thought": True, "thoughtSignature": SIGNATURE},
            {"text": "Sunny."},
            usage={**USAGE, "thoughtsTokenCount": 20, "totalTokenCount": 33, "cachedContentTokenCount": 5},
        ),
        {
            "role": "assistant",
            "content": "Sunny.",
            "reasoning_content": "Paris, hm.",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Paris, hm.", "signature": SIGNATURE, "origin": "gemini"}
            ],
        },
        "stop",
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 24,
            "total_tokens": 33,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
    ),
    "images": Case(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Paint this red."},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
                        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                        },
                    ],
                }
            ],
            "modalities": ["text", "image"],
        },
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "Paint this red."},
                        {
                            "inlineData": {"mimeType": "image/png", "data": PNG},
                            "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
                        },
                        {"fileData": {"fileUri": "https://example.com/a.jpg", "mimeType": "image/jpeg"}},
                        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
                        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}},
                    ],
                }
            ],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
        },
        said({"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        {
            "role": "assistant",
            "content": "Here.",
            "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
        },
        "stop",
    ),
    "blocked answer": Case(
        {"messages": [USER]},
        {"contents": [ASKED]},
        said(finish="SAFETY", safetyRatings=[{"category": "HARM_CATEGORY_HARASSMENT", "blocked": True}]),
        {"role": "assistant", "content": None, "refusal": "The model declined to answer."},
        "content_filter",
    ),
    "blocked prompt": Case(
        {"messages": [USER]},
        {"contents": [ASKED]},
        {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            "modelVersion": "gemini-3-flash",
            "responseId": "r1",
        },
        {"role": "assistant", "content": None, "refusal": "The model declined to answer."},
        "content_filter",
        usage={"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9},
    ),
    "length": Case(
        {"messages": [USER], "max_completion_tokens": 1},
        {"contents": [ASKED], "generationConfig": {"maxOutputTokens": 1}},
        said({"text": "It"}, finish="MAX_TOKENS"),
        {"role": "assistant", "content": "It"},
        "length",
    ),
    "structured": Case(
        {
            "messages": [USER],
            "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}},
        },
        {
            "contents": [ASKED],
            "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        },
        said({"text": '{"city":"Paris"}'}),
        {"role": "assistant", "content": '{"city":"Paris"}'},
        "stop",
    ),
}


def event(chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"


def chunks(answer: Object) -> list[Object]:
    """The answer as Google streams it: a chunk for each part, the reason to finish in the last."""
    if "candidates" not in answer:
        return [answer]
    (candidate,) = answer["candidates"]
    common = {key: value for key, value in answer.items() if key != "candidates"}
    parts = candidate["content"]["parts"] or [{"text": ""}]
    made = [{**common, "candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}]} for part in parts]
    rest = {key: value for key, value in candidate.items() if key != "content"}
    made[-1]["candidates"][0].update(rest)
    return made


def stream(answer: Object) -> bytes:
    return b"".join(map(event, chunks(answer)))
