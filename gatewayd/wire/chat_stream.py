"""Reads streams of OpenAI's chat completions API. Part of `gatewayd.wire.chat`."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire.chat_answer import (
    chat_error,
    read_citations,
    read_counts,
    stop_reason,
)
from gatewayd.wire.chat_request import call_signature, read_content, thinking_of
from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    RefusalBlock,
    TextBlock,
    ThinkingBlock,
    ToolKind,
    ToolUseBlock,
)
from gatewayd.wire.converting import MALFORMED, as_json, derived_call_id
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
    Delta,
    DeltaKind,
    End,
    Start,
    Stop,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.openai import encode

_decoder: Final = msgspec.json.Decoder(dict[str, Any])
_TextKind = Literal["text", "thinking", "refusal"]
_EMPTY: Final[dict[str, Block]] = {"text": TextBlock(""), "thinking": ThinkingBlock(), "refusal": RefusalBlock("")}


class _Call:
    """A tool call while it comes."""

    def __init__(self, call_id: str, kind: ToolKind) -> None:
        self.call_id = call_id
        self.kind = kind
        self.name = ""
        self.index: int | None = None
        """Of its block; None until its name is known."""
        self.arguments: list[str] = []
        self.signature: str | None = None
        self.stopped = False

    @property
    def complete(self) -> bool:
        """Whether the arguments so far are one JSON object."""
        try:
            return isinstance(msgspec.json.decode("".join(self.arguments)), dict)
        except (msgspec.DecodeError, RecursionError):
            return False


class _Choice:
    """One choice of a stream: the events for its deltas."""

    def __init__(self, number: int, answer_id: str) -> None:
        self.number = number
        self._answer_id = answer_id
        self.finish: Any = None
        self.finished = False
        self._blocks = 0
        self._kinds: set[type] = set()
        self._open: tuple[str, int] | None = None
        """The kind and the index of the block of text that is open."""
        self._calls: list[_Call] = []
        self._by_place: dict[Any, _Call] = {}
        self._audio: int | None = None
        self._spoken = False
        """Whether the thought that is open has come as `reasoning_content`."""

    def feed(self, delta: dict[str, Any], logprobs: Any, events: list[StreamEvent]) -> None:
        delta = {name: value for name, value in delta.items() if value is not None}
        content = delta.get("content")
        if isinstance(content, str):
            if content or logprobs is not None:
                self._text("text", content, events, logprobs)
            if len(delta) == 1:
                return
        self._thoughts(delta, events)
        if isinstance(content, list):
            for block in read_content(content, "content"):
                if isinstance(block, TextBlock):
                    self._text("text", block.text, events)
                else:
                    self._whole(block, events)
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._text("refusal", refusal, events)
        for citation in read_citations(delta.get("annotations")):
            if self._open is not None and self._open[0] == "text":
                events.append(Cited(self._open[1], citation, self.number))
        for image in delta.get("images", ()):
            for block in read_content([image], "images"):
                self._whole(block, events)
        if isinstance(audio := delta.get("audio"), dict):
            self._sound(audio, events)
        for call in delta.get("tool_calls", ()):
            self._call(call, events)

    def _text(
        self, kind: Literal["text", "thinking", "refusal"], text: str, events: list[StreamEvent], logprobs: Any = None
    ) -> None:
        if self._open is None or self._open[0] != kind:
            self.close_text(events)
            block: Block = (
                ThinkingBlock() if kind == "thinking" else RefusalBlock("") if kind == "refusal" else TextBlock("")
            )
            self._open = kind, self._start(block, events)
        said = None if logprobs is None else as_json(logprobs)
        events.append(Delta(self._open[1], kind, text, self.number, logprobs=said))

    def _start(self, block: Block, events: list[StreamEvent]) -> int:
        index = self._blocks
        self._blocks += 1
        self._kinds.add(type(block))
        events.append(BlockStart(index, block, self.number))
        return index

    def _whole(self, block: Block, events: list[StreamEvent]) -> None:
        self.close_text(events)
        events.append(BlockStop(self._start(block, events), self.number))

    def close_text(self, events: list[StreamEvent]) -> None:
        if self._open is not None:
            events.append(BlockStop(self._open[1], self.number))
            self._open = None

    def _thoughts(self, delta: dict[str, Any], events: list[StreamEvent]) -> None:
        """`thinking_blocks` repeat what `reasoning_content` says, in pieces or whole: only signatures are new there."""
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(text, str) and text:
            self._text("thinking", text, events)
            self._spoken = True
        for block in thinking_of({"thinking_blocks": delta.get("thinking_blocks")}):
            if isinstance(block, ThinkingBlock):
                self._thought(block, events)
            else:
                self._whole(block, events)

    def _thought(self, block: ThinkingBlock, events: list[StreamEvent]) -> None:
        proof = block.signature or block.encrypted
        if self._open is None or self._open[0] != "thinking":
            if not block.text and proof is None:
                return
            self._open_thinking(block, events)
        if block.text and not self._spoken:
            self._text("thinking", block.text, events)
        if proof is not None and self._open is not None:
            kind: DeltaKind = "signature" if block.encrypted is None else "encrypted"
            events.append(Delta(self._open[1], kind, proof, self.number))
            self.close_text(events)

    def _open_thinking(self, block: ThinkingBlock, events: list[StreamEvent]) -> None:
        self.close_text(events)
        begun = ThinkingBlock(item_id=block.item_id, origin=block.origin)
        self._open = "thinking", self._start(begun, events)
        self._spoken = False

    def _sound(self, audio: dict[str, Any], events: list[StreamEvent]) -> None:
        if self._audio is None:
            self.close_text(events)
            self._audio = self._start(AudioBlock(audio_id=audio.get("id")), events)
        if isinstance(piece := audio.get("data"), str) and piece:
            events.append(Delta(self._audio, "audio", piece, self.number))
        if isinstance(piece := audio.get("transcript"), str) and piece:
            events.append(Delta(self._audio, "transcript", piece, self.number))

    def _call(self, piece: dict[str, Any], events: list[StreamEvent]) -> None:
        call = self._of(piece)
        kind = "custom" if call.kind == "custom" else "function"
        said = piece.get(kind) or {}
        if call.index is None:
            call.name += said.get("name") or ""
            call.signature = call.signature or call_signature(piece)
        arguments = said.get("input" if kind == "custom" else "arguments") or ""
        if not isinstance(arguments, str):
            arguments = encode(arguments).decode()
        if call.stopped:
            if arguments.strip():
                raise UpstreamBadResponse("The upstream's stream goes on with a tool call that was complete.")
            return
        begun = call.index is not None
        call.arguments.append(arguments)
        if not begun and call.name:
            self.close_text(events)
            for other in self._calls:
                if other is not call and other.index is not None and not other.stopped and other.complete:
                    self._stop(other, events)
            call_id = call.call_id or derived_call_id(self._answer_id, len(self._calls) - 1)
            block = ToolUseBlock(call_id=call_id, name=call.name, kind=call.kind, signature=call.signature)
            call.index = self._start(block, events)
            arguments = "".join(call.arguments)
        if call.index is not None and arguments:
            events.append(Delta(call.index, "arguments", arguments, self.number))

    def _of(self, piece: dict[str, Any]) -> _Call:
        """The call that a piece belongs to: by its index, or its id where a server has no indices or uses one twice."""
        call_id = piece.get("id") or ""
        place = piece.get("index", call_id)
        if not place and "index" not in piece and self._calls:
            return self._calls[-1]
        call = self._by_place.get(place)
        if call is None or (call_id and call.call_id and call_id != call.call_id):
            kind: ToolKind = "custom" if piece.get("type") == "custom" or "custom" in piece else "function"
            call = self._by_place[place] = _Call(call_id, kind)
            self._calls.append(call)
        elif call_id and call.index is None:
            call.call_id = call_id
        return call

    def _stop(self, call: _Call, events: list[StreamEvent]) -> None:
        assert call.index is not None
        call.stopped = True
        events.append(BlockStop(call.index, self.number))

    def end(self, events: list[StreamEvent]) -> None:
        self.close_text(events)
        if self._audio is not None:
            events.append(BlockStop(self._audio, self.number))
        for call in self._calls:
            if call.index is None:
                raise UpstreamBadResponse("The upstream's stream has a tool call without a name.")
            if not call.stopped:
                self._stop(call, events)
        events.append(Stop(stop_reason(self.finish, self._kinds), choice=self.number))


class Reader:
    """Implements `events.Reader`."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._started = False
        self._over = False

    def feed(self, name: bytes, data: bytes) -> list[StreamEvent]:
        if self._over:
            return []
        if data.strip() == b"[DONE]":
            return self._finish()
        try:
            chunk = _decoder.decode(data)
            return self._chunk(chunk)
        except MALFORMED:
            raise UpstreamBadResponse("The upstream's stream has an event that is not a chat completion.") from None

    def _chunk(self, chunk: dict[str, Any]) -> list[StreamEvent]:
        if (error := chat_error(chunk)) is not None:
            self._over = True
            return [error]
        events: list[StreamEvent] = []
        choices = chunk.get("choices") or ()
        if not self._started and choices:
            self._started = True
            created, tier = chunk.get("created"), chunk.get("service_tier")
            events.append(
                Start(
                    dialect="chat",
                    answer_id=str(chunk.get("id") or ""),
                    model=str(chunk.get("model") or ""),
                    created=created if isinstance(created, int) else None,
                    service_tier=tier,
                )
            )
        for choice in choices:
            number = choice.get("index") or 0
            state = self._choices.get(number)
            if state is None:
                state = self._choices[number] = _Choice(number, str(chunk.get("id") or ""))
            delta = choice.get("delta") or choice.get("message")
            if delta:
                state.feed(delta, choice.get("logprobs"), events)
            state.finish = choice.get("finish_reason") or state.finish
        if (counts := read_counts(chunk.get("usage"))) is not None and self._started:
            events.append(UsageReport(counts))
        return events

    def _finish(self) -> list[StreamEvent]:
        """Choices stop here and not at their reason: some servers send more behind it."""
        events: list[StreamEvent] = []
        if not self._started:
            return events
        self._over = True
        for choice in self._choices.values():
            choice.end(events)
        events.append(End())
        return events

    def end(self) -> list[StreamEvent]:
        """Servers that send no end mark are known: then every choice must have given a reason."""
        if self._over or not self._choices or any(choice.finish is None for choice in self._choices.values()):
            return []
        return self._finish()
