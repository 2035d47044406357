"""The events of a Responses stream, and items while they are written. Part of `gatewayd.wire.responses`."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewayd.wire.conversation import ThinkingBlock, ToolName, ToolUseBlock
from gatewayd.wire.openai import encode
from gatewayd.wire.responses_items import sealed_thought
from gatewayd.wire.responses_object import item_id
from gatewayd.wire.signatures import signed_call_id
from gatewayd.wire.tool_names import free_text


class Output:
    """Numbers events and items, and collects the items of an answer."""

    def __init__(self) -> None:
        self.answer_id = ""
        self.items: list[Any] = []
        """By their index; None while an item is open."""
        self._events: list[bytes] = []
        self._sequence = 0

    def take(self) -> list[bytes]:
        """The events since the last time."""
        events, self._events = self._events, []
        return events

    def event(self, kind: str, members: dict[str, Any]) -> None:
        data = encode({"type": kind, "sequence_number": self._sequence, **members})
        self._sequence += 1
        self._events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))

    def reserve(self, prefix: str, own_id: str | None = None) -> tuple[str, int]:
        """The id and the index of a new item."""
        index = len(self.items)
        self.items.append(None)
        return own_id or item_id(prefix, self.answer_id, index), index

    def added(self, index: int, item: Any) -> None:
        self.event("response.output_item.added", {"output_index": index, "item": item})

    def done(self, index: int, item: Any) -> None:
        self.items[index] = item
        self.event("response.output_item.done", {"output_index": index, "item": item})


class OpenThought:
    """A reasoning item while it is written. `summarizes`: the text of the thoughts is written as a summary of them."""

    def __init__(self, out: Output, block: ThinkingBlock, *, summarizes: bool) -> None:
        self._out = out
        self._block = block
        self._summarizes = summarizes
        self._id, self._index = out.reserve("rs", block.item_id)
        self._place = {"item_id": self._id, "output_index": self._index}
        self._texts: list[str] = []
        self._summaries: list[list[str]] = []
        self._signature = block.signature or ""
        self._encrypted = block.encrypted or ""
        out.added(self._index, {"id": self._id, "type": "reasoning", "summary": []})
        for part, text in enumerate(block.summary):
            self._summarize(text, part)
        self.feed("thinking", block.text, 0)

    def feed(self, kind: str, text: str, part: int) -> None:
        """A piece of this kind, see `events.Delta`."""
        if kind == "signature":
            self._signature += text
        elif kind == "encrypted":
            self._encrypted += text
        elif text and kind == "summary":
            self._summarize(text, part)
        elif text:
            self._texts.append(text)
            if self._summarizes:
                self._summarize(text, 0)
                return
            place = {**self._place, "content_index": 0}
            if len(self._texts) == 1:
                begun = {"type": "reasoning_text", "text": ""}
                self._out.event("response.content_part.added", {**place, "part": begun})
            self._out.event("response.reasoning_text.delta", {**place, "delta": text})

    def _summarize(self, text: str, part: int) -> None:
        while len(self._summaries) <= part:
            self._close_summary()
            place = {**self._place, "summary_index": len(self._summaries)}
            self._summaries.append([])
            begun = {"type": "summary_text", "text": ""}
            self._out.event("response.reasoning_summary_part.added", {**place, "part": begun})
        self._summaries[part].append(text)
        place = {**self._place, "summary_index": part}
        self._out.event("response.reasoning_summary_text.delta", {**place, "delta": text})

    def _close_summary(self) -> None:
        """Ends the last part of the summary."""
        if not self._summaries:
            return
        text = "".join(self._summaries[-1])
        place = {**self._place, "summary_index": len(self._summaries) - 1}
        self._out.event("response.reasoning_summary_text.done", {**place, "text": text})
        part = {"type": "summary_text", "text": text}
        self._out.event("response.reasoning_summary_part.done", {**place, "part": part})

    def end(self) -> None:
        self._close_summary()
        text = "".join(self._texts)
        item: dict[str, Any] = {"id": self._id, "type": "reasoning"}
        item["summary"] = [{"type": "summary_text", "text": "".join(pieces)} for pieces in self._summaries]
        if text and not self._summarizes:
            place = {**self._place, "content_index": 0}
            part = {"type": "reasoning_text", "text": text}
            self._out.event("response.reasoning_text.done", {**place, "text": text})
            self._out.event("response.content_part.done", {**place, "part": part})
            item["content"] = [part]
        proof: str | None = self._encrypted or None
        if self._signature:
            proof = sealed_thought(msgspec.structs.replace(self._block, text=text, signature=self._signature))
        if proof is not None:
            item["encrypted_content"] = proof
        self._out.done(self._index, item)


class OpenCall:
    """A call of a tool while it is written. `tool` is what the caller calls it."""

    def __init__(self, out: Output, block: ToolUseBlock, tool: ToolName) -> None:
        self._out = out
        self._custom = tool.kind == "custom"
        self._buffered = self._custom and block.kind == "function"
        """Whether the free text is an argument of a function, so it is known when all is there."""
        self._pieces: list[str] = []
        self._name = "input" if self._custom else "arguments"
        self._event = f"response.{'custom_tool_call_input' if self._custom else 'function_call_arguments'}"
        new_id, self._index = out.reserve("ctc" if self._custom else "fc", block.item_id)
        self._place = {"item_id": new_id, "output_index": self._index}
        item: dict[str, Any] = {"id": new_id, "type": "custom_tool_call" if self._custom else "function_call"}
        call_id = block.call_id or item_id("call", out.answer_id, self._index)
        item["call_id"] = signed_call_id(call_id, block.signature)
        item["name"] = tool.name
        if (namespace := block.namespace or tool.namespace) is not None:
            item["namespace"] = namespace
        self._item = item
        out.added(self._index, self._whole("", "in_progress"))
        self.feed(block.arguments)

    def _whole(self, text: str, status: str) -> dict[str, Any]:
        item = {**self._item, self._name: text}
        return item if self._custom else {**item, "status": status}

    def feed(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            if not self._buffered:
                self._out.event(f"{self._event}.delta", {**self._place, "delta": text})

    def end(self) -> None:
        text = "".join(self._pieces)
        if self._buffered:
            self._buffered, text = False, free_text(text)
            self.feed(text)
        elif not text and not self._custom:
            text = "{}"  # a tool without arguments: clients parse it
            self.feed(text)
        called = {} if self._custom else {"name": self._item["name"]}
        self._out.event(f"{self._event}.done", {**self._place, **called, self._name: text})
        self._out.done(self._index, self._whole(text, "completed"))
