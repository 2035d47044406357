"""A whole answer to a call that asked for a stream, as a stream: the upstream has done the work, the answer counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.upstream.base import Call, Sink
from gatewayd.wire.dialect import CHAT, OPENAI
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage, encode

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_choices: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_message: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_calls: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
NO_STREAM: Final = "The upstream answered a streaming call without a stream."
_NULL: Final = msgspec.Raw(b"null")


class OnePieceStream:
    """A `Reply`: a stream whose bytes are all here."""

    status = 200
    body: bytes | None = None

    def __init__(self, headers: Sequence[Header], events: bytes, usage: Usage | None) -> None:
        """`headers` are those of the whole answer."""
        self.headers: Sequence[Header] = [
            ("content-type", "text/event-stream; charset=utf-8"),
            *(pair for pair in headers if pair[0] != "content-type"),
        ]
        self.usage = usage
        self._events = events

    async def pipe(self, sink: Sink) -> None:
        sink.attach(self)
        sink.write(self._events)

    def close(self) -> None:
        """There is no connection to give back."""

    # --- Flow: there is one write, and it is made at once

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def in_one_piece(call: Call, headers: Sequence[Header], body: bytes) -> OnePieceStream:
    """The stream for a whole answer that is no error. Raises UpstreamBadResponse if it is no answer either."""
    if call.endpoint.dialect is not OPENAI:
        raise UpstreamBadResponse(NO_STREAM)
    options = call.intent.value("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    try:
        events = _events(body, is_chat=call.endpoint is CHAT, with_usage=with_usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError):
        raise UpstreamBadResponse(NO_STREAM) from None
    return OnePieceStream(headers, events, OPENAI.usage(body))


def _events(body: bytes, *, is_chat: bool, with_usage: bool) -> bytes:
    answer = _object.decode(body)
    usage = answer.pop("usage", _NULL)
    choices: Sequence[Any] = _choices.decode(answer["choices"])
    if not choices:
        raise LookupError("no choice")
    if is_chat:
        answer["object"] = msgspec.Raw(b'"chat.completion.chunk"')
        choices = [_as_chunk(choice) for choice in choices]
    first: dict[str, Any] = {**answer, "choices": choices}
    if not with_usage:
        return b"data: %b\n\n%b" % (encode(first), OPENAI.end_mark)
    last = {**answer, "choices": [], "usage": usage}
    return b"data: %b\n\ndata: %b\n\n%b" % (encode({**first, "usage": None}), encode(last), OPENAI.end_mark)


def _as_chunk(choice: dict[str, msgspec.Raw]) -> dict[str, Any]:
    delta: dict[str, Any] = dict(_message.decode(choice["message"]))
    calls = delta.get("tool_calls", _NULL)
    if bytes(calls) != b"null":
        delta["tool_calls"] = [{"index": at, **made} for at, made in enumerate(_calls.decode(calls))]
    return {**{name: raw for name, raw in choice.items() if name != "message"}, "delta": delta}
