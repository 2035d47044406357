"""Answers without a provider: `mock_response`, with delays and faults. For first steps, tests and drills.

The script is `gatewayd.config.schema.mock.MockResponse`. Answers have the shapes of OpenAI's API (openapi.yaml of
openai/openai-openapi: CreateChatCompletionResponse, CreateChatCompletionStreamResponse, CreateCompletionResponse,
CreateEmbeddingResponse). Faults are raised as the same errors a real upstream's faults become. Tokens are counted as
one for every four bytes of UTF-8 text, rounded up, and three more for each message.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import struct
import uuid
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from gatewayd.config.schema.mock import MockFail, MockResponse
from gatewayd.config.snapshot import Deployment
from gatewayd.errors import (
    FallbackKind,
    GatewayError,
    InvalidRequest,
    UpstreamAuth,
    UpstreamConnection,
    UpstreamIncomplete,
    UpstreamStatus,
    UpstreamTimeout,
)
from gatewayd.float32 import pack
from gatewayd.upstream.base import Call, Gate, Reply, Sink, WholeReply
from gatewayd.wire.dialect import CHAT, COMPLETIONS, EMBEDDINGS, OPENAI, Endpoint
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Intent, Usage, encode

_JSON: tuple[Header, ...] = (("content-type", "application/json"),)
_EVENTS: tuple[Header, ...] = (("content-type", "text/event-stream; charset=utf-8"),)

MAX_CHOICES = 128
"""Upper bound of `n` (OpenAI's own), so that a caller cannot ask for an answer of any size."""
MAX_DIMENSIONS = 65_536


class ScriptedUpstream:
    """Plays a deployment's script. Calls are independent of each other, except that `fail.times` counts them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._script = MockResponse.model_validate(dict(deployment.mock or {}))
        self._failures = 0
        self._answers: dict[Endpoint, Callable[[Call, str], Reply]] = {
            CHAT: self._chat,
            COMPLETIONS: self._completion,
            EMBEDDINGS: self._embeddings,
        }

    async def open(self, call: Call) -> Reply:
        """Raises InvalidRequest (bad fields, endpoint not known), or the fault that the script tells."""
        answer = self._answers.get(call.endpoint)
        if answer is None:
            raise InvalidRequest(f"A mock has no endpoint '{call.endpoint.path}'.", code="endpoint_not_supported")
        script = self._script
        reply = answer(call, self._deployment.model.replace("*", call.capture))
        silent = script.hang_after is not None and (script.hang_after == 0 or reply.body is not None)
        await call.waiting(_pause(math.inf if silent else script.delay, call.timeouts.first_byte, "first_byte"))
        if script.fail is not None and (script.fail.times is None or self._failures < script.fail.times):
            self._failures += 1
            raise _failure(script.fail)
        if script.cut_after is not None and (script.cut_after == 0 or reply.body is not None):
            raise UpstreamConnection("The upstream's connection broke before its answer.")
        return reply

    async def aclose(self) -> None:
        return None

    def _chat(self, call: Call, model: str) -> Reply:
        messages = call.intent.value("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("The field 'messages' must be a list of messages.", param="messages")
        # A tool's result has come back: the conversation ends, else an agent would call tools for ever.
        tools = () if _is_tool_result(messages[-1]) else self._script.tool_calls
        text = None if tools else self._script.text
        calls = [_tool_call(_id("call_"), tool.name, tool.arguments) for tool in tools]
        choices = _choices(call.intent)
        spoken = _tokens(text or "") + sum(_tokens(tool.name) + _tokens(tool.arguments) for tool in tools)
        usage = _usage(sum(_message_tokens(message) for message in messages), spoken * choices)
        finish = "tool_calls" if tools else "stop"
        head = {"id": _id("chatcmpl-"), "created": _now(), "model": model}
        if not call.intent.stream:
            message = {"role": "assistant", "content": text, "refusal": None} | ({"tool_calls": calls} if calls else {})
            return _whole(
                {
                    **head,
                    "object": "chat.completion",
                    "choices": [
                        {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
                        for index in range(choices)
                    ],
                },
                usage,
            )

        def deltas() -> Iterator[tuple[dict[str, Any], str | None]]:
            yield {"role": "assistant", "content": None if text is None else "", "refusal": None}, None
            for piece in self._pieces(text):
                yield {"content": piece}, None
            for index, tool in enumerate(tools):
                yield {"tool_calls": [{"index": index, **_tool_call(_id("call_"), tool.name, "")}]}, None
                for piece in _words(tool.arguments):
                    yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None
            yield {}, finish

        chunks = (
            {
                **head,
                "object": "chat.completion.chunk",
                "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}],
            }
            for delta, reason in deltas()
            for index in range(choices)
        )
        return self._stream(call, chunks, {**head, "object": "chat.completion.chunk"}, usage)

    def _completion(self, call: Call, model: str) -> Reply:
        prompts = _inputs(call.intent.value("prompt"), "prompt")
        text = self._script.text
        count = len(prompts) * _choices(call.intent)
        usage = _usage(sum(_tokens(prompt) for prompt in prompts), _tokens(text) * count)
        head = {"id": _id("cmpl-"), "object": "text_completion", "created": _now(), "model": model}
        if not call.intent.stream:
            return _whole({**head, "choices": [_text_choice(index, text, "stop") for index in range(count)]}, usage)

        def parts() -> Iterator[tuple[str, str | None]]:
            for piece in self._pieces(text):
                yield piece, None
            yield "", "stop"

        chunks = (
            {**head, "choices": [_text_choice(index, part, reason)]}
            for part, reason in parts()
            for index in range(count)
        )
        return self._stream(call, chunks, head, usage)

    def _embeddings(self, call: Call, model: str) -> Reply:
        intent = call.intent
        inputs = _inputs(intent.value("input"), "input")
        size = intent.value("dimensions") or self._script.dimensions
        if not isinstance(size, int) or not 1 <= size <= MAX_DIMENSIONS:
            raise InvalidRequest(f"'dimensions' must be between 1 and {MAX_DIMENSIONS}.", param="dimensions")
        form = intent.value("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise InvalidRequest("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
        told = self._script.embedding
        vectors = [array("f", told if told is not None else _direction(text, size)) for text in inputs]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": pack(vector) if form == "base64" else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        usage = _usage(sum(_tokens(text) for text in inputs), 0)
        spent = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
        return WholeReply(200, _JSON, encode({"object": "list", "data": data, "model": model, "usage": spent}), usage)

    def _pieces(self, text: str | None) -> list[str]:
        return [] if not text else _words(text) if self._script.chunks is None else _parts(text, self._script.chunks)

    def _stream(self, call: Call, chunks: Iterator[dict[str, Any]], head: dict[str, Any], usage: Usage) -> Reply:
        options = call.intent.value("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True

        def events() -> Iterator[bytes]:
            # With include_usage every chunk has the field, null in all but the last one, whose choices are empty.
            empty = {"usage": None} if with_usage else {}
            for chunk in chunks:
                yield b"data: " + encode(chunk | empty) + b"\n\n"
            if with_usage:
                yield b"data: " + encode(head | {"choices": [], "usage": _usage_body(usage)}) + b"\n\n"
            yield OPENAI.end_mark

        return _Stream(events(), self._script, call.timeouts.idle, usage)


class _Stream:
    """The reply of a streaming call: events made one at a time, as the script paces them."""

    status = 200
    headers: Sequence[Header] = _EVENTS
    body: bytes | None = None

    def __init__(self, events: Iterator[bytes], script: MockResponse, idle: float, usage: Usage) -> None:
        self._events = events
        self._script = script
        self._idle = idle
        self._usage_at_end = usage
        self.usage: Usage | None = None

    async def pipe(self, sink: Sink) -> None:
        script = self._script
        gate = Gate()
        sink.attach(gate)
        for sent, event in enumerate(self._events):
            if sent == script.cut_after:
                raise UpstreamIncomplete("The upstream's answer ended before its end mark.")
            if sent == script.hang_after:
                await _pause(math.inf, self._idle, "idle")
            if sent and script.chunk_delay:
                await _pause(script.chunk_delay, self._idle, "idle")
            await gate.opened()
            sink.write(event)
        self.usage = self._usage_at_end

    def close(self) -> None:
        return None


async def _pause(seconds: float, limit: float, kind: str) -> None:
    """Sleeps; raises UpstreamTimeout at `limit` seconds if that comes first."""
    if seconds:
        await asyncio.sleep(min(seconds, limit))
    if seconds > limit:
        if kind == "idle":
            raise UpstreamTimeout("The upstream stopped sending in the middle of its answer.", kind=kind)
        raise UpstreamTimeout("The upstream did not begin to answer in time.", kind=kind)


_FALLBACKS = {
    "context_length_exceeded": FallbackKind.CONTEXT_WINDOW,
    "content_policy_violation": FallbackKind.CONTENT_POLICY,
}


def _failure(fail: MockFail) -> GatewayError:
    if fail.status in (401, 403):
        return UpstreamAuth("The upstream rejected the gateway's key.")
    return UpstreamStatus(
        fail.message,
        status=fail.status,
        code=fail.code,
        fallback=_FALLBACKS.get(fail.code or "", FallbackKind.GENERAL),
        retry_after=fail.retry_after,
    )


def _whole(body: dict[str, Any], usage: Usage) -> Reply:
    return WholeReply(200, _JSON, encode({**body, "usage": _usage_body(usage)}), usage)


def _tool_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _text_choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _usage(prompt: int, completion: int) -> Usage:
    return Usage(prompt, completion, prompt + completion)


def _usage_body(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _choices(intent: Intent) -> int:
    n = intent.value("n")
    if n is None:
        return 1
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MAX_CHOICES:
        raise InvalidRequest(f"'n' must be between 1 and {MAX_CHOICES}.", param="n")
    return n


def _inputs(value: object, param: str) -> list[str]:
    """The texts of a prompt or an embedding's input: a text, an array of tokens, or an array of either."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return value
        if all(isinstance(item, int) for item in value):
            return [_as_text(value)]
        if all(isinstance(item, list) and item and all(isinstance(token, int) for token in item) for item in value):
            return [_as_text(item) for item in value]
    raise InvalidRequest(f"'{param}' must be a text, an array of texts, or token arrays.", param=param)


def _as_text(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


def _is_tool_result(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") in ("tool", "function")


def _message_tokens(message: object) -> int:
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return 3 + sum(_tokens(text) for text in texts if isinstance(text, str))


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // 4)


def _words(text: str) -> list[str]:
    """The text cut after every run of blanks; joined it is the text again."""
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + ([words[-1]] if words[-1] else [])


def _parts(text: str, count: int) -> list[str]:
    """The text in `count` parts of nearly equal length (empty ones if it has fewer letters); joined it is the text."""
    return [text[len(text) * i // count : len(text) * (i + 1) // count] for i in range(count)]


def _direction(text: str, size: int) -> list[float]:
    """A unit vector that depends on the text alone: SHAKE-256 of it as signed 32-bit numbers, scaled to length 1."""
    numbers = struct.unpack(f"<{size}i", hashlib.shake_256(text.encode()).digest(4 * size))
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]


def _id(prefix: str) -> str:
    return prefix + uuid.uuid4().hex


def _now() -> int:
    return int(datetime.now(UTC).timestamp())
