"""Google's Gemini API as `wire.dialect` needs it: the top level of requests, streams while they pass, token usage.

The URL names the model and says whether to stream. A stream has no end mark: it is whole if its bytes end properly
after each candidate has got its reason to finish, or after the news that the prompt was blocked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gatewayd.errors import GatewayError
from gatewayd.wire.conversation import StopReason
from gatewayd.wire.events import StreamError
from gatewayd.wire.gemini_answer import gemini_stop_reason, read_usage_metadata
from gatewayd.wire.gemini_error import gemini_error_body, read_error, write_error
from gatewayd.wire.openai import Intent, Usage, peek, peek_in_steps
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.sse_decoder import LINE_END, Event

_GENERATION: Final = "generationConfig"
_NAMED: Final = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens", "seed": "seed", "n": "candidateCount",
    "presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
_ABSENT: Final = (
    "dimensions", "encoding_format", "reasoning_effort", "response_format", "thinking", "stream_options", "logprobs",
    "top_logprobs", "logit_bias", "tools", "tool_choice", "parallel_tool_calls", "user", "verbosity", "modalities",
    "audio", "prediction", "service_tier", "metadata", "store", "prompt_cache_key", "safety_identifier",
)  # fmt: skip


def _member(name: str) -> tuple[str, Callable[[Any], dict[str, Any]]]:
    return _GENERATION, lambda value: {name: value}


GEMINI_PARAMETERS: Final = MappingProxyType(
    {**dict.fromkeys((*_NAMED, "stop", *_ABSENT)), "safety_settings": "safetySettings"}
)
"""What this API calls parameters of chat on its top level; None: it has none, or has them inside of another."""
GEMINI_NESTED: Final = MappingProxyType(
    {
        **{name: _member(theirs) for name, theirs in _NAMED.items()},
        "stop": (_GENERATION, lambda value: {"stopSequences": [value] if isinstance(value, str) else value}),
    }
)
"""Parameters of chat that are members of another field in this API: the field, and what a value becomes in it."""

_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_LAST: Final = re.compile(rb'"(?:finishReason|blockReason)"')
_OTHER: Final = re.compile(rb'"index"\s*:\s*[1-9]')
"""What the chunk of another candidate than the first has in it."""
_USAGE: Final = b'"usageMetadata"'
_TAIL: Final = 4096
"""Bytes at the end of an answer in which usage is looked for."""
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Content(msgspec.Struct, frozen=True):
    parts: list[msgspec.Raw] = []


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content = _Content()
    index: int = 0
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] = []
    prompt_feedback: _Feedback | None = None


class _Counted(msgspec.Struct, rename="camel"):
    usage_metadata: msgspec.Raw = msgspec.Raw()


_chunk: Final = msgspec.json.Decoder(_Chunk)
_counted: Final = msgspec.json.Decoder(_Counted)


def gemini_peek(body: bytes, *, default_model: str | None = None) -> Intent:
    """As `openai.peek`; `default_model` is the one that the path names."""
    return _of_path(peek(body, default_model=default_model), default_model)


def gemini_peek_in_steps(body: bytes, *, default_model: str | None = None) -> Generator[None, None, Intent]:
    intent = yield from peek_in_steps(body, default_model=default_model)
    return _of_path(intent, default_model)


def _of_path(intent: Intent, model: str | None) -> Intent:
    return Intent(model or intent.model, False, intent.fields, intent.body)


class GeminiWatcher(StreamWatcher):
    """See `StreamWatcher`. `choices` has no effect: candidates are counted as they come."""

    __slots__ = ("_blocked", "_seen")

    unmarked = True

    def __init__(self, *, choices: int = 0, whole: bool = False, hides: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(whole=whole, hides=hides)
        self._seen = {0}
        self._blocked = False

    def feed(self, data: bytes) -> bytes:
        # As in StreamWatcher: the common chunk costs a few substring searches.
        if (
            self._quick
            and data.endswith(_ENDS)
            and data.rfind(b"error") < 0
            and not _LAST.search(data)
            and not _OTHER.search(data)
        ):
            if data.rfind(_USAGE) >= 0:
                self._usage = data
            return data
        return self._scan(data)

    def end(self) -> bytes | None:
        if self.error is not None:
            return None
        data, line = self._decoder.pending
        missing = b""
        if data or line:  # the last event without its blank line
            data, missing = (data, b"\n") if data else (line.removeprefix(b"data:"), b"\n\n")
            if self._is_last(Event(b"", data, 0)):
                return None
        if not self._blocked and not self._seen <= self._finished:
            return None
        self.done = True
        return self._half + missing if missing else b""

    def usage(self) -> Usage | None:
        for line in reversed(LINE_END.split(self._usage)):
            if _USAGE in line and (usage := _usage(line.removeprefix(b"data:"))) is not None:
                return usage
        return None

    def _is_last(self, event: Event) -> bool:
        data = event.data
        if data is None:
            return False
        if b'"error"' in data and read_error(data) is not None:
            self.error = data
            return True
        if _USAGE in data:
            self._usage = data
        if _LAST.search(data) or _OTHER.search(data):
            self._note(data)
        return self.error is not None

    def _note(self, data: bytes) -> None:
        try:
            chunk = _chunk.decode(data)
        except _UNREADABLE:
            return
        for candidate in chunk.candidates:
            self._seen.add(candidate.index)
            if candidate.finish_reason is not None:
                self._finished.add(candidate.index)
                if not self.started and gemini_stop_reason(candidate.finish_reason, False) is StopReason.FAULT:
                    self._refuse(candidate)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
            self._blocked = True

    def _refuse(self, candidate: _Candidate) -> None:
        """A stream whose first event says that the model failed is a failed attempt, unless it holds something."""
        if not candidate.content.parts:
            message = f"The model did not complete its answer ({candidate.finish_reason})."
            self.error = write_error(StreamError(message=message, status=502))
            self.withheld = True


def gemini_usage(body: bytes) -> Usage | None:
    """The usage of a whole answer: near its end, as a rule."""
    at = body.rfind(_USAGE, max(0, len(body) - _TAIL))
    usage = None if at < 0 else _usage(b"{" + body[at:])
    return _usage(body) if usage is None and _USAGE in body else usage


def _usage(document: bytes) -> Usage | None:
    try:
        raw = _counted.decode(document).usage_metadata
    except _UNREADABLE:
        return None
    counts = read_usage_metadata(raw) if bytes(raw) else None
    if counts is None or (counts.input is None and counts.output is None):
        return None
    prompt, completion = counts.input or 0, counts.output or 0
    return Usage(prompt, completion, prompt + completion)


def gemini_error(error: GatewayError, message: str, request_id: str) -> bytes:
    """An error as a whole answer. This API has no place for the request's id."""
    return gemini_error_body(error, message)


def gemini_error_event(error: GatewayError) -> bytes:
    """The last event of a stream that broke; empty if the upstream's own error event went through."""
    if error.told:
        return b""
    failure = StreamError(message=error.message, type=error.type, code=error.code, status=error.status)
    return b"data: %b\n\n" % write_error(failure)


def is_gemini_error(body: bytes) -> bool:
    """Whether an error's body has the shape that Google's clients read."""
    return read_error(body) is not None
