"""Reads streams of Bedrock's Converse API. Part of `gatewayd.wire.converse`.

Bytes come as AWS event-stream frames (`gatewayd.wire.eventstream`), each of which is one event here. Blocks of text and
of thoughts begin with their first delta, calls of tools with a start. The counts come last, behind the stop.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire.conversation import (
    Block,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from gatewayd.wire.converse_answer import (
    BROKEN,
    MoreFields,
    converse_citation,
    converse_id,
    converse_stop,
    converse_usage,
    read_more,
)
from gatewayd.wire.converse_error import read_error
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
from gatewayd.wire.eventstream import Frame
from gatewayd.wire.openai import encode

_ABSENT: Final = msgspec.Raw()


class _Reasoning(msgspec.Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Input(msgspec.Struct):
    input: str = ""


class _ImageSource(msgspec.Struct, frozen=True):
    bytes: str = ""


class _ImageDelta(msgspec.Struct):
    source: _ImageSource = _ImageSource()


class _Delta(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _Input | None = None
    reasoning_content: _Reasoning | None = None
    citation: msgspec.Raw = _ABSENT
    image: _ImageDelta | None = None


class _DeltaEvent(msgspec.Struct, rename="camel"):
    delta: _Delta
    content_block_index: int = 0


class _Call(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    type: str = ""


class _Image(msgspec.Struct):
    format: str = "png"


class _Begun(msgspec.Struct, rename="camel", frozen=True):
    tool_use: _Call | None = None
    tool_result: msgspec.Raw = _ABSENT
    image: _Image | None = None


class _StartEvent(msgspec.Struct, rename="camel"):
    start: _Begun = _Begun()
    content_block_index: int = 0


class _StopEvent(msgspec.Struct, rename="camel"):
    content_block_index: int = 0


class _MessageStop(msgspec.Struct, rename="camel"):
    stop_reason: str = ""
    additional_model_response_fields: msgspec.Raw = msgspec.Raw(b"null")


class _Metadata(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"null")


_delta: Final = msgspec.json.Decoder(_DeltaEvent)
_start: Final = msgspec.json.Decoder(_StartEvent)
_stop: Final = msgspec.json.Decoder(_StopEvent)
_message_stop: Final = msgspec.json.Decoder(_MessageStop)
_metadata: Final = msgspec.json.Decoder(_Metadata)


def frame_event(frame: Frame) -> tuple[bytes, bytes]:
    """A frame as `Reader.feed` takes it: its name and its data."""
    match frame.header(":message-type"):
        case "exception":
            return frame.header(":exception-type").encode(), frame.payload
        case "error":
            message = encode({"message": frame.header(":error-message")})
            return f"{frame.header(':error-code') or 'Internal'}Exception".encode(), message
        case _:
            return frame.header(":event-type").encode(), frame.payload


class _Pending:
    """A block whose data comes in pieces but is given whole."""

    def __init__(self, media_type: str | None = None) -> None:
        self.media_type = media_type
        self.pieces: list[str] = []

    def block(self) -> Block:
        data = self.pieces[0] if len(self.pieces) == 1 else _joined(self.pieces)
        if self.media_type is not None:
            return ImageBlock(data=data, media_type=self.media_type)
        return RedactedThinkingBlock(data=data, origin="messages")


def _joined(pieces: list[str]) -> str:
    """One base64 text of several: each may end with padding."""
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except ValueError:
        return "".join(pieces)


class Reader:
    """Implements `events.Reader`, for what `frame_event` makes of each frame."""

    def __init__(self, *, answer_id: str = "", model: str = "") -> None:
        self._answer_id = answer_id
        self._model = model
        self._started = False
        self._blocks = 0
        self._open: dict[int, int] = {}
        """Indexes of the blocks that are open, by Bedrock's."""
        self._pending: dict[int, _Pending] = {}
        self._ignored: set[int] = set()
        """Blocks of tools that Bedrock runs itself."""
        self._stopped = False
        self._more = MoreFields()
        self._over = False

    def feed(self, name: bytes, data: bytes) -> list[StreamEvent]:
        """Raises UpstreamBadResponse."""
        if self._over:
            return []
        if name.endswith(b"Exception"):
            self._over = True
            error = read_error(data, name.decode(errors="replace"))
            assert error is not None
            return [error]
        events: list[StreamEvent] = []
        try:
            self._event(name, data, events)
        except BROKEN:
            raise UpstreamBadResponse("The upstream's stream has an event that is none of the Converse API.") from None
        return events

    def _event(self, name: bytes, data: bytes, events: list[StreamEvent]) -> None:
        match name:
            case b"contentBlockDelta":
                self._begin(data, events)
                event = _delta.decode(data)
                self._deltas(event.content_block_index, event.delta, events)
            case b"contentBlockStart":
                self._begin(data, events)
                begun = _start.decode(data)
                self._block_start(begun.content_block_index, begun.start, events)
            case b"contentBlockStop":
                self._block_stop(_stop.decode(data).content_block_index, events)
            case b"messageStart":
                self._begin(data, events)
            case b"messageStop":
                self._message_stop(_message_stop.decode(data), data, events)
            case b"metadata":
                if (usage := converse_usage(_metadata.decode(data).usage, self._more)) is not None:
                    events.append(UsageReport(usage))
            case _:
                pass  # events that are new

    def _begin(self, data: bytes, events: list[StreamEvent]) -> None:
        if not self._started:
            self._started = True
            events.append(Start(dialect="converse", answer_id=self._answer_id or converse_id(data), model=self._model))

    def _block_start(self, number: int, begun: _Begun, events: list[StreamEvent]) -> None:
        if begun.tool_use is not None and not begun.tool_use.type:
            self._open_block(number, ToolUseBlock(call_id=begun.tool_use.tool_use_id, name=begun.tool_use.name), events)
        elif begun.image is not None:
            self._pending[number] = _Pending(f"image/{begun.image.format}")
        elif begun.tool_use is not None or bytes(begun.tool_result):
            self._ignored.add(number)

    def _open_block(self, number: int, block: Block, events: list[StreamEvent]) -> int:
        index = self._open[number] = self._blocks
        self._blocks += 1
        events.append(BlockStart(index, block))
        return index

    def _deltas(self, number: int, delta: _Delta, events: list[StreamEvent]) -> None:
        if number in self._ignored:
            return
        if delta.text is not None:
            index = self._index(number, TextBlock(""), events)
            if delta.text:
                events.append(Delta(index, "text", delta.text))
        elif delta.tool_use is not None:
            if number not in self._open:
                raise msgspec.DecodeError
            if delta.tool_use.input:
                events.append(Delta(self._open[number], "arguments", delta.tool_use.input))
        elif delta.reasoning_content is not None:
            self._thought(number, delta.reasoning_content, events)
        elif bytes(delta.citation):
            index = self._index(number, TextBlock(""), events)
            if (citation := converse_citation(delta.citation)) is not None:
                events.append(Cited(index, citation))
        elif delta.image is not None:
            self._pending.setdefault(number, _Pending("image/png")).pieces.append(delta.image.source.bytes)

    def _index(self, number: int, block: Block, events: list[StreamEvent]) -> int:
        index = self._open.get(number)
        return self._open_block(number, block, events) if index is None else index

    def _thought(self, number: int, thought: _Reasoning, events: list[StreamEvent]) -> None:
        if thought.redacted_content is not None:
            self._pending.setdefault(number, _Pending()).pieces.append(thought.redacted_content)
            return
        index = self._index(number, ThinkingBlock(origin="messages"), events)
        if thought.text:
            events.append(Delta(index, "thinking", thought.text))
        if thought.signature:
            events.append(Delta(index, "signature", thought.signature))

    def _block_stop(self, number: int, events: list[StreamEvent]) -> None:
        if (pending := self._pending.pop(number, None)) is not None:
            self._open_block(number, pending.block(), events)
        if (index := self._open.pop(number, None)) is not None:
            events.append(BlockStop(index))

    def _message_stop(self, stop: _MessageStop, data: bytes, events: list[StreamEvent]) -> None:
        self._begin(data, events)
        for number in [*self._pending, *self._open]:
            self._block_stop(number, events)
        self._more = read_more(stop.additional_model_response_fields)
        self._stopped = True
        events.append(Stop(converse_stop(stop.stop_reason), self._more.stop_sequence))

    def end(self) -> list[StreamEvent]:
        """The bytes have ended: the answer is whole if it has stopped. Counts may be missing."""
        if self._over or not self._stopped:
            return []
        self._over = True
        return [End()]
