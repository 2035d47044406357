"""Recorded conversations with Bedrock's Converse API, as a chat client has them.

Answers are whole; `events` makes of one the events of a stream, as Bedrock sends them: text and calls in pieces, no
start for text, the counts behind the stop.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.wire.frames import frame
from tests.wire.gemini_cases import PNG, SCHEMA, SIGNATURE, TOOL, USER

Object = dict[str, Any]

CLAUDE, NOVA = "eu.anthropic.claude-sonnet-5-5-v1:0", "amazon.nova-pro-v1:0"
ASKED = {"role": "user", "content": [{"text": "What is the weather in Paris?"}]}
DECLARED = {"toolSpec": {"name": "weather", "description": "Tells it.", "inputSchema": {"json": SCHEMA}}}
EMPTY: Object = {"type": "object", "properties": {}}
USAGE = {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}
COUNTED = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def said(*content: Object, stop: str = "end_turn", usage: Object | None = None, **more: Any) -> Object:
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": USAGE if usage is None else usage,
        "metrics": {"latencyMs": 5},
        **more,
    }


def call(call_id: str, name: str, given: Object) -> Object:
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": given}}


def chat_call(call_id: str, name: str, arguments: str) -> Object:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


@dataclass
class Case:
    asked: Object
    sent: Object
    answered: Object
    message: Object
    finish: str
    model: str = CLAUDE
    usage: Object = field(default_factory=lambda: COUNTED)
    target: Object = field(default_factory=dict)


CASES = {
    "text": Case(
        {"messages": [{"role": "system", "content": "Be brief."}, USER], "temperature": 0.5, "max_tokens": 100},
        {
            "messages": [ASKED],
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"temperature": 0.5, "maxTokens": 100},
        },
        said({"text": "It is sunny."}),
        {"role": "assistant", "content": "It is sunny."},
        "stop",
    ),
    "tools": Case(
        {"messages": [USER], "tools": [TOOL], "tool_choice": "required"},
        {"messages": [ASKED], "toolConfig": {"tools": [DECLARED], "toolChoice": {"any": {}}}},
        said({"text": "Let me see."}, call("tooluse_1", "weather", {"city": "Paris"}), stop="tool_use"),
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [chat_call("tooluse_1", "weather", '{"city":"Paris"}')],
        },
        "tool_calls",
    ),
    "parallel": Case(
        {"messages": [USER], "tools": [TOOL], "parallel_tool_calls": False},
        {
            "messages": [ASKED],
            "toolConfig": {"tools": [DECLARED]},
            "additionalModelRequestFields": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        },
        said(
            call("tooluse_1", "weather", {"city": "Paris"}),
            call("tooluse_2", "weather", {"city": "Rome"}),
            stop="tool_use",
        ),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                chat_call("tooluse_1", "weather", '{"city":"Paris"}'),
                chat_call("tooluse_2", "weather", '{"city":"Rome"}'),
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
                    "tool_calls": [chat_call("a1", "weather", '{"city": "Paris"}'), chat_call("b2", "weather", "")],
                },
                {"role": "tool", "tool_call_id": "a1", "content": "sunny"},
                {"role": "tool", "tool_call_id": "b2", "content": ""},
                {"role": "user", "content": "And?"},
            ],
            "tools": [TOOL],
        },
        {
            "messages": [
                ASKED,
                {"role": "assistant", "content": [call("a1", "weather", {"city": "Paris"}), call("b2", "weather", {})]},
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "a1", "content": [{"text": "sunny"}]}},
                        {"toolResult": {"toolUseId": "b2", "content": []}},
                        {"text": "And?"},
                    ],
                },
            ],
            "toolConfig": {"tools": [DECLARED]},
        },
        said({"text": "Sunny."}),
        {"role": "assistant", "content": "Sunny."},
        "stop",
    ),
    "no arguments": Case(
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "clock"}}]},
        {
            "messages": [ASKED],
            "toolConfig": {
                "tools": [
                    {"toolSpec": {"name": "clock", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
                ]
            },
        },
        said(call("tooluse_1", "clock", {}), stop="tool_use"),
        {"role": "assistant", "content": None, "tool_calls": [chat_call("tooluse_1", "clock", "{}")]},
        "tool_calls",
    ),
    "thinking": Case(
        {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 5000, "top_k": 5},
        {
            "messages": [ASKED],
            "inferenceConfig": {"maxTokens": 5000},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            "additionalModelResponseFieldPaths": ["/usage/output_tokens_details"],
        },
        said(
            {"reasoningContent": {"reasoningText": {"text": "Paris, hm.", "signature": SIGNATURE}}},
            {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
            {"text": "Sunny."},
            usage={**USAGE, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 3},
            additionalModelResponseFields={"usage": {"output_tokens_details": {"thinking_tokens": 2}}},
        ),
        {
            "role": "assistant",
            "content": "Sunny.",
            "reasoning_content": "Paris, hm.",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Paris, hm.", "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": "c2VjcmV0"},
            ],
        },
        "stop",
        usage={
            "prompt_tokens": 32,
            "completion_tokens": 4,
            "total_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 2},
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 20,
        },
    ),
    "images": Case(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Compare.", "cache_control": {"type": "ephemeral"}},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {
                            "type": "file",
                            "file": {"filename": "a/b_c.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                        },
                    ],
                }
            ],
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "Compare."},
                        {"cachePoint": {"type": "default"}},
                        {"image": {"format": "png", "source": {"bytes": PNG}}},
                        {"document": {"format": "pdf", "name": "a b c pdf", "source": {"bytes": "JVBERg=="}}},
                    ],
                }
            ],
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        },
        said({"text": "Here."}, {"image": {"format": "png", "source": {"bytes": PNG}}}),
        {
            "role": "assistant",
            "content": "Here.",
            "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
        },
        "stop",
    ),
    "blocked": Case(
        {"messages": [USER]},
        {"messages": [ASKED]},
        said(stop="guardrail_intervened", trace={"guardrail": {}}),
        {"role": "assistant", "content": None, "refusal": "The model declined to answer."},
        "content_filter",
    ),
    "length": Case(
        {"messages": [USER], "max_completion_tokens": 1},
        {"messages": [ASKED], "inferenceConfig": {"maxTokens": 1}},
        said({"text": "It"}, stop="max_tokens"),
        {"role": "assistant", "content": "It"},
        "length",
    ),
    "stop sequence": Case(
        {"messages": [USER], "stop": ["x"]},
        {
            "messages": [ASKED],
            "inferenceConfig": {"stopSequences": ["x"]},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        },
        said({"text": "It"}, stop="stop_sequence", additionalModelResponseFields={"stop_sequence": "x"}),
        {"role": "assistant", "content": "It"},
        "stop",
    ),
    "other model": Case(
        {"messages": [USER], "top_k": 5, "temperature": 1.5},
        {
            "messages": [ASKED],
            "inferenceConfig": {"temperature": 1},
            "additionalModelRequestFields": {"inferenceConfig": {"topK": 5}},
        },
        said({"text": "Sunny."}),
        {"role": "assistant", "content": "Sunny."},
        "stop",
        model=NOVA,
    ),
    "structured": Case(
        {
            "messages": [USER],
            "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA}},
        },
        {
            "messages": [ASKED],
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {
                            "name": "w",
                            "schema": json.dumps({**SCHEMA, "additionalProperties": False}, separators=(",", ":")),
                        }
                    },
                }
            },
        },
        said({"text": '{"city":"Paris"}'}),
        {"role": "assistant", "content": '{"city":"Paris"}'},
        "stop",
    ),
}


def _block_events(index: int, part: Object) -> list[tuple[str, Object]]:
    """A block's events: its first delta, or its start, in two pieces."""
    deltas: list[Object] = []
    start: Object | None = None
    match part:
        case {"text": str(text)}:
            deltas = [{"text": text[:3]}, {"text": text[3:]}]
        case {"toolUse": {"toolUseId": call_id, "name": name, "input": given}}:
            start = {"toolUse": {"toolUseId": call_id, "name": name}}
            text = json.dumps(given, separators=(",", ":"))
            deltas = [{"toolUse": {"input": piece}} for piece in ("", text[:4], text[4:])]
        case {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}:
            pieces: list[Object] = [{"text": text[:3]}, {"text": text[3:]}, {"signature": signature}]
            deltas = [{"reasoningContent": piece} for piece in pieces]
        case {"reasoningContent": {"redactedContent": data}}:
            raw = base64.b64decode(data)
            encoded = [base64.b64encode(piece).decode() for piece in (raw[:1], raw[1:])]
            deltas = [{"reasoningContent": {"redactedContent": piece}} for piece in encoded]
        case {"image": {"format": form, "source": {"bytes": data}}}:
            start = {"image": {"format": form}}
            deltas = [{"image": {"source": {"bytes": data}}}]
        case _:
            raise ValueError(part)
    events: list[tuple[str, Object]] = []
    if start is not None:
        events.append(("contentBlockStart", {"start": start, "contentBlockIndex": index}))
    events += [("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}) for delta in deltas]
    return [*events, ("contentBlockStop", {"contentBlockIndex": index})]


def events(answer: Object) -> list[tuple[str, Object]]:
    content = answer["output"]["message"]["content"]
    made: list[tuple[str, Object]] = [("messageStart", {"role": "assistant"})]
    for index, part in enumerate(content):
        made += _block_events(index, part)
    stop = {"stopReason": answer["stopReason"]}
    if "additionalModelResponseFields" in answer:
        stop["additionalModelResponseFields"] = answer["additionalModelResponseFields"]
    return [*made, ("messageStop", stop), ("metadata", {"usage": answer["usage"], "metrics": {"latencyMs": 5}})]


def stream(answer: Object) -> bytes:
    return b"".join(frame(name, payload) for name, payload in events(answer))
