"""Images, sound and files as Gemini's parts. Part of `gatewayd.wire.gemini`."""

from __future__ import annotations

from typing import Any, Final

from gatewayd.wire.blocks import AudioBlock, FileBlock, ImageBlock

_DEFAULTS: Final = {ImageBlock: "image/png", AudioBlock: "audio/wav", FileBlock: "application/pdf"}
_TYPES: Final = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown",
    "csv": "text/csv", "html": "text/html", "json": "application/json", "mp3": "audio/mp3", "wav": "audio/wav",
    "flac": "audio/flac", "ogg": "audio/ogg", "m4a": "audio/m4a", "mp4": "video/mp4", "mov": "video/quicktime",
    "webm": "video/webm", "mpeg": "video/mpeg", "mpg": "video/mpg", "avi": "video/avi", "wmv": "video/wmv",
}  # fmt: skip
_ALIASES: Final = {"image/jpg": "image/jpeg", "audio/mpeg": "audio/mp3", "audio/x-wav": "audio/wav"}
_HELD: Final = "https://generativelanguage.googleapis.com/"
"""Where files lie that were uploaded to Google: it knows their types."""


def media_part(block: ImageBlock | AudioBlock | FileBlock) -> list[dict[str, Any]] | None:
    """The parts for a block; None for one that refers to what Gemini does not have."""
    if isinstance(block, AudioBlock):
        if block.data is None:
            return None if not block.transcript else [{"text": block.transcript}]
        return [_inline(block.data, block.media_type or _DEFAULTS[AudioBlock])]
    before: list[dict[str, Any]] = []
    if isinstance(block, FileBlock):
        if block.context:
            before.append({"text": block.context})
        if block.text is not None:
            return [*before, {"text": block.text}]
    if block.data is not None:
        found = block.media_type or _guessed(block.name if isinstance(block, FileBlock) else None)
        return [*before, _inline(block.data, found or _DEFAULTS[type(block)])]
    url = block.url or block.file_id
    if url is None or not url.startswith(("http://", "https://", "gs://")):
        return None
    media_type = block.media_type or (None if url.startswith(_HELD) else _guessed(url.partition("?")[0]))
    data = {"fileUri": url}
    if media_type is not None:
        data["mimeType"] = _ALIASES.get(media_type, media_type)
    return [*before, {"fileData": data}]


def _inline(data: str, media_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": _ALIASES.get(media_type, media_type), "data": data}}


def _guessed(name: str | None) -> str | None:
    return _TYPES.get((name or "").rpartition(".")[2].lower())
