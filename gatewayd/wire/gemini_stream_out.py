"""Writes streams of Google's Gemini API (`alt=sse`). Part of `gatewayd.wire.gemini`.

There are no comments in it: google-genai takes each line that does not begin with `data: ` for a piece of JSON.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    Citation,
    RefusalBlock,
    Request,
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
    Ping,
    Start,
    Stop,
    StreamError,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.gemini_answer import answer_parts, gemini_finish_reason, thought_part, write_usage_metadata
from gatewayd.wire.gemini_error import write_error
from gatewayd.wire.gemini_grounding import grounding, write_logprobs
from gatewayd.wire.openai import encode
from gatewayd.wire.tool_names import ToolNames

_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


class _Pieces:
    """A block while it comes: its deltas by their kind."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.part = 0
        """Which part of a summary is being written."""
        self._texts: dict[str, list[str]] = {}

    def add(self, kind: str, text: str) -> None:
        self._texts.setdefault(kind, []).append(text)

    def said(self, kind: str) -> str | None:
        pieces = self._texts.get(kind)
        return None if pieces is None else "".join(pieces)

    def whole(self) -> Block:
        """The block with what is sent when it is complete. Text that has been sent is not in it."""
        block = self.block
        signature = self.said("signature")
        match block:
            case TextBlock() if "text" in self._texts:
                block = TextBlock("", signature=block.signature)
            case ThinkingBlock() if "thinking" in self._texts or "summary" in self._texts:
                block = ThinkingBlock(signature=block.signature)
            case RefusalBlock() if "refusal" in self._texts:
                block = TextBlock("")
            case ToolUseBlock():
                block = msgspec.structs.replace(block, arguments=block.arguments + (self.said("arguments") or ""))
            case AudioBlock():
                block = msgspec.structs.replace(block, data=(block.data or "") + (self.said("audio") or ""))
            case _:
                pass
        if signature is not None and isinstance(block, TextBlock | ThinkingBlock | ToolUseBlock):
            return msgspec.structs.replace(block, signature=signature)
        return block


class Writer:
    """Implements `events.Writer`. Calls of tools and reasons to finish come whole, as Google sends them."""

    def __init__(self, request: Request) -> None:
        self._own = False
        self._names = ToolNames(request)
        self._tail = b"}\r\n\r\n"
        self._blocks: dict[tuple[int, int], _Pieces] = {}
        self._texts: dict[int, list[str]] = {}
        self._cited: dict[int, list[Citation]] = {}
        self._stops: dict[int, Stop] = {}
        self._usage: TokenUsage | None = None
        self._over = False

    def feed(self, event: StreamEvent) -> list[bytes]:
        if self._over:
            return []
        match event:
            case Delta():
                return self._delta(event)
            case Start():
                self._start(event)
            case BlockStart(index, block, choice):
                if isinstance(block, ToolUseBlock):
                    block = self._names.restored(block)
                return self._begin(index, block, choice)
            case BlockStop(index, choice):
                return self._block_stop(self._blocks.pop((choice, index), None), choice)
            case Cited(_, citation, choice):
                self._cited.setdefault(choice, []).append(citation)
            case UsageReport(usage):
                self._usage = usage
            case Stop():
                self._stops[event.choice] = event
            case End():
                return self._end()
            case StreamError():
                return [self.error(event)]
            case Ping():
                pass
        return []

    def error(self, error: StreamError) -> bytes:
        self._over = True
        return b"data: " + write_error(error) + b"\r\n\r\n"

    def _start(self, start: Start) -> None:
        self._own = start.dialect == "gemini"
        common = {"modelVersion": start.model, "responseId": start.answer_id}
        self._tail = b",%b\r\n\r\n" % encode(common)[1:]
        self._usage = start.usage

    def _event(self, body: dict[str, Any]) -> bytes:
        # What was kept as it came may have line ends between its tokens, and they would end the event.
        return b"data: " + encode(body)[:-1].translate(_ONE_LINE) + self._tail

    def _chunk(self, choice: int, parts: list[Any], logprobs: Any = None) -> bytes:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": choice}
        if logprobs is not None:
            candidate["logprobsResult"] = logprobs
        return self._event({"candidates": [candidate]})

    def _begin(self, index: int, block: Block, choice: int) -> list[bytes]:
        self._blocks[choice, index] = _Pieces(block)
        match block:
            case TextBlock(text) if text:
                return self._delta(Delta(index, "text", text, choice))
            case ThinkingBlock(text=text) if text:
                return self._delta(Delta(index, "thinking", text, choice))
            case _:
                return []

    def _delta(self, delta: Delta) -> list[bytes]:
        choice, text = delta.choice, delta.text
        pieces = self._blocks[choice, delta.index]
        match delta.kind:
            case "text" | "refusal":
                pieces.add(delta.kind, "")
                if not text:
                    return []
                self._texts.setdefault(choice, []).append(text)
                logprobs = None if delta.logprobs is None else write_logprobs(delta.logprobs)
                return [self._chunk(choice, [{"text": text}], logprobs)]
            case "thinking" | "summary":
                pieces.add(delta.kind, "")
                if delta.part != pieces.part:
                    pieces.part, text = delta.part, f"\n\n{text}"
                return [self._chunk(choice, [thought_part(text, None)])] if text else []
            case _:
                pieces.add(delta.kind, text)
                return []

    def _block_stop(self, pieces: _Pieces | None, choice: int) -> list[bytes]:
        if pieces is None:
            return []
        block = pieces.whole()
        if isinstance(block, TextBlock) and block.signature is None:
            return []
        parts = answer_parts([block], own=self._own)
        return [self._chunk(choice, parts)] if parts else []

    def _end(self) -> list[bytes]:
        self._over = True
        body: dict[str, Any] = {}
        candidates = [self._last(choice, stop) for choice, stop in sorted(self._stops.items())]
        blocked = next((stop.extra for stop in self._stops.values() if "promptFeedback" in stop.extra), None)
        if self._own and blocked is not None:
            body.update(blocked)
        else:
            body["candidates"] = candidates
        if self._usage is not None:
            body["usageMetadata"] = write_usage_metadata(self._usage)
        return [self._event(body)]

    def _last(self, choice: int, stop: Stop) -> dict[str, Any]:
        candidate: dict[str, Any] = {
            "content": {"parts": [{"text": ""}], "role": "model"},
            "finishReason": gemini_finish_reason(stop.reason),
            "index": choice,
        }
        if self._own:
            return {**candidate, **stop.extra}
        if choice in self._cited:
            candidate["groundingMetadata"] = grounding(self._cited[choice], "".join(self._texts.get(choice, ())))
        return candidate
