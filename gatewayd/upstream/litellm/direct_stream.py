"""A provider's stream on its way through litellm's reader of it, without a task: bytes in, OpenAI's events out.

litellm reads a stream with an asynchronous iterator over lines or bytes. Here what has arrived is pushed into a
`PushIterator`, and litellm's iterator is stepped until it asks for more. So a segment is translated where it arrives,
in the connection's callback, and goes straight to the client's.

What `Events` makes of litellm's chunks is what its own wrapper of streams (`CustomStreamWrapper`, ten times the cost)
makes of them; tests go both ways.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from gatewayd.errors import GatewayError
from gatewayd.upstream.answer import MAX_BODY, Fields
from gatewayd.upstream.litellm.answers import EVENT_STREAM_HEADERS, SilentCalls, as_text
from gatewayd.upstream.litellm.errors import is_stream
from gatewayd.upstream.litellm.push_iterator import NOTHING, PushIterator, SyncStepper
from gatewayd.upstream.stream import StreamAnswer
from gatewayd.upstream.transport import Connection
from gatewayd.wire.dialect import OPENAI
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage, encode
from gatewayd.wire.sse_decoder import Decoder
from gatewayd.wire.usage import usage_from_dict

_TEXT: Final = frozenset({"role", "content"})
_SPEAKING: Final = ("content", "tool_calls", "function_call")
"""Members of a delta for which a chunk is sent at all, if they are not empty."""
_SPEAKING_EMPTY: Final = ("reasoning_content", "provider_specific_fields", "annotations", "reasoning_items")
_SHOWING: Final = ("audio", "images")
"""Members for which a chunk is sent too, without what the provider has to say beyond them."""
_OURS: Final = frozenset({"id", "created", "model", "object", "choices", "usage", "system_fingerprint"})


class _Piece(msgspec.Struct, tag="text_delta", forbid_unknown_fields=True):
    text: str


class _Said(msgspec.Struct, tag="content_block_delta", forbid_unknown_fields=True):
    """An event of Anthropic's that holds a piece of text and nothing else, as nine of ten do."""

    index: int
    delta: _Piece


_SAID: Final = msgspec.json.Decoder(_Said)


class Events:
    """litellm's chunks as events."""

    def __init__(self, model: str, total: Callable[..., Any], *, is_text: bool, with_usage: bool) -> None:
        """`model` is what chunks name; `total` is `LitellmApi.total`."""
        self._model = model
        self._total = total
        self._is_text = is_text
        self._with_usage = with_usage
        self._common: dict[str, Any] = {}
        self._begun = False
        self._finished = False
        self._calls = SilentCalls()
        self._spent: list[Any] = []
        self._told: frozenset[tuple[str, bool]] = frozenset()
        self._thoughts: list[str] = []
        self._only_text = True
        self._last_reason: str | None = None
        self.reason: str | None = None
        """Why the provider ended the stream, where litellm takes its word for the end."""
        self.hinted = False
        """Whether any chunk gave a reason."""
        self.usage: Usage | None = None

    def of(self, chunk: Any) -> bytes:
        """The event for a chunk, or nothing."""
        if isinstance(chunk, dict):  # what litellm makes of a line without data
            if chunk.get("text") or chunk.get("tool_use") or chunk.get("is_finished"):
                raise TypeError("a chunk of another kind")
            return b""
        if getattr(chunk, "usage", None) is not None:
            self._spend(chunk)
        body: dict[str, Any] = chunk.model_dump(mode="json", exclude_none=True)
        choices = body.get("choices") or ()
        if not self._common:
            self._common = {
                "id": body["id"], "created": body["created"], "model": self._model, "object": "chat.completion.chunk",
            }  # fmt: skip
        self._note(choices[0].get("finish_reason") if choices else None, chunk)
        if self._finished or not choices:
            return b""
        delta = choices[0].setdefault("delta", {})
        extras = _extras(body)
        if not delta.keys() <= _TEXT:
            self._only_text = False
            if thought := delta.get("reasoning_content"):
                self._thoughts.append(thought)
        if not self._speaks(delta):
            if self.reason is not None:
                return self._finish(self.reason, extras)
            if not any(name in delta for name in _SHOWING):
                return b""
            extras = {}
        self._calls.note(choices)
        for choice in choices:
            choice["finish_reason"] = None
            choice["delta"].pop("role", None)
        if not self._begun:
            self._begun = True
            choices[0]["delta"]["role"] = "assistant"
        return self._event({"choices": choices, **extras})

    def said(self, text: str) -> bytes:
        """The event for a piece of text in the middle of a stream; elsewhere, nothing."""
        if not self._begun or self._finished or not text:
            return b""
        self._last_reason = None
        return self._event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    def end(self) -> bytes:
        """What is left to say when the stream is whole: why it ended, what it cost, and the end mark."""
        rest = b"" if self._finished else self._finish(self.reason or self._last_reason or "stop", {})
        if self._spent:
            for chunk in self._spent:
                chunk.model = self._model
            total = self._total(self._spent, "".join(self._thoughts), only_text=self._only_text)
            usage = total.model_dump(mode="json", exclude_none=True)
            self.usage = usage_from_dict(usage)
            if self._with_usage:
                rest += self._event({"choices": [], "usage": usage})
        return rest + OPENAI.end_mark

    def _spend(self, chunk: Any) -> None:
        """Keeps chunks that speak of usage, for the sum of which the last word on each thing counts.

        Gemini speaks of it in every chunk; what a later chunk says all of need not be kept.
        """
        told = frozenset(_told(chunk.usage.model_dump(exclude_none=True)))
        if len(self._spent) > 1 and self._told <= told:
            self._spent[-1] = chunk
        else:
            self._spent.append(chunk)
        self._told = told

    def _note(self, reason: str | None, chunk: Any) -> None:
        self._last_reason = reason
        if reason is None:
            return
        self.hinted = True
        if getattr(chunk, "_hidden_params", {}).get("is_finished") is not False:
            self.reason = reason

    def _speaks(self, delta: dict[str, Any]) -> bool:
        if not self._begun and delta.get("role") is not None:
            return True
        return any(delta.get(name) for name in _SPEAKING) or any(name in delta for name in _SPEAKING_EMPTY)

    def _finish(self, reason: str, extras: dict[str, Any]) -> bytes:
        self._finished = True
        filled = b"".join(self._event({"choices": choices}) for choices in self._calls.filled())
        return filled + self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **extras})

    def _event(self, body: dict[str, Any]) -> bytes:
        body = self._common | body
        return b"data: " + encode(as_text(body) if self._is_text else body) + b"\n\n"


def _told(usage: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, bool]]:
    """What is spoken of, and what is more than nothing."""
    for name, value in usage.items():
        if isinstance(value, dict):
            yield from _told(value, f"{place}{name}.")
        yield place + name, False
        if value:
            yield place + name, True


def _extras(body: dict[str, Any]) -> dict[str, Any]:
    """What providers have to say beyond OpenAI's fields, each field also by its own name."""
    extras = {name: value for name, value in body.items() if name not in _OURS}
    return (extras.get("provider_specific_fields") or {}) | extras


class Translator:
    """Implements `stream.EventWatcher` for bytes that become others."""

    error: bytes | None = None
    surplus = withheld = ending = unmarked = False

    def __init__(
        self,
        feed: PushIterator,
        chunks: Any,
        events: Events,
        explain: Callable[[Exception, bytes], GatewayError],
        end_mark: re.Pattern[bytes] | None,
        *,
        is_claude: bool = False,
    ) -> None:
        """`chunks` is litellm's iterator over what is laid into `feed`; `explain` reads its exceptions and the piece of
        the stream at which they came. `end_mark` is what a whole stream has in it, where litellm does not tell.
        `is_claude`: the API is Anthropic's."""
        self._feed = feed
        self._steps = SyncStepper(chunks)
        self._events = events
        self._explain = explain
        self._end_mark = end_mark
        self._marked = False
        self._reads_text = is_claude
        self._is_stream = True
        self._decoder = Decoder(MAX_BODY)
        self.started = self.alive = self.done = self.over = False
        self.failure: GatewayError | None = None
        self.busy = 0.0
        """Seconds spent on what came before the first event."""

    def told(self, fields: Fields) -> None:
        """The answer's header fields, for those who read the stream."""
        self._is_stream = b"json" not in fields.get(b"content-type", b"")
        self._feed.headers.update([(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields.items()])

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        piece = data
        since = 0.0 if self.started else time.monotonic()
        try:
            if self._feed.by_line:
                signs = self._decoder.signs
                for event in self._decoder.feed(data):
                    if event.data is None:
                        raise ValueError("an event is too large")
                    piece = event.data
                    if said := self._said(event.data):
                        out.append(said)
                    else:
                        self._give(event.data)
                        self._read(out)
                self.alive = self._decoder.signs != signs
            else:
                self._feed.give(data)
                self.alive = self._read(out)
        except Exception as error:  # litellm's readers raise whatever they come across
            self.failure = self._explain(error, piece if self._is_stream else b"")
            self.over = True
        if out:
            self.started = True
        if since:
            self.busy += time.monotonic() - since
        return b"".join(out)

    def end(self) -> bytes | None:
        if self.over:
            return b"" if self.done else None
        self.over = True
        out: list[bytes] = []
        try:
            self._give_rest()
            self._feed.end()
            self._read(out)
            if not self._is_whole():
                return None
            out.append(self._events.end())
        except Exception as error:
            self.failure = self._explain(error, b"")
            return None
        self.started = self.done = True
        return b"".join(out)

    def usage(self) -> Usage | None:
        return self._events.usage

    def close(self) -> None:
        self._steps.close()

    def _said(self, data: bytes) -> bytes:
        """What litellm would make of a piece of text, at a tenth of the cost; nothing if there is more to it."""
        if not self._reads_text or b'"text_delta"' not in data:
            return b""
        try:
            return self._events.said(_SAID.decode(data).delta.text)
        except msgspec.DecodeError:
            return b""

    def _give(self, data: bytes) -> None:
        if self._end_mark is not None and not self._marked:
            self._marked = self._end_mark.search(data) is not None
        self._feed.give("data: " + data.decode())

    def _give_rest(self) -> None:
        """A last event need not be closed by an empty line."""
        data, line = self._decoder.pending
        if line.startswith(b"data:"):
            data += line[5:]
        if data:
            self._give(data)

    def _read(self, out: list[bytes]) -> bool:
        """Adds the events for what litellm has read; returns whether it has read anything whole."""
        steps, events = self._steps, self._events
        chunk = steps.next()
        read = chunk is not NOTHING
        if not read:
            self._reads_text = False  # litellm keeps what it cannot read, and all that follows it
        while chunk is not NOTHING:
            if chunk is not None and (event := events.of(chunk)):
                out.append(event)
            chunk = steps.next()
        return read

    def _is_whole(self) -> bool:
        if self._events.reason is not None:
            return True
        return self._events.hinted if self._end_mark is None else self._marked


class DirectStream(StreamAnswer):
    """A `Reply`. Every answer of status 200 counts as a stream, as for litellm, except JSON and HTML."""

    __slots__ = ("_translator",)

    def __init__(self, ready: asyncio.Future[None], translator: Translator) -> None:
        super().__init__(ready, translator)
        self._translator = translator

    def close(self) -> None:
        super().close()
        self._translator.close()

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        super().begin(connection, status, fields)
        if self.live:
            self._translator.told(fields)

    def _is_stream(self, status: int, fields: Fields) -> bool:
        return status == 200 and is_stream(fields)

    def _headers(self, fields: Fields) -> Sequence[Header]:
        return EVENT_STREAM_HEADERS

    def _failure(self) -> GatewayError | None:
        return self._translator.failure
