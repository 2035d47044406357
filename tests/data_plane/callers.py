"""Callers of each API for the tests of conversion: what they send, and what an answer says to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CLAUDE_CODE: dict[str, Any] = {
    "model": "chat",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cch=0;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": "<system-reminder>Today is Tuesday.</system-reminder>"},
    ],
    "tools": [
        {
            "name": "Read",
            "description": "Reads a file.",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "required": ["path"],
                "additionalProperties": False,
            },
        },
        {"name": "Late", "description": "Found by search.", "input_schema": {"type": "object"}, "defer_loading": True},
    ],
    "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "medium"},
}
"""As Claude Code 2.1 asks, shortened."""

CODEX: dict[str, Any] = {
    "model": "chat",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    ],
    "tools": [
        {
            "type": "function",
            "name": "Read",
            "description": "Reads a file.",
            "strict": False,
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
        },
        {
            "type": "namespace",
            "name": "files",
            "description": "About files.",
            "tools": [{"type": "function", "name": "list", "description": "", "strict": False, "parameters": {}}],
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"x-codex-installation-id": "i"},
}
"""As Codex 0.171 asks, shortened."""

PLAIN: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    "tools": [{"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}],
}


@dataclass(frozen=True)
class Said:
    """An answer, whole or streamed."""

    text: str
    calls: Sequence[tuple[str, str]] = ()
    """Names and arguments of the tools that were called."""
    reason: str = ""
    tokens: tuple[int, int] = (0, 0)


def events_of(stream: bytes) -> list[tuple[str, Any]]:
    """Names and data of the events of a stream."""
    found = []
    for part in stream.decode().split("\n\n"):
        lines = [line for line in part.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields:
            data = fields["data"]
            found.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


class Messages:
    """Anthropic's Messages API."""

    path = "/v1/messages?beta=true"
    streams_usage = True
    ask = CLAUDE_CODE

    def said(self, body: bytes) -> Said:
        answer = json.loads(body)
        assert (answer["type"], answer["role"]) == ("message", "assistant")
        text = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
        calls = [(b["name"], json.dumps(b["input"])) for b in answer["content"] if b["type"] == "tool_use"]
        usage = answer["usage"]
        return Said(text, calls, answer["stop_reason"], (usage["input_tokens"], usage["output_tokens"]))

    def streamed(self, stream: bytes) -> Said:
        events = events_of(stream)
        assert all(name == data["type"] for name, data in events)
        names = [name for name, _ in events if name != "ping"]
        assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
        assert names.count("content_block_start") == names.count("content_block_stop")
        text, calls, current = "", [], ["", ""]
        for name, data in events:
            match name:
                case "content_block_start" if data["content_block"]["type"] == "tool_use":
                    assert data["content_block"]["input"] == {}
                    current = [data["content_block"]["name"], ""]
                    calls.append(current)
                case "content_block_delta" if data["delta"]["type"] == "text_delta":
                    text += data["delta"]["text"]
                case "content_block_delta" if data["delta"]["type"] == "input_json_delta":
                    current[1] += data["delta"]["partial_json"]
                case _:
                    pass
        last = events[-2][1]
        usage = events[0][1]["message"]["usage"] | last["usage"]
        found = [(name, json.dumps(json.loads(arguments))) for name, arguments in calls]
        return Said(text, found, last["delta"]["stop_reason"], (usage["input_tokens"], usage["output_tokens"]))

    def error(self, body: bytes) -> tuple[str, str]:
        told = json.loads(body)
        assert (told["type"], set(told)) == ("error", {"type", "error", "request_id"})
        return told["error"]["type"], told["error"]["message"]

    def broken(self, stream: bytes) -> str:
        """The message of the error that ends a stream, which has no end mark."""
        *before, (name, data) = events_of(stream)
        assert (name, data["type"]) == ("error", "error")
        assert {"error", "message_stop"}.isdisjoint(name for name, _ in before)
        return str(data["error"]["message"])


class Responses:
    """OpenAI's Responses API."""

    path = "/v1/responses"
    streams_usage = True
    ask = CODEX

    def said(self, body: bytes) -> Said:
        return self._said(json.loads(body))

    def _said(self, answer: dict[str, Any]) -> Said:
        assert (answer["object"], answer["status"]) == ("response", "completed")
        text, calls = "", []
        for item in answer["output"]:
            if item["type"] == "message":
                text += "".join(part["text"] for part in item["content"])
            elif item["type"] == "function_call":
                calls.append((item["name"], json.dumps(json.loads(item["arguments"]))))
        usage = answer["usage"]
        return Said(text, calls, "tool_use" if calls else "end_turn", (usage["input_tokens"], usage["output_tokens"]))

    def streamed(self, stream: bytes) -> Said:
        events = events_of(stream)
        assert all(name == data["type"] for name, data in events)
        assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
        assert (events[0][0], events[-1][0]) == ("response.created", "response.completed")
        said = self._said(events[-1][1]["response"])
        deltas = "".join(data["delta"] for name, data in events if name == "response.output_text.delta")
        assert deltas == said.text
        return said

    def error(self, body: bytes) -> tuple[str, str]:
        told = json.loads(body)["error"]
        return told["type"], told["message"]

    def broken(self, stream: bytes) -> str:
        *before, (name, data) = events_of(stream)
        assert (name, data["type"]) == ("response.failed", "response.failed")
        assert {"error", "response.completed", "response.failed"}.isdisjoint(name for name, _ in before)
        assert data["response"]["status"] == "failed"
        return str(data["response"]["error"]["message"])


class Chat:
    """OpenAI's Chat Completions API."""

    path = "/v1/chat/completions"
    streams_usage = False
    """Not unless it is asked to."""
    ask = PLAIN

    def said(self, body: bytes) -> Said:
        answer = json.loads(body)
        (choice,) = answer["choices"]
        message, usage = choice["message"], answer["usage"]
        calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ()]
        found = [(name, json.dumps(json.loads(arguments))) for name, arguments in calls]
        reason = {"stop": "end_turn", "tool_calls": "tool_use"}[choice["finish_reason"]]
        return Said(message["content"] or "", found, reason, (usage["prompt_tokens"], usage["completion_tokens"]))

    def streamed(self, stream: bytes) -> Said:
        *events, (_, last) = events_of(stream)
        assert last == "[DONE]"
        text, calls, reason = "", [], ""
        for _, data in events:
            for choice in data["choices"]:
                text += choice["delta"].get("content") or ""
                reason = choice["finish_reason"] or reason
                for call in choice["delta"].get("tool_calls") or ():
                    if "id" in call:
                        calls.append([call["function"]["name"], ""])
                    calls[-1][1] += call["function"].get("arguments") or ""
        found = [(name, json.dumps(json.loads(arguments))) for name, arguments in calls]
        return Said(text, found, {"stop": "end_turn", "tool_calls": "tool_use"}[reason])

    def error(self, body: bytes) -> tuple[str, str]:
        told = json.loads(body)["error"]
        return told["type"], told["message"]

    def broken(self, stream: bytes) -> str:
        *before, (_, data) = events_of(stream)
        assert "[DONE]" not in [data for _, data in before]
        return str(data["error"]["message"])


Caller = Messages | Responses | Chat


def asking(caller: Caller, *, stream: bool, **changes: Any) -> bytes:
    return json.dumps({**caller.ask, **({"stream": True} if stream else {}), **changes}).encode()
