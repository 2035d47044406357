"""Reads streams of Google's Gemini API (`alt=sse`). Part of `gatewayd.wire.gemini`.

Each event is an answer with the next pieces. There is no end mark: a stream is whole if its bytes end after every
candidate has had its reason to finish. Parts may still come behind that reason, so a candidate is closed at the end.
"""

from __future__ import annotations

from typing import Any

from gatewayd.wire.conversation import Block, Json, StopReason, TextBlock, ThinkingBlock, ToolUseBlock
from gatewayd.wire.converting import INTEGER, STRING, as_json
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
    Delta,
    End,
    Start,
    Stop,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.gemini_answer import (
    gemini_stop_reason,
    is_blocked,
    made_id,
    read_usage_metadata,
    served_model,
    understood,
)
from gatewayd.wire.gemini_common import read_common
from gatewayd.wire.gemini_error import read_error
from gatewayd.wire.gemini_grounding import grounding_citations, has_searched, read_logprobs
from gatewayd.wire.gemini_parts import AnswerIds, CamelMembers, read_part


class _Choice:
    """One candidate of a stream: the events for its parts."""

    def __init__(self, number: int, seed: str) -> None:
        self.number = number
        self.finish: str | None = None
        self.finished = False
        self._ids = AnswerIds(seed)
        self._blocks = 0
        self._open: type[Block] | None = None
        """The kind of the text that is being written; its block is the last one."""
        self._signed = False
        """Whether that block has its signature: more of its kind is another block."""
        self._calls = False
        self._texts: list[str] = []
        self._extra: dict[str, Json] = {}

    def text(self, text: str, thought: bool, events: list[StreamEvent], logprobs: Json | None = None) -> None:
        self._begin(ThinkingBlock if thought else TextBlock, events)
        if thought:
            events.append(Delta(self._blocks - 1, "thinking", text, self.number))
        else:
            self._texts.append(text)
            events.append(Delta(self._blocks - 1, "text", text, self.number, logprobs=logprobs))

    def _begin(self, kind: type[Block], events: list[StreamEvent]) -> None:
        if self._open is not kind or self._signed:
            self._close(events)
            self._start(ThinkingBlock(origin="gemini") if kind is ThinkingBlock else TextBlock(""), events)
            self._open = kind

    def _start(self, block: Block, events: list[StreamEvent]) -> None:
        events.append(BlockStart(self._blocks, block, self.number))
        self._blocks += 1

    def _close(self, events: list[StreamEvent]) -> None:
        if self._open is not None:
            events.append(BlockStop(self._blocks - 1, self.number))
            self._open, self._signed = None, False

    def part(self, part: CamelMembers, events: list[StreamEvent], logprobs: Json | None) -> None:
        self.block(read_part(part, self._ids, "gemini"), events, logprobs)

    def block(self, block: Block, events: list[StreamEvent], logprobs: Json | None = None) -> None:
        if not isinstance(block, TextBlock | ThinkingBlock) or block.extra:
            self._close(events)
            self._start(block, events)
            events.append(BlockStop(self._blocks - 1, self.number))
            self._calls = self._calls or isinstance(block, ToolUseBlock)
            if isinstance(block, TextBlock):
                self._texts.append(block.text)
            return
        thought = isinstance(block, ThinkingBlock)
        if block.text:
            self.text(block.text, thought, events, logprobs)
        if block.signature is not None:
            self._sign(block.signature, thought, events)

    def _sign(self, signature: str, thought: bool, events: list[StreamEvent]) -> None:
        """A signature on an empty part belongs to the text or the thought before it."""
        if self._open is None or self._signed or (thought and self._open is TextBlock):
            self._begin(ThinkingBlock, events)
        events.append(Delta(self._blocks - 1, "signature", signature, self.number))
        self._signed = True

    def keep(self, extra: dict[str, Json]) -> None:
        """What a candidate says beside its parts; of several that say the same, the last counts."""
        self._extra.update(extra)

    @property
    def has_searched(self) -> bool:
        return has_searched(self._extra.get("groundingMetadata"))

    def close(self, events: list[StreamEvent]) -> None:
        if self._open is TextBlock:
            for citation in grounding_citations(self._extra.get("groundingMetadata"), "".join(self._texts)):
                events.append(Cited(self._blocks - 1, citation, self.number))
        self._close(events)
        if self.finish is not None:
            self._extra["finishReason"] = as_json(self.finish)
        reason = gemini_stop_reason(self.finish, self._calls)
        events.append(Stop(reason, choice=self.number, extra=self._extra))


class Reader:
    """Implements `events.Reader`."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._answer_id = ""
        self._started = False
        self._blocked: dict[str, Json] | None = None
        self._usage: Json | None = None
        self._over = False

    def feed(self, name: bytes, data: bytes) -> list[StreamEvent]:
        if self._over:
            return []
        chunk = read_common(data)
        if chunk is None:
            return self._any(data)
        events: list[StreamEvent] = []
        self._start(chunk.response_id, chunk.model_version, data, events)
        for at, candidate in enumerate(chunk.candidates):
            choice = self._choice(at if candidate.index is None else candidate.index)
            for part in candidate.content.parts:
                if part.thought_signature is not None:
                    choice.block(part.block, events)
                elif part.text:
                    choice.text(part.text, part.thought, events)
            if candidate.finish_reason is not None:
                choice.finish, choice.finished = candidate.finish_reason, True
            if extra := candidate.extra:
                choice.keep(extra)
        if bytes(chunk.usage_metadata):
            self._count(chunk.usage_metadata, events)
        return events

    def _any(self, data: bytes) -> list[StreamEvent]:
        if (error := read_error(data)) is not None:
            self._over = True
            return [error]
        events: list[StreamEvent] = []
        with understood():
            top = CamelMembers.of_body(data)
            assert isinstance(top, CamelMembers)
            candidates = top.camel_list("candidates") or []
            model = top.take("modelVersion", STRING)
            self._start(top.take("responseId", STRING) or "", model or "", data, events)
            if not candidates and is_blocked(top):
                self._blocked = {"promptFeedback": top.rest()["promptFeedback"]}
            for at, candidate in enumerate(candidates):
                number = candidate.take("index", INTEGER)
                self._candidate(candidate, self._choice(at if number is None else number), events)
            if (usage := top.raw("usageMetadata")) is not None:
                self._count(usage, events)
        return events

    def _start(self, answer_id: str, model: str, data: bytes, events: list[StreamEvent]) -> None:
        if not self._started:
            self._started = True
            self._answer_id = answer_id or made_id(data)
            events.append(Start(dialect="gemini", answer_id=self._answer_id, model=served_model(model)))

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice(number, f"{self._answer_id}/{number}")
        return choice

    def _candidate(self, candidate: CamelMembers, choice: _Choice, events: list[StreamEvent]) -> None:
        finish = candidate.take("finishReason", STRING)
        if finish is not None:
            choice.finish, choice.finished = finish, True
        content = candidate.camel_members("content")
        extra = candidate.rest()
        logprobs = read_logprobs(extra.get("logprobsResult"))
        for part in [] if content is None else content.camel_list("parts") or []:
            choice.part(part, events, logprobs)
            logprobs = None
        choice.keep(extra)

    def _count(self, usage: Json, events: list[StreamEvent]) -> None:
        """Counts so far come with each chunk, so a stream that its client leaves has been counted too."""
        if usage != self._usage and (counts := read_usage_metadata(usage)) is not None:
            self._usage = usage
            events.append(UsageReport(counts))

    def end(self) -> list[StreamEvent]:
        """The bytes have ended: closing events if the answer is whole."""
        choices = self._choices.values()
        if self._over or not (choices or self._blocked) or not all(choice.finished for choice in choices):
            return []
        self._over = True
        events: list[StreamEvent] = []
        for choice in choices:
            choice.close(events)
        if self._blocked is not None and not choices:
            events.append(Stop(StopReason.CONTENT_FILTER, extra=self._blocked))
        if self._usage is not None and any(choice.has_searched for choice in choices):
            counts: Any = read_usage_metadata(self._usage, searched=True)
            events.append(UsageReport(counts))
        events.append(End())
        return events
