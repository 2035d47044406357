"""Reads streams of Anthropic's Messages API. Part of `gatewayd.wire.messages`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire.conversation import (
    Block,
    Json,
    RawBlock,
    RedactedThinkingBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.converting import MALFORMED, extra_of, text_or_none
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
    Delta,
    End,
    Ping,
    Start,
    Stop,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.messages_answer import read_anthropic_usage, read_error, read_reason, read_tier
from gatewayd.wire.messages_request import read_blocks, read_citation
from gatewayd.wire.openai import encode


class _Text(msgspec.Struct, tag="text_delta"):
    text: str


class _Arguments(msgspec.Struct, tag="input_json_delta"):
    partial_json: str


class _Thought(msgspec.Struct, tag="thinking_delta"):
    thinking: str


class _Signature(msgspec.Struct, tag="signature_delta"):
    signature: str


class _Citation(msgspec.Struct, tag="citations_delta"):
    citation: dict[str, Any]


class _Piece(msgspec.Struct, tag="content_block_delta"):
    index: int
    delta: _Text | _Arguments | _Thought | _Signature | _Citation


class _BlockStart(msgspec.Struct, tag="content_block_start"):
    index: int
    content_block: Json


class _BlockStop(msgspec.Struct, tag="content_block_stop"):
    index: int


class _Event(msgspec.Struct):
    type: str


_piece: Final = msgspec.json.Decoder(_Piece)
_start: Final = msgspec.json.Decoder(_BlockStart)
_stop: Final = msgspec.json.Decoder(_BlockStop)
_type: Final = msgspec.json.Decoder(_Event)
_object: Final = msgspec.json.Decoder(dict[str, Any])


class Reader:
    """Implements `events.Reader`. Events and deltas of new kinds are passed over, as the API's rules ask."""

    def __init__(self) -> None:
        self._usage: TokenUsage | None = None
        self._indices: dict[int, int] = {}
        self._open: set[int] = set()
        self._reason: tuple[StopReason, str | None] | None = None
        self._started = False
        self._over = False

    def feed(self, name: bytes, data: bytes) -> list[StreamEvent]:
        if self._over:
            return []
        try:
            if name == b"content_block_delta":
                return self._delta(data)
            kind = _type.decode(data).type
            return self._event(kind, data)
        except MALFORMED:
            raise UpstreamBadResponse("The upstream's stream has an event that is not of a message.") from None

    def _event(self, kind: str, data: bytes) -> list[StreamEvent]:
        match kind:
            case "content_block_delta":
                return self._delta(data)
            case "content_block_start":
                return self._block(_start.decode(data))
            case "content_block_stop":
                index = _stop.decode(data).index
                self._open.discard(index)
                return [BlockStop(self._indices[index])]
            case "message_start":
                return [self._begin(_object.decode(data)["message"])]
            case "message_delta":
                return self._message_delta(_object.decode(data))
            case "message_stop":
                return self._end()
            case "error":
                self._over = True
                error = read_error(data)
                if error is None:
                    raise TypeError
                return [error]
            case "ping":
                return [Ping()]
            case _:
                return []

    def _begin(self, message: dict[str, Any]) -> Start:
        self._started = True
        usage = message.get("usage")
        self._usage = read_anthropic_usage(usage)
        return Start(
            dialect="messages",
            answer_id=str(message.get("id") or ""),
            model=str(message.get("model") or ""),
            usage=self._usage,
            service_tier=read_tier(usage),
        )

    def _block(self, start: _BlockStart) -> list[StreamEvent]:
        index = self._indices[start.index] = len(self._indices)
        self._open.add(start.index)
        members = _object.decode(start.content_block)
        kind = members.get("type")
        first: list[StreamEvent] = []
        block: Block
        if kind == "text":
            block = TextBlock("")
            if text := text_or_none(members.get("text")):
                first.append(Delta(index, "text", text))
        elif kind == "thinking":
            block = ThinkingBlock(origin="messages")
            if text := text_or_none(members.get("thinking")):
                first.append(Delta(index, "thinking", text))
            if proof := text_or_none(members.get("signature")):
                first.append(Delta(index, "signature", proof))
        elif kind == "tool_use":
            given = members.pop("input", None)
            block = ToolUseBlock(
                call_id=text_or_none(members.get("id")) or "",
                name=text_or_none(members.get("name")) or "",
                extra=extra_of({name: value for name, value in members.items() if name not in ("type", "id", "name")}),
            )
            if given:  # servers that are not Anthropic's give it whole
                first.append(Delta(index, "arguments", encode(given).decode()))
        elif kind == "redacted_thinking":
            (block,) = read_blocks(msgspec.Raw(b"[%b]" % bytes(start.content_block)), "content")
            assert isinstance(block, RedactedThinkingBlock)
        else:
            block = RawBlock(dialect="messages", type=str(kind), raw=start.content_block)
        return [BlockStart(index, block), *first]

    def _delta(self, data: bytes) -> list[StreamEvent]:
        try:
            piece = _piece.decode(data)
        except msgspec.ValidationError:
            _type.decode(data)
            return []
        index = self._indices[piece.index]
        delta = piece.delta
        if isinstance(delta, _Text):
            return [Delta(index, "text", delta.text)]
        if isinstance(delta, _Arguments):
            return [Delta(index, "arguments", delta.partial_json)]
        if isinstance(delta, _Thought):
            return [Delta(index, "thinking", delta.thinking)]
        if isinstance(delta, _Signature):
            return [Delta(index, "signature", delta.signature)]
        return [Cited(index, read_citation(delta.citation))]

    def _message_delta(self, event: dict[str, Any]) -> list[StreamEvent]:
        delta = event.get("delta") or {}
        if (reason := text_or_none(delta.get("stop_reason"))) is not None:
            self._reason = read_reason(reason), text_or_none(delta.get("stop_sequence"))
        self._usage = read_anthropic_usage(event.get("usage"), self._usage)
        return [] if self._usage is None else [UsageReport(self._usage)]

    def _end(self) -> list[StreamEvent]:
        if not self._started:
            raise TypeError
        self._over = True
        events: list[StreamEvent] = [BlockStop(self._indices[index]) for index in sorted(self._open)]
        reason, sequence = self._reason or (StopReason.END, None)
        return [*events, Stop(reason, sequence), End()]

    def end(self) -> list[StreamEvent]:
        """Without `message_stop` an answer is not whole, even if its reason has come."""
        return []
