"""The events of a streamed answer, and the machines that read and write them.

Part of the neutral form: `gatewayd.wire.conversation` says what holds for it.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

from gatewayd.wire.blocks import Block, Citation, DialectName, Extra, Json
from gatewayd.wire.conversation import StopReason, TokenUsage

DeltaKind = Literal[
    "text", "thinking", "summary", "signature", "encrypted", "arguments", "refusal", "audio", "transcript"
]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first event of an answer."""

    dialect: DialectName
    answer_id: str
    model: str
    created: int | None = None
    usage: TokenUsage | None = None
    """What is known at the start: Anthropic says the input."""
    service_tier: str | None = None
    extra: Extra = {}


class BlockStart(msgspec.Struct, frozen=True):
    """A block begins. `index` counts the blocks of a choice from 0, in the order in which they begin.

    Blocks may overlap (parallel calls in chat). Every block that begins is stopped before the choice stops.
    """

    index: int
    block: Block
    """What is known already: ids and names, normally no text. A block that comes whole has no deltas."""
    choice: int = 0


class Delta(msgspec.Struct, frozen=True):
    """A piece of the block `index`. Pieces of one kind are concatenated."""

    index: int
    kind: DeltaKind
    text: str
    choice: int = 0
    part: int = 0
    """Which part of a summary."""
    logprobs: Json | None = None


class Cited(msgspec.Struct, frozen=True):
    """A citation for the text block `index`."""

    index: int
    citation: Citation
    choice: int = 0


class BlockStop(msgspec.Struct, frozen=True):
    index: int
    choice: int = 0


class UsageReport(msgspec.Struct, frozen=True):
    """Counts so far: the last one counts. Comes after `Start` and before `End`, perhaps after `Stop`."""

    usage: TokenUsage


class Stop(msgspec.Struct, frozen=True):
    """A choice ends."""

    reason: StopReason
    sequence: str | None = None
    choice: int = 0
    extra: Extra = {}


class End(msgspec.Struct, frozen=True):
    """The stream is whole. Nothing follows."""


class StreamError(msgspec.Struct, frozen=True, kw_only=True):
    """An error, as the provider reported it. Nothing follows. Also what an error body is read into."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    """The HTTP status that the type or code stands for, where that is known."""


class Ping(msgspec.Struct, frozen=True):
    """A sign of life."""


StreamEvent: TypeAlias = Start | BlockStart | Delta | Cited | BlockStop | UsageReport | Stop | End | StreamError | Ping


class Reader(Protocol):
    """A provider's stream as events. Pure: it is fed what `sse_decoder` made of the bytes."""

    def feed(self, name: bytes, data: bytes) -> list[StreamEvent]:
        """One server-sent event: its `event:` field, or b"", and its data.

        Raises UpstreamBadResponse for data that is not of this dialect.
        """

    def end(self) -> list[StreamEvent]:
        """What the end of the bytes means: closing events with `End` if the answer is whole, else nothing.

        A stream that has had neither `End` nor `StreamError` when this has returned was cut.
        """


class Writer(Protocol):
    """Events as a stream for a caller: each piece is one whole server-sent event, ready to send.

    The end mark comes for `End` only, never after an error.
    """

    def feed(self, event: StreamEvent) -> list[bytes]: ...

    def error(self, error: StreamError) -> bytes:
        """The event that ends a stream that broke. `feed` does the same for a `StreamError`."""
