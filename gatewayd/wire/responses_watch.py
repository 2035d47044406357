"""Watches streams of OpenAI's Responses API while they pass, and reads token usage of its answers.

A stream ends with one of the events `response.completed`, `response.incomplete` and `response.failed`, or with `error`,
behind which a `response.failed` may come; there is no `[DONE]`. Usage is in the last event. `response.failed` is a
failure although the status was 200.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gatewayd.errors import GatewayError
from gatewayd.wire.events import StreamError
from gatewayd.wire.openai import Usage, encode
from gatewayd.wire.responses_object import failure_code
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.sse_decoder import MAX_EVENT, Decoder, Event

RESPONSES_PARAMETERS: Final = MappingProxyType(
    {
        "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "stream_options": None,
        "n": None, "stop": None, "seed": None, "presence_penalty": None, "frequency_penalty": None, "logit_bias": None,
        "logprobs": None, "dimensions": None, "encoding_format": None, "response_format": None,
        "reasoning_effort": None, "verbosity": None, "modalities": None, "audio": None, "prediction": None,
    }
)  # fmt: skip
"""What this API calls OpenAI's parameters of chat; None: it has none, or has them inside of another."""


def _format(value: Any) -> dict[str, Any]:
    """Chat's `response_format`, whose schema is one level deeper."""
    if isinstance(value, dict) and isinstance(value.get("json_schema"), dict):
        value = {"type": "json_schema", **value["json_schema"]}
    return {"format": value}


RESPONSES_NESTED: Final = MappingProxyType(
    {
        "reasoning_effort": ("reasoning", lambda value: value if isinstance(value, dict) else {"effort": value}),
        "verbosity": ("text", lambda value: {"verbosity": value}),
        "response_format": ("text", _format),
    }
)
"""Parameters of chat that are members of another field in this API: the field, and what a value becomes in it."""

_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_GOOD: Final = frozenset({b"response.completed", b"response.incomplete"})
_FAILED: Final = b"response.failed"
_FINAL: Final = _GOOD | {_FAILED, b"error"}
_NO_REASON: Final = "The response failed."
_BEFORE: Final = frozenset({b"response.created", b"response.in_progress", b"response.queued", b"keepalive"})
"""Events that come before anything a model has made."""
_ERROR: Final = re.compile(rb'"error"|(?:^|[\r\n])(?:event: ?error|error:)')
_DONE: Final = b"[DONE]"
_TAIL: Final = 16 * 1024
"""Bytes at the end of an answer in which `usage` is looked for; only `user` and `metadata` come behind it."""
_LARGE: Final = 1024 * 1024
"""Bytes of a whole answer that are parsed to find usage in another place."""

_PROVIDERS_FAULT: Final = frozenset(
    {"server_error", "vector_store_timeout", "data_residency_mismatch", "rate_limit_exceeded", "insufficient_quota",
     "server_is_overloaded", "slow_down", "usage_not_included"}
)  # fmt: skip
"""Codes of failures about which the caller can do nothing. The other codes that exist are about the request."""


_UNKNOWN: Final = {
    "id": "resp_unknown", "object": "response", "created_at": 0, "model": "", "status": "failed", "error": None,
    "incomplete_details": None, "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "usage": None,
}  # fmt: skip


class _Document(msgspec.Struct):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


_document: Final = msgspec.json.Decoder(_Document)
_response: Final = msgspec.json.Decoder(_Response)
_counts: Final = msgspec.json.Decoder(_Counts)
_value: Final = json.JSONDecoder()
_USAGE: Final = re.compile(r'"usage"\s*:\s*')
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ResponsesWatcher(StreamWatcher):
    """See `StreamWatcher`. `choices` has no effect: every stream of this API has its last event.

    `error` has the form `{"error": {...}}`, whatever the event looked like.
    """

    __slots__ = ("_after", "_failing", "_last", "_tail")

    def __init__(self, *, choices: int = 0, whole: bool = False, hides: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(whole=whole, hides=hides)
        self._last = b""  # the response object of the last event
        self._tail = b""  # the end of an event that is too large to be kept
        self._failing = False  # the error comes from an `error` event
        self._after: bytes | None = None  # what has come behind such an event

    def feed(self, data: bytes) -> bytes:
        # As in StreamWatcher: the common chunk costs a few substring searches. The last events have a member
        # "response", with quotes that inside of a text would be escaped.
        if (
            self._quick
            and data.endswith(_ENDS)
            and data.rfind(b'"response"') < 0
            and data.rfind(_DONE) < 0
            and (data.rfind(b"error") < 0 or not _ERROR.search(data))
        ):
            return data
        return self._scan(data)

    def end(self) -> bytes | None:
        if self.done:
            return b""
        if self.error is not None:
            return None
        data, line = self._decoder.pending
        if not data:
            data, line, missing = line.removeprefix(b"data:"), b"", b"\n\n"
        else:
            missing = b"\n"
        if line or _type_of(data) not in _FINAL:
            return None
        self._is_last(Event(b"", data, 0))
        return self._half + missing if self.done else None

    def usage(self) -> Usage | None:
        if self._last:
            return _usage(self._last)
        return _usage_near_end(self._tail) if self.done else None

    def _scan(self, data: bytes) -> bytes:
        if self.ending:
            return self._last_words(data)
        if self._decoder.too_large:
            self._tail = (self._tail + data)[-_TAIL:]
        out = super()._scan(data)
        if self.over and self._failing and self.started and not self.withheld:
            self.over, self.ending, self._quick = False, True, False
            self._after, behind = b"", self._after or b""
            out += self._last_words(behind)
        return out

    def _last_words(self, data: bytes) -> bytes:
        """What may pass behind an `error` event: the `response.failed` that OpenAI sends then, and nothing else."""
        self._after = data = (self._after or b"") + data
        self.alive = bool(data)
        event = next(iter(Decoder().feed(data)), None)
        if event is None:
            self.over = len(data) > MAX_EVENT
            return b""
        self.over, self.ending = True, False
        kind = event.type or _type_of(event.data or b"")
        self.surplus = bool(data[event.end :].strip())
        return data[: event.end] if kind == _FAILED and not (self._hides and self._hides(data)) else b""

    def _begins(self, event: Event) -> bool:
        kind = event.type
        if not kind and event.data is not None:
            kind = _type_of(event.data)
        return kind not in _BEFORE

    def _is_surplus(self, rest: bytes) -> bool:
        self._after = rest
        # Some servers send chat's end mark behind the end. It does not pass, and does no harm.
        return rest.strip() not in (b"", b"data: [DONE]")

    def _is_last(self, event: Event) -> bool:
        data = event.data
        if data is None:
            self.done = event.type in _GOOD
            if event.type in _FINAL and not self.done:
                self.error = _error(_NO_REASON)
            return event.type in _FINAL
        if event.type in _FINAL or b'"response"' in data or b'"error"' in data:
            return self._is_final(event.type, data)
        if data.strip() == _DONE:
            self.error = _error("The upstream's stream ended without response.completed.")
            self.withheld = True
            return True
        return False

    def _is_final(self, kind: bytes, data: bytes) -> bool:
        try:
            document = _document.decode(data)
        except _UNREADABLE:
            document = _Document()
            if kind == b"error":
                self.error, self._failing = data, True
                return True
        kind = document.type.encode() or kind
        if kind in _GOOD or kind == _FAILED:
            self._last = bytes(document.response)
            self.error = failure_in(self._last) if kind in _GOOD else failure_in(self._last) or _error(_NO_REASON)
            self.done = self.error is None
            return True
        if kind == b"error" or (b'"error"' in data and not document.type):
            self.error = _told(data, certain=kind == b"error")
            self._failing = True
        return self.error is not None


def failure_in(response: bytes) -> bytes | None:
    """The error of a response object whose status is `failed`, as `{"error": {...}}`; None if it has not failed."""
    try:
        found = _response.decode(response)
        if bytes(found.status) != b'"failed"':
            return None
        error = msgspec.json.decode(found.error) if bytes(found.error) else None
    except _UNREADABLE:
        return None
    error = error if isinstance(error, dict) else {}
    return _error(error.get("message") or _NO_REASON, code=error.get("code"), type=error.get("type"))


def responses_usage(body: bytes) -> Usage | None:
    """The usage of a whole answer. The cost does not grow with the body, if usage is where it should be."""
    found = _usage_near_end(body[-_TAIL:])
    return _usage(body) if found is None and _TAIL < len(body) <= _LARGE else found


def responses_error_event(error: GatewayError) -> bytes:
    """The last event of a stream that broke; empty if the upstream's own event for it went through.

    It is `response.failed`, by which Codex sees why, and not `error`, which Codex passes over. Its member `error` is
    the one for which OpenAI's SDKs raise. Of the response nothing is known here but that it failed.
    """
    if error.told:
        return b""
    detail = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    failure = StreamError(message=error.message, type=error.type, code=error.code, status=error.status)
    response = {**_UNKNOWN, "error": {"code": failure_code(failure), "message": error.message}}
    event = {"type": "response.failed", "sequence_number": 0, "response": response, "error": detail}
    return b"event: response.failed\ndata: %b\n\n" % encode(event)


def _told(data: bytes, *, certain: bool) -> bytes | None:
    """The error of an `error` event, in one form; None if the data has none and need not have one (not `certain`)."""
    try:
        value: Any = msgspec.json.decode(data)
    except _UNREADABLE:
        return data if certain else None
    if isinstance(value, dict) and value.get("error"):
        return data
    if not certain:
        return None
    value = value if isinstance(value, dict) else {}
    return _error(value.get("message") or _NO_REASON, code=value.get("code"), param=value.get("param"))


def _error(message: object, *, code: object = None, type: object = None, param: object = None) -> bytes:
    if type is None:
        type = "invalid_request_error" if isinstance(code, str) and code not in _PROVIDERS_FAULT else "server_error"
    return encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def _type_of(data: bytes) -> bytes:
    """The `type` of an event's data; empty if it has none, or is no JSON object."""
    try:
        return _document.decode(data).type.encode()
    except _UNREADABLE:
        return b""


def _usage(response: bytes) -> Usage | None:
    try:
        return _counted(_response.decode(response).usage)
    except _UNREADABLE:
        return None


def _usage_near_end(tail: bytes) -> Usage | None:
    """Usage in the last bytes of an answer, of which the beginning is missing."""
    text = tail.decode(errors="replace")
    for match in reversed(list(_USAGE.finditer(text))):
        try:
            _, end = _value.raw_decode(text, match.end())
            usage = _counted(text[match.end() : end].encode())
        except (ValueError, RecursionError):
            continue
        if usage is not None:  # else something else has this name
            return usage
    return None


def _counted(usage: bytes | msgspec.Raw) -> Usage | None:
    counts = _counts.decode(usage)
    if counts.input_tokens is None and counts.output_tokens is None:
        return None
    prompt, completion = counts.input_tokens or 0, counts.output_tokens or 0
    return Usage(prompt, completion, counts.total_tokens or prompt + completion)
