"""Reads streams of OpenAI's Responses API. Part of `gatewayd.wire.responses`.

Servers differ in which events they send. What an event at the end of a part, of an item or of the response has, and no
event before it had, is made up for then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from gatewayd.errors import InvalidRequest, UpstreamBadResponse
from gatewayd.wire.conversation import Block, Json, RefusalBlock, TextBlock, ThinkingBlock, ToolUseBlock
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
    Delta,
    DeltaKind,
    End,
    Ping,
    Start,
    Stop,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.responses_answer import failure_of, output_blocks, stopped_by
from gatewayd.wire.responses_items import read_annotation, read_item
from gatewayd.wire.responses_object import read_tokens

_NOTHING: Final = msgspec.Raw()


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str = ""
    text: str = ""
    arguments: str = ""
    input: str = ""
    refusal: str = ""
    logprobs: msgspec.Raw = _NOTHING
    item: dict[str, Any] | None = None
    part: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


class _Type(msgspec.Struct):
    type: str = ""


_event: Final = msgspec.json.Decoder(_Event)
_type: Final = msgspec.json.Decoder(_Type)
_whole: Final = msgspec.json.Decoder(dict[str, Any])

_Slot = Literal["text", "refusal", "call", "thought"]


class _Piece:
    """A block that has begun. `sent` counts the characters of each of its texts."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.sent: dict[tuple[DeltaKind, int], int] = {}
        self.stopped = False


class Reader:
    """Implements `events.Reader`."""

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._count = 0
        self._kinds: set[type] = set()
        self._pieces: dict[tuple[int, _Slot, int], _Piece] = {}
        """By the index of the item, what it is, and the index of the part."""
        self._items: set[int] = set()
        """Indices of the items that have ended."""
        self._events: list[StreamEvent] = []

    def feed(self, name: bytes, data: bytes) -> list[StreamEvent]:
        if self._over or data.strip() == b"[DONE]":
            return []
        try:
            event = self._decoded(name, data)
            if event is not None:
                self._take(event, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRequest, AttributeError, TypeError):
            raise UpstreamBadResponse("The upstream's stream has an event that is not of the Responses API.") from None
        events, self._events = self._events, []
        return events

    def end(self) -> list[StreamEvent]:
        return []

    def _decoded(self, name: bytes, data: bytes) -> _Event | None:
        """None for an event that is not known and looks different."""
        try:
            event = _event.decode(data)
        except msgspec.ValidationError:
            kind = _type.decode(data).type or name.decode()
            if kind in _HANDLERS or kind in _ENDS:
                raise
            return None
        if not event.type:
            event.type = name.decode()
        return event

    def _take(self, event: _Event, data: bytes) -> None:
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            if not self._started:
                self._start({})
            handler(self, event)
        elif event.type in _BEGINS:
            if not self._started:
                self._start(event.response or {})
        elif event.type in _ENDS:
            self._finish(event.response or {})
        elif event.type in ("error", "") and (error := failure_of(_whole.decode(data))) is not None:
            self._over = True
            self._events.append(error)
        else:
            self._events.append(Ping())

    def _start(self, response: dict[str, Any]) -> None:
        self._started = True
        created, tier = response.get("created_at"), response.get("service_tier")
        self._events.append(
            Start(
                dialect="responses",
                answer_id=str(response.get("id") or ""),
                model=str(response.get("model") or ""),
                created=int(created) if isinstance(created, int | float) else None,
                service_tier=tier if isinstance(tier, str) else None,
            )
        )

    def _finish(self, response: dict[str, Any]) -> None:
        self._over = True
        if (error := failure_of(response)) is not None:
            self._events.append(error)
            return
        if not self._started:
            self._start(response)
        for index, item in enumerate(response.get("output") or ()):
            if index not in self._items:
                self._end_item(index, item)
        for piece in self._pieces.values():
            self._stop(piece)
        if (usage := read_tokens(response.get("usage"))) is not None:
            self._events.append(UsageReport(usage))
        self._events.append(Stop(stopped_by(response, self._kinds)))
        self._events.append(End())

    # --- blocks

    def _begin(self, key: tuple[int, _Slot, int], block: Block) -> _Piece:
        piece = self._pieces[key] = _Piece(self._count)
        self._count += 1
        self._kinds.add(type(block))
        self._events.append(BlockStart(piece.index, block))
        return piece

    def _piece(self, key: tuple[int, _Slot, int]) -> _Piece:
        piece = self._pieces.get(key)
        if piece is not None:
            return piece
        _, slot, _ = key
        if slot == "call":
            raise UpstreamBadResponse("The upstream's stream has arguments of a tool call that has not begun.")
        block = RefusalBlock("") if slot == "refusal" else TextBlock("") if slot == "text" else None
        return self._begin(key, ThinkingBlock(origin="responses") if block is None else block)

    def _send(self, piece: _Piece, kind: DeltaKind, text: str, part: int = 0, logprobs: Json | None = None) -> None:
        if text:
            piece.sent[kind, part] = piece.sent.get((kind, part), 0) + len(text)
            self._events.append(Delta(piece.index, kind, text, part=part, logprobs=logprobs))

    def _complete(self, piece: _Piece, kind: DeltaKind, text: str, part: int = 0) -> None:
        """Sends what is missing of a text that is there as a whole now."""
        if not piece.stopped:
            self._send(piece, kind, text[piece.sent.get((kind, part), 0) :], part)

    def _stop(self, piece: _Piece) -> None:
        if not piece.stopped:
            piece.stopped = True
            self._events.append(BlockStop(piece.index))

    # --- events

    def _item_added(self, event: _Event) -> None:
        item = event.item or {}
        kind = item.get("type")
        if kind in ("function_call", "custom_tool_call"):
            self._call(event.output_index, item)
        elif kind == "reasoning":
            self._thought(event.output_index, item)

    def _call(self, at: int, item: dict[str, Any]) -> _Piece:
        piece = self._pieces.get((at, "call", 0))
        if piece is not None:
            return piece
        said = {name: value for name, value in item.items() if value is not None}
        block = read_item({"arguments": "", "input": "", **said}, "item")
        assert isinstance(block, ToolUseBlock)
        return self._begin((at, "call", 0), msgspec.structs.replace(block, arguments=""))

    def _thought(self, at: int, item: dict[str, Any]) -> _Piece:
        piece = self._pieces.get((at, "thought", 0))
        if piece is not None:
            return piece
        item_id = item.get("id")
        block = ThinkingBlock(item_id=item_id if isinstance(item_id, str) else None, origin="responses")
        return self._begin((at, "thought", 0), block)

    def _item_done(self, event: _Event) -> None:
        self._end_item(event.output_index, event.item or {})

    def _end_item(self, at: int, item: dict[str, Any]) -> None:
        self._items.add(at)
        kind = item.get("type")
        if kind == "message":
            for number, part in enumerate(item.get("content") or ()):
                self._end_part(at, number, part)
        elif kind in ("function_call", "custom_tool_call"):
            piece = self._call(at, item)
            self._complete(piece, "arguments", item.get("arguments" if kind == "function_call" else "input") or "")
            self._stop(piece)
        elif kind == "reasoning":
            self._end_thought(self._thought(at, item), item)
        elif kind is not None:
            for block in output_blocks(item):
                self._stop(self._begin((at, "text", 0), block))

    def _end_thought(self, piece: _Piece, item: dict[str, Any]) -> None:
        for number, part in enumerate(item.get("summary") or ()):
            self._complete(piece, "summary", part.get("text") or "", number)
        for number, part in enumerate(item.get("content") or ()):
            self._complete(piece, "thinking", part.get("text") or "", number)
        # An earlier event may have had another text: it is that of the last one that counts.
        self._complete(piece, "encrypted", item.get("encrypted_content") or "")
        self._stop(piece)

    def _end_part(self, at: int, number: int, part: dict[str, Any]) -> None:
        slot: _Slot
        if part.get("type") == "output_text":
            slot, text = "text", part.get("text") or ""
        elif part.get("type") == "refusal":
            slot, text = "refusal", part.get("refusal") or ""
        else:
            return  # of thoughts
        if text or (at, slot, number) in self._pieces:
            piece = self._piece((at, slot, number))
            self._complete(piece, "text" if slot == "text" else "refusal", text)
            self._stop(piece)

    def _part_added(self, event: _Event) -> None:
        if event.part is not None and event.part.get("type") == "output_text":
            self._piece((event.output_index, "text", event.content_index))

    def _part_done(self, event: _Event) -> None:
        self._end_part(event.output_index, event.content_index, event.part or {})

    def _text(self, event: _Event) -> None:
        tokens = bytes(event.logprobs)
        logprobs = msgspec.Raw(b'{"content":%b}' % tokens) if tokens.startswith(b"[{") else None
        self._send(self._piece((event.output_index, "text", event.content_index)), "text", event.delta, 0, logprobs)

    def _text_done(self, event: _Event) -> None:
        self._complete(self._piece((event.output_index, "text", event.content_index)), "text", event.text)

    def _cited(self, event: _Event) -> None:
        if event.annotation is not None:
            piece = self._piece((event.output_index, "text", event.content_index))
            self._events.append(Cited(piece.index, read_annotation(event.annotation)))

    def _refusal(self, event: _Event) -> None:
        self._send(self._piece((event.output_index, "refusal", event.content_index)), "refusal", event.delta)

    def _refusal_done(self, event: _Event) -> None:
        self._complete(self._piece((event.output_index, "refusal", event.content_index)), "refusal", event.refusal)

    def _summary(self, event: _Event) -> None:
        self._send(self._piece((event.output_index, "thought", 0)), "summary", event.delta, event.summary_index)

    def _summary_done(self, event: _Event) -> None:
        self._complete(self._piece((event.output_index, "thought", 0)), "summary", event.text, event.summary_index)

    def _thinking(self, event: _Event) -> None:
        self._send(self._piece((event.output_index, "thought", 0)), "thinking", event.delta, event.content_index)

    def _thinking_done(self, event: _Event) -> None:
        self._complete(self._piece((event.output_index, "thought", 0)), "thinking", event.text, event.content_index)

    def _arguments(self, event: _Event) -> None:
        self._send(self._piece((event.output_index, "call", 0)), "arguments", event.delta)

    def _arguments_done(self, event: _Event) -> None:
        self._complete(self._piece((event.output_index, "call", 0)), "arguments", event.arguments or event.input)


_BEGINS: Final = frozenset({"response.created", "response.in_progress", "response.queued"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_HANDLERS: Final[dict[str, Callable[[Reader, _Event], None]]] = {
    "response.output_item.added": Reader._item_added,
    "response.output_item.done": Reader._item_done,
    "response.content_part.added": Reader._part_added,
    "response.content_part.done": Reader._part_done,
    "response.output_text.delta": Reader._text,
    "response.output_text.done": Reader._text_done,
    "response.output_text.annotation.added": Reader._cited,
    "response.refusal.delta": Reader._refusal,
    "response.refusal.done": Reader._refusal_done,
    "response.reasoning_summary_text.delta": Reader._summary,
    "response.reasoning_summary_text.done": Reader._summary_done,
    "response.reasoning_text.delta": Reader._thinking,
    "response.reasoning_text.done": Reader._thinking_done,
    "response.function_call_arguments.delta": Reader._arguments,
    "response.function_call_arguments.done": Reader._arguments_done,
    "response.custom_tool_call_input.delta": Reader._arguments,
    "response.custom_tool_call_input.done": Reader._arguments_done,
}
