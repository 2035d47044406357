"""Writes streams of Anthropic's Messages API. Part of `gatewayd.wire.messages`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.conversation import (
    Block,
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
    Ping,
    Start,
    Stop,
    StreamError,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.messages_answer import NO_ANSWER, write_anthropic_usage, write_error, write_reason
from gatewayd.wire.messages_blocks import write_citation
from gatewayd.wire.messages_request import proof_of
from gatewayd.wire.openai import encode
from gatewayd.wire.signatures import signed_call_id
from gatewayd.wire.tool_names import RestoredTools, json_arguments

_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_BlockEvent = BlockStart | Delta | Cited | BlockStop


class Writer:
    """Implements `events.Writer`.

    Blocks of this API come one after the other. Where a provider's overlap, the later ones wait for the first.
    """

    def __init__(self, request: Request) -> None:
        self._tools = RestoredTools(request)
        self._own = False
        self._current: int | None = None
        """The block that is open, by its index in the events."""
        self._waiting: dict[int, list[_BlockEvent]] = {}
        self._block: Block | None = None
        self._open = False
        """Whether the block has begun for the client: one that says nothing never does."""
        self._argued = False
        self._proof: list[str] = []
        self._part = 0
        self._written = 0
        """Blocks so far."""
        self._usage: TokenUsage | None = None
        self._reason: tuple[StopReason, str | None] = (StopReason.END, None)
        self._over = False

    def feed(self, event: StreamEvent) -> list[bytes]:
        if self._over:
            return []
        pieces: list[bytes] = []
        for restored in self._tools.feed(event):
            self._feed(restored, pieces)
        return pieces

    def _feed(self, event: StreamEvent, pieces: list[bytes]) -> None:
        match event:
            case BlockStart() | Delta() | Cited() | BlockStop():
                if event.choice == 0:
                    self._in_turn(event, pieces)
            case Start():
                self._start(event, pieces)
            case UsageReport(usage):
                self._usage = usage
            case Stop(reason, sequence, 0):
                self._reason = reason, sequence
            case Stop():
                pass
            case End():
                self._end(pieces)
            case StreamError():
                pieces.append(self.error(event))
            case Ping():
                pieces.append(_PING)

    def error(self, error: StreamError) -> bytes:
        self._over = True
        return b"event: error\ndata: " + write_error(error) + b"\n\n"

    def _start(self, start: Start, pieces: list[bytes]) -> None:
        self._usage, self._own = start.usage, start.dialect == "messages"
        message: dict[str, Any] = {
            "id": start.answer_id,
            "type": "message",
            "role": "assistant",
            "model": start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_anthropic_usage(start.usage, tier=start.service_tier),
        }
        pieces += [_event("message_start", message=message), _PING]

    # --- blocks

    def _in_turn(self, event: _BlockEvent, pieces: list[bytes]) -> None:
        if self._current is None:
            self._current = event.index
        if event.index != self._current:
            self._waiting.setdefault(event.index, []).append(event)
            return
        self._write(event, pieces)
        if isinstance(event, BlockStop):
            self._catch_up(pieces)

    def _catch_up(self, pieces: list[bytes]) -> None:
        """Writes what has waited, up to the first block that is still open."""
        while self._waiting:
            index = next(iter(self._waiting))
            events = self._waiting.pop(index)
            for event in events:
                self._write(event, pieces)
            if not isinstance(events[-1], BlockStop):
                self._current = index
                return

    def _write(self, event: _BlockEvent, pieces: list[bytes]) -> None:
        match event:
            case Delta(_, kind, text):
                self._delta(kind, text, event.part, pieces)
            case BlockStart(_, block):
                self._begin(block, pieces)
            case Cited(_, citation):
                if (found := write_citation(citation)) is not None:
                    self._piece({"type": "citations_delta", "citation": found}, pieces)
            case BlockStop():
                self._stop(pieces)

    def _begin(self, block: Block, pieces: list[bytes]) -> None:
        self._block = block
        self._argued = False
        self._proof = []
        self._part = 0
        match block:
            case TextBlock(text) | RefusalBlock(text):
                self._delta("text", text, 0, pieces)
            case ThinkingBlock(text=text):
                self._delta("thinking", text, 0, pieces)
            case ToolUseBlock():
                call_id = signed_call_id(block.call_id, block.signature)
                call = {"type": "tool_use", "id": call_id, "name": block.name, "input": {}}
                self._open_block({**call, **(block.extra if self._own else {})}, pieces)
                if block.arguments:
                    self._delta("arguments", block.arguments, 0, pieces)
            case RedactedThinkingBlock():
                self._open_block({"type": "redacted_thinking", "data": proof_of(block)}, pieces)
            case RawBlock(dialect="messages", raw=raw):
                self._open_block(raw, pieces)
            case _:
                pass

    def _open_block(self, block: Any, pieces: list[bytes]) -> None:
        self._open = True
        pieces.append(_event("content_block_start", index=self._written, content_block=block))

    def _piece(self, delta: dict[str, Any], pieces: list[bytes]) -> None:
        pieces.append(_event("content_block_delta", index=self._written, delta=delta))

    def _close(self, pieces: list[bytes]) -> None:
        pieces.append(_event("content_block_stop", index=self._written))
        self._written += 1
        self._open = False

    def _delta(self, kind: str, text: str, part: int, pieces: list[bytes]) -> None:
        if not text:
            return
        match kind:
            case "text" | "refusal":
                if not self._open:
                    self._open_block({"type": "text", "text": ""}, pieces)
                self._piece({"type": "text_delta", "text": text}, pieces)
            case "arguments":
                self._argued = True
                self._arguments(text, pieces)
            case "thinking" | "summary":
                if part != self._part:
                    self._part, text = part, f"\n\n{text}"
                self._open_thought(pieces)
                self._piece({"type": "thinking_delta", "thinking": text}, pieces)
            case "signature" | "encrypted":
                self._proof.append(text)
            case _:
                pass

    def _arguments(self, text: str, pieces: list[bytes]) -> None:
        if isinstance(self._block, ToolUseBlock) and self._block.kind == "custom":
            self._proof.append(text)  # goes into JSON when it is whole
        elif self._open:
            self._piece({"type": "input_json_delta", "partial_json": text}, pieces)

    def _open_thought(self, pieces: list[bytes]) -> None:
        if not self._open:
            self._open_block({"type": "thinking", "thinking": "", "signature": ""}, pieces)

    def _stop(self, pieces: list[bytes]) -> None:
        block, proof = self._block, "".join(self._proof)
        match block:
            case ThinkingBlock():
                encrypted = block.encrypted is not None or block.origin == "responses"
                known = block.encrypted if encrypted else block.signature
                said = {"encrypted" if encrypted else "signature": proof or known}
                if written := proof_of(msgspec.structs.replace(block, **said)):
                    self._open_thought(pieces)
                    self._piece({"type": "signature_delta", "signature": written}, pieces)
            case ToolUseBlock(kind="custom"):
                whole = json_arguments(msgspec.structs.replace(block, arguments=proof))
                self._piece({"type": "input_json_delta", "partial_json": bytes(whole).decode()}, pieces)
            case ToolUseBlock() if not self._argued:
                self._piece({"type": "input_json_delta", "partial_json": "{}"}, pieces)
            case _:
                pass
        if self._open:
            self._close(pieces)
        self._block = self._current = None

    def _end(self, pieces: list[bytes]) -> None:
        self._over = True
        reason = write_reason(self._reason[0])
        if reason == "refusal" and not self._written:
            self._open_block({"type": "text", "text": ""}, pieces)
            self._piece({"type": "text_delta", "text": NO_ANSWER}, pieces)
            self._close(pieces)
        delta = {"stop_reason": reason, "stop_sequence": self._reason[1]}
        pieces += [_event("message_delta", delta=delta, usage=write_anthropic_usage(self._usage)), _STOP]


def _event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name, **members}))
