"""litellm's answers as OpenAI's bytes: whole ones, embeddings, and streams of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamIncomplete
from gatewayd.float32 import pack
from gatewayd.tasks import spawn
from gatewayd.upstream.base import Call, Gate, Sink, WholeReply
from gatewayd.upstream.hiding import NONE, Secrets
from gatewayd.upstream.litellm.errors import is_stream, no_stream
from gatewayd.wire.dialect import COMPLETIONS, EMBEDDINGS, OPENAI
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Usage, encode
from gatewayd.wire.usage import usage_from_dict

if TYPE_CHECKING:
    from gatewayd.upstream.litellm.bridge import Exchange

_JSON: Final[tuple[Header, ...]] = (("content-type", "application/json"),)
EVENT_STREAM_HEADERS: Final[tuple[Header, ...]] = (("content-type", "text/event-stream; charset=utf-8"),)

NO_ARGUMENTS: Final = "{}"

ErrorTranslator = Callable[[Exception], GatewayError]


def whole(call: Call, answer: Any) -> WholeReply:
    """Raises UpstreamBadResponse for an answer that says nothing: Gemini gives some now and then."""
    body = _tree(answer)
    if call.endpoint.streams and not body.get("choices"):
        raise UpstreamBadResponse("The upstream's answer has no choice.")
    if call.endpoint is COMPLETIONS:
        body = as_text(body)
    elif call.endpoint is EMBEDDINGS and call.intent.value("encoding_format") == "base64":
        for item in body["data"]:
            vector = item["embedding"]
            if isinstance(vector, list):  # else the provider has packed it itself
                item["embedding"] = pack(vector)
    return WholeReply(200, _JSON, encoded(body), usage_from_dict(body.get("usage")))


async def whole_beside(call: Call, answer: Any) -> WholeReply:
    """The same, off the loop for vectors: to pack those of two thousand texts takes 100 ms, in small steps."""
    if call.endpoint.streams:
        return whole(call, answer)
    return await asyncio.to_thread(whole, call, answer)


class TranslatedStream:
    """A stream in flight. It is whole if the provider said why it ended; litellm itself gives every stream a reason."""

    status = 200
    headers: Sequence[Header] = EVENT_STREAM_HEADERS
    body: bytes | None = None

    def __init__(
        self, call: Call, chunks: Any, exchange: Exchange, translator: ErrorTranslator, secrets: Secrets = NONE
    ) -> None:
        """`chunks` is litellm's stream object; `translator` turns its exceptions into ours; `secrets` never pass."""
        self._chunks = chunks
        self._secrets = secrets
        self._calls = SilentCalls()
        self._spoken = False
        self._exchange = exchange
        self._is_text = call.endpoint is COMPLETIONS
        self._translator = translator
        options = call.intent.value("stream_options")
        self._usage_asked = isinstance(options, dict) and options.get("include_usage") is True
        self._first: bytes | None = None
        self._told_why = False
        self._ended = False
        self.usage: Usage | None = None

    async def begin(self) -> None:
        """Waits for the first event that says something: litellm makes an empty one of an answer it cannot read."""
        held: list[bytes] = []
        try:
            while not self._spoken and (event := await self._next()) is not None:
                held.append(event)
        except UpstreamBadResponse:
            if is_stream(self._exchange.fields):
                raise
        if not self._spoken:
            raise no_stream(self._exchange, self._secrets)
        self._first = b"".join(held)

    async def pipe(self, sink: Sink) -> None:
        gate = Gate()
        sink.attach(gate)
        event = self._first
        while event is not None:
            await gate.opened()
            sink.write(event)
            event = await self._next()
        sink.write(OPENAI.end_mark)

    def close(self) -> None:
        self._exchange.close()
        if not self._ended:
            self._ended = True
            _ = spawn(_unwind(self._chunks), name="unwind a translated stream")

    async def _next(self) -> bytes | None:
        """The next event to send; None after the last one."""
        while (chunk := await self._chunk()) is not None:
            body = _tree(chunk)
            usage = body.pop("usage", None)
            if usage is not None:  # litellm sends it last and alone
                self.usage = usage_from_dict(usage)
                if not self._usage_asked:
                    continue
                body |= {"choices": [], "usage": usage}
                return self._event(body)
            choices = body["choices"]
            ended = [choice for choice in choices if choice["finish_reason"]]
            if ended and not self._is_whole():
                if not self._spoken:
                    raise no_stream(self._exchange, self._secrets)
                raise UpstreamIncomplete("The upstream's answer ended before its end mark.")  # F6
            self._spoken = self._spoken or bool(ended) or any(_speaks(choice["delta"]) for choice in choices)
            self._calls.note(choices)
            filled = [one for choice in ended for one in self._calls.filled(choice.get("index") or 0)]
            return b"".join(self._event(body | {"choices": one}) for one in [*filled, choices])
        self._ended = True
        return None

    def _event(self, body: dict[str, Any]) -> bytes:
        return b"data: " + encoded(as_text(body) if self._is_text else body) + b"\n\n"

    async def _chunk(self) -> Any:
        failure: GatewayError | None = None
        chunk = None
        try:
            chunk = await anext(self._chunks, None)
        except Exception as error:
            failure = self._translator(error)
        if failure is not None:
            raise failure  # here, where litellm's exception is not its context
        self._told_why = self._told_why or bool(self._chunks.intermittent_finish_reason)
        return chunk

    def _is_whole(self) -> bool:
        """Asked when litellm says that the stream has ended, which it says however it has ended."""
        if self._chunks.received_finish_reason:  # the provider's own
            return True
        return self._told_why if self._exchange.end_mark is None else self._exchange.marked


def _speaks(delta: dict[str, Any]) -> bool:
    return any(value for name, value in delta.items() if name != "role")


async def _unwind(chunks: Any) -> None:
    with contextlib.suppress(Exception):  # its connection is closed already; what it says about that is no news
        await chunks.aclose()


def _tree(answer: Any) -> dict[str, Any]:
    """litellm's answer or chunk, its empty members left out except those that OpenAI's clients look for."""
    body: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True)
    for choice in body.get("choices", ()):
        choice.setdefault("finish_reason", None)
        if "message" in choice:
            message = choice["message"]
            message.setdefault("content", None)
            for call in message.get("tool_calls") or ():
                if not call["function"].get("arguments"):
                    call["function"]["arguments"] = NO_ARGUMENTS
    return body


class SilentCalls:
    """The tool calls of a stream for which no piece of arguments has come: clients read arguments as JSON, and an empty
    text is none."""

    def __init__(self) -> None:
        self._silent: set[tuple[int, int]] = set()

    def note(self, choices: Sequence[dict[str, Any]]) -> None:
        """Looks at the choices of one chunk."""
        for choice in choices:
            for call in choice["delta"].get("tool_calls") or ():
                place, function = (choice.get("index") or 0, call.get("index") or 0), call.get("function") or {}
                if function.get("arguments"):
                    self._silent.discard(place)
                elif function.get("name"):
                    self._silent.add(place)

    def filled(self, choice: int | None = None) -> list[list[dict[str, Any]]]:
        """The choices of one more chunk for each such call (of one choice), to be sent before the finish reason."""
        found = sorted(place for place in self._silent if choice in (None, place[0]))
        self._silent.difference_update(found)
        return [
            [{"index": index, "delta": {"tool_calls": [_filling(call)]}, "finish_reason": None}]
            for index, call in found
        ]


def _filling(index: int) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": NO_ARGUMENTS}, "type": "function"}


def encoded(body: dict[str, Any]) -> bytes:
    """Raises UpstreamBadResponse for text that is none: half a surrogate pair, which JSON can name."""
    try:
        return encode(body)
    except UnicodeEncodeError:
        raise UpstreamBadResponse("The upstream's answer could not be understood.") from None


def as_text(body: dict[str, Any]) -> dict[str, Any]:
    """A chat answer or chunk as one of `/v1/completions`; litellm gives chat answers to text completions."""
    choices = [
        {
            "index": choice["index"],
            "text": choice.get("text") or (choice.get("message") or choice.get("delta") or {}).get("content") or "",
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice["finish_reason"],
        }
        for choice in body["choices"]
    ]
    return body | {"object": "text_completion", "choices": choices}
