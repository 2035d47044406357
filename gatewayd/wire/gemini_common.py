"""The common answer of the Gemini API, and the common chunk of its streams: text and thoughts, and nothing that needs a
closer look. It is decoded in one step. Part of `gatewayd.wire.gemini`."""

from __future__ import annotations

from typing import Final

import msgspec

from gatewayd.wire.blocks import Block, Json, TextBlock, ThinkingBlock

_ABSENT: Final = msgspec.Raw()


class CommonPart(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    text: str
    thought: bool = False
    thought_signature: str | None = None

    @property
    def block(self) -> Block:
        if self.thought:
            return ThinkingBlock(text=self.text, signature=self.thought_signature, origin="gemini")
        return TextBlock(self.text, signature=self.thought_signature)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[CommonPart]
    role: str = ""


class CommonCandidate(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    content: _Content
    index: int | None = None
    finish_reason: str | None = None
    safety_ratings: Json = _ABSENT
    avg_logprobs: Json = _ABSENT

    @property
    def extra(self) -> dict[str, Json]:
        found = {"safetyRatings": self.safety_ratings, "avgLogprobs": self.avg_logprobs}
        return {name: raw for name, raw in found.items() if bytes(raw)}


class CommonAnswer(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    candidates: list[CommonCandidate]
    usage_metadata: Json = _ABSENT
    model_version: str = ""
    response_id: str = ""
    create_time: Json = _ABSENT


_decoder: Final = msgspec.json.Decoder(CommonAnswer)


def read_common(data: bytes) -> CommonAnswer | None:
    """None for an answer that is another one, or none at all."""
    try:
        found = _decoder.decode(data)
        if not data.isascii():
            data.decode()  # what stays as it is has not been looked into
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.candidates else None
