"""Writes streams of OpenAI's Responses API. Part of `gatewayd.wire.responses`.

An answer is a list of items. A message is open as long as text comes; it ends where another item begins, and text that
comes later begins a new one. Calls of tools may overlap. Only the first choice is written.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from gatewayd.wire.conversation import (
    Block,
    Citation,
    ImageBlock,
    Json,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
    Delta,
    End,
    Start,
    Stop,
    StreamError,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.responses_items import sealed_thought, write_annotation
from gatewayd.wire.responses_object import ResponseForm, failure_code, incomplete_reason
from gatewayd.wire.responses_output import OpenCall, OpenThought, Output
from gatewayd.wire.responses_tools import CallNames

_NO_WORDS: Final = "The model declined to answer."
"""For an answer that was refused without a word: an empty one would look like a failure of the client's."""
_FAULT: Final = StreamError(message="The model made no valid answer.", code="server_error")
_SUMMARIES: Final = ("messages", "gemini")
"""Dialects whose thoughts are summaries already."""
_content: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_tokens: Final = msgspec.json.Decoder(list[msgspec.Raw] | None)

_Kind = Literal["text", "refusal"]


class _Part:
    """A part of the open message."""

    def __init__(self, block: int, kind: _Kind, place: dict[str, Any]) -> None:
        self.block = block
        self.kind = kind
        self.place = place
        self.pieces: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.logprobs: list[msgspec.Raw] = []

    def written(self) -> dict[str, Any]:
        text = "".join(self.pieces)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": self.notes, "logprobs": self.logprobs}


class _Message:
    """The message that is open."""

    def __init__(self, message_id: str, index: int) -> None:
        self.id = message_id
        self.index = index
        self.parts: list[dict[str, Any]] = []

    def item(self, status: str) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": self.parts}


class Writer:
    """Implements `events.Writer`. `Start.created` should be set: this module has no clock."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._names = CallNames(request)
        self._wants_summary = request.reasoning is not None and request.reasoning.summary is not None
        self._form = ResponseForm(request, "", request.model, None, None)
        self._out = Output()
        self._message: _Message | None = None
        self._part: _Part | None = None
        self._open: dict[int, OpenThought | OpenCall] = {}
        self._usage: TokenUsage | None = None
        self._stop = StopReason.END
        self._refused = False
        self._over = False
        self.response: dict[str, Any] | None = None
        """The response object of the last event."""

    def feed(self, event: StreamEvent) -> list[bytes]:
        if self._over:
            return []
        match event:
            case Delta(choice=0):
                self._delta(event)
            case BlockStart(index, block, 0):
                self._begin(index, block)
            case BlockStop(index, 0):
                self._end_block(index)
            case Cited(index, citation, 0):
                self._cite(index, citation)
            case Start():
                self._start(event)
            case UsageReport(usage):
                self._usage = usage
            case Stop(reason, choice=0):
                self._stop = reason
            case End():
                self._end()
            case StreamError():
                self._fail(event)
            case _:
                pass
        return self._out.take()

    def error(self, error: StreamError) -> bytes:
        if not self._over:
            self._fail(error)
        return b"".join(self._out.take())

    def _fail(self, error: StreamError) -> None:
        """`response.failed`. Its member `error` is the one for which OpenAI's SDKs raise."""
        self._over = True
        code = failure_code(error)
        detail = {"message": error.message, "type": error.type or "server_error", "param": error.param, "code": code}
        self.response = self._form.failed(error, self._items_so_far(), self._usage)
        self._out.event("response.failed", {"response": self.response, "error": detail})

    def _items_so_far(self) -> list[dict[str, Any]]:
        """Those that have ended, and as much of the message as has come; half a call is of no use."""
        items = list(self._out.items)
        if (message := self._message) is not None:
            parts = message.parts if self._part is None else [*message.parts, self._part.written()]
            items[message.index] = {**message.item("incomplete"), "content": parts}
        return [item for item in items if item is not None]

    def _start(self, start: Start) -> None:
        self._out.answer_id = start.answer_id
        self._form = ResponseForm(self._request, start.answer_id, start.model, start.created, start.service_tier)
        self._usage = start.usage
        begun = {"response": self._form.begun()}
        self._out.event("response.created", begun)
        self._out.event("response.in_progress", begun)

    def _end(self) -> None:
        for index in list(self._open):
            self._end_block(index)
        if self._stop is StopReason.FAULT:
            self._fail(_FAULT)
            return
        if self._stop is StopReason.REFUSAL and not self._refused:
            self._say(-1, "refusal", _NO_WORDS)
        elif not self._out.items:  # clients look at the first item
            self._say(-1, "text", "")
        self._close_message("completed" if incomplete_reason(self._stop) is None else "incomplete")
        self.response = self._form.ended(self._stop, self._out.items, self._usage)
        self._out.event(f"response.{self.response['status']}", {"response": self.response})
        self._over = True

    # --- blocks

    def _begin(self, index: int, block: Block) -> None:
        if isinstance(block, TextBlock):
            self._say(index, "text", block.text)
            for citation in block.citations:
                self._cite(index, citation)
            return
        if isinstance(block, RefusalBlock):
            self._say(index, "refusal", block.text)
            return
        match block:
            case ThinkingBlock():
                self._close_message()
                summarizes = self._wants_summary and block.origin in _SUMMARIES and not block.summary
                self._open[index] = OpenThought(self._out, block, summarizes=summarizes)
            case ToolUseBlock():
                self._close_message()
                self._open[index] = OpenCall(self._out, block, self._names.original(block.name, block.kind))
            case RedactedThinkingBlock():
                self._whole("rs", {"type": "reasoning", "summary": [], "encrypted_content": sealed_thought(block)})
            case ImageBlock(data=str(data)):
                self._whole("ig", {"type": "image_generation_call", "status": "completed", "result": data})
            case RawBlock(dialect="responses", raw=raw):
                self._close_message()
                _, place = self._out.reserve("item")
                self._out.added(place, raw)
                self._out.done(place, raw)
            case _:
                pass

    def _whole(self, prefix: str, item: dict[str, Any]) -> None:
        """An item that comes in one piece."""
        self._close_message()
        new_id, index = self._out.reserve(prefix)
        item = {"id": new_id, **item}
        self._out.added(index, item)
        self._out.done(index, item)

    def _delta(self, delta: Delta) -> None:
        kind = delta.kind
        if kind == "text" or kind == "transcript":
            self._say(delta.index, "text", delta.text, delta.logprobs)
        elif kind == "refusal":
            self._say(delta.index, "refusal", delta.text)
        elif kind != "audio":
            item = self._open.get(delta.index)
            if isinstance(item, OpenCall):
                item.feed(delta.text)
            elif item is not None:
                item.feed(kind, delta.text, delta.part)

    def _end_block(self, index: int) -> None:
        item = self._open.pop(index, None)
        if item is not None:
            item.end()
        elif self._part is not None and self._part.block == index:
            self._close_part()

    # --- messages

    def _say(self, block: int, kind: _Kind, text: str, logprobs: Json | None = None) -> None:
        """A piece of text; an empty one for the block -1 begins a message that is empty."""
        if not text and block >= 0:
            return
        part = self._part
        if part is None or part.block != block or part.kind != kind:
            part = self._begin_part(block, kind)
        if not text:
            return
        part.pieces.append(text)
        if kind == "refusal":
            self._refused = True
            self._out.event("response.refusal.delta", {**part.place, "delta": text})
            return
        said = [] if logprobs is None else _tokens.decode(_content.decode(logprobs).get("content", b"null")) or []
        part.logprobs += said
        self._out.event("response.output_text.delta", {**part.place, "delta": text, "logprobs": said})

    def _begin_part(self, block: int, kind: _Kind) -> _Part:
        self._close_part()
        message = self._message
        if message is None:
            message = self._message = _Message(*self._out.reserve("msg"))
            self._out.added(message.index, message.item("in_progress"))
        place = {"item_id": message.id, "output_index": message.index, "content_index": len(message.parts)}
        part = self._part = _Part(block, kind, place)
        self._out.event("response.content_part.added", {**place, "part": part.written()})
        return part

    def _cite(self, block: int, citation: Citation) -> None:
        part = self._part
        if part is None or part.block != block or part.kind != "text":
            return
        note = write_annotation(citation, sum(map(len, part.pieces)))
        if note is not None:
            place = {**part.place, "annotation_index": len(part.notes), "annotation": note}
            part.notes.append(note)
            self._out.event("response.output_text.annotation.added", place)

    def _close_part(self) -> None:
        part, message = self._part, self._message
        if part is None or message is None:
            return
        self._part = None
        whole = part.written()
        message.parts.append(whole)
        if part.kind == "refusal":
            self._out.event("response.refusal.done", {**part.place, "refusal": whole["refusal"]})
        else:
            said = {"text": whole["text"], "logprobs": part.logprobs}
            self._out.event("response.output_text.done", {**part.place, **said})
        self._out.event("response.content_part.done", {**part.place, "part": whole})

    def _close_message(self, status: str = "completed") -> None:
        self._close_part()
        message = self._message
        if message is not None:
            self._message = None
            self._out.done(message.index, message.item(status))
