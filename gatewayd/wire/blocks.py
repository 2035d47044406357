"""The blocks and turns of a conversation.

Part of the neutral form: `gatewayd.wire.conversation` says what holds for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Json: TypeAlias = msgspec.Raw
"""A JSON value as it came, in valid UTF-8."""
Extra: TypeAlias = Mapping[str, Json]
DialectName = Literal["chat", "responses", "messages", "gemini", "converse"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model should think, in order."""
ToolKind = Literal["function", "custom"]
"""Whether a tool is called with a JSON object, or with free text."""


class CacheMark(msgspec.Struct, frozen=True):
    """A prompt cache ends behind the object that has this mark."""

    ttl: str | None = None
    """How long it is kept: `5m`, `1h`."""
    extra: Extra = {}


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a piece of text comes from. `start` and `end` are positions in the answer's text."""

    url: str | None = None
    title: str | None = None
    cited: str | None = None
    """The words of the source."""
    start: int | None = None
    end: int | None = None
    extra: Extra = {}


class TextBlock(msgspec.Struct, frozen=True):
    text: str
    cache: CacheMark | None = None
    citations: tuple[Citation, ...] = ()
    signature: str | None = None
    """Gemini signs text parts too."""
    extra: Extra = {}


class ImageBlock(msgspec.Struct, frozen=True, kw_only=True):
    """An image: exactly one of `url`, `data` and `file_id` is set."""

    url: str | None = None
    """http(s), or gs:// and s3://. A data URL is split into `data` and `media_type`."""
    data: str | None = None
    """Base64."""
    media_type: str | None = None
    file_id: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None
    extra: Extra = {}


class AudioBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Sound: `data`, or the `audio_id` of an earlier answer."""

    data: str | None = None
    """Base64."""
    media_type: str | None = None
    """`audio/wav`, `audio/mp3`, ..."""
    audio_id: str | None = None
    transcript: str | None = None
    cache: CacheMark | None = None
    extra: Extra = {}


class FileBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A document, or a video: exactly one of `url`, `data`, `text` and `file_id` is set."""

    url: str | None = None
    data: str | None = None
    """Base64."""
    text: str | None = None
    """A document that is plain text, as it is."""
    media_type: str | None = None
    file_id: str | None = None
    name: str | None = None
    """The file's name, or the document's title."""
    context: str | None = None
    """What the caller says about the document."""
    cite: bool | None = None
    """Whether the answer should cite it."""
    cache: CacheMark | None = None
    extra: Extra = {}


class ThinkingBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What a model thought, in words, with the proof that it was this model. A provider refuses another's signature."""

    text: str = ""
    """The thoughts themselves; empty where a provider shows none of them."""
    summary: tuple[str, ...] = ()
    """Parts of a summary, where a provider separates it from the thoughts."""
    signature: str | None = None
    """Anthropic's and Gemini's proof."""
    encrypted: str | None = None
    """OpenAI's `encrypted_content`."""
    item_id: str | None = None
    """The id of a reasoning item of the responses dialect."""
    origin: DialectName | None = None
    """The dialect whose providers accept `signature` or `encrypted`; None if that is not known."""
    extra: Extra = {}


class RedactedThinkingBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Thoughts that only the provider can read."""

    data: str
    origin: DialectName | None = None
    extra: Extra = {}


class ToolUseBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool by the model."""

    call_id: str
    """What the result refers to; empty where a dialect has no ids, then `name` and the order tell."""
    name: str
    arguments: str = ""
    """The JSON text exactly as the model wrote it, perhaps empty or invalid; free text for a custom tool."""
    kind: ToolKind = "function"
    namespace: str | None = None
    item_id: str | None = None
    """The id of the item itself, in the responses dialect."""
    signature: str | None = None
    """Gemini's thought signature, which may sit on a call."""
    cache: CacheMark | None = None
    extra: Extra = {}


class ToolResultBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave back. Always in a turn of the user, whatever role a dialect gives it."""

    call_id: str
    blocks: tuple[Block, ...] = ()
    is_error: bool | None = None
    name: str | None = None
    """Of the tool; where a dialect does not say it, look it up by `call_id`."""
    kind: ToolKind = "function"
    item_id: str | None = None
    cache: CacheMark | None = None
    extra: Extra = {}


class RefusalBlock(msgspec.Struct, frozen=True):
    """The model's own words about why it does not answer."""

    text: str
    extra: Extra = {}


class RawBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block that only its own dialect knows, whole: calls of server tools and their results, and what is new."""

    dialect: DialectName
    type: str
    raw: Json


Block: TypeAlias = (
    TextBlock
    | ImageBlock
    | AudioBlock
    | FileBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | RefusalBlock
    | RawBlock
)

Role = Literal["system", "developer", "user", "assistant"]


class Turn(msgspec.Struct, frozen=True):
    """One message. Turns of one role may follow each other, and a system turn may stand anywhere."""

    role: Role
    blocks: tuple[Block, ...]
    name: str | None = None
    extra: Extra = {}
