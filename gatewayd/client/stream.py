"""Reads a streamed chat answer as pieces of text, without the SDK's `Stream`.

The SDK treats the end of the connection as the end of the answer, so a stream that was cut looks like a short one. Here
only `[DONE]` is a good end.

This module and its imports need the standard library only, so that a program that attaches to a daemon needs no more
than the `openai` package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gatewayd.wire.sse_decoder import Decoder

_MAX_EVENT = 64 * 1024 * 1024


class BrokenStream(Exception):
    """The stream says that it failed (`body` is its error object) or says what nobody can read (`body` is None)."""

    def __init__(self, message: str, body: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.body = body


class TextStream:
    """Bytes in, text out; any chunking of the same bytes gives the same text."""

    def __init__(self) -> None:
        self.done = False
        """Whether `[DONE]` came. Nothing is read after it."""
        self._decoder = Decoder(_MAX_EVENT)

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The pieces of text that `chunk` completes. Raises BrokenStream."""
        for event in () if self.done else self._decoder.feed(chunk):
            if event.data is None:
                raise BrokenStream(f"The stream holds an event of more than {_MAX_EVENT} bytes.")
            if text := self._event(event.data):
                yield text
            if self.done:
                return

    def end(self) -> bool:
        """Whether the stream may end here. The end mark may lack its line ends."""
        data, line = self._decoder.pending
        return self.done or (data + line.removeprefix(b"data:")).strip() == b"[DONE]"

    def _event(self, data: bytes) -> str:
        if data.strip() == b"[DONE]":
            self.done = True
            return ""
        try:
            value = json.loads(data)
        except ValueError:
            raise BrokenStream("The stream has an event that is not JSON.") from None
        if not isinstance(value, dict):
            raise BrokenStream("The stream has an event that is not an object.")
        if error := value.get("error"):
            message = error.get("message") if isinstance(error, dict) else None
            raise BrokenStream(str(message or "The upstream failed in the middle of the stream."), error)
        return _text(value)


def _text(chunk: dict[str, Any]) -> str:
    """The text a `chat.completion.chunk` adds to the first choice."""
    for choice in chunk.get("choices") or ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return text_of((choice.get("delta") or {}).get("content"))
    return ""


def text_of(content: Any) -> str:
    """The text in the `content` of a message or of a delta. Mistral's models that reason give a list of parts, of which
    those of the type `thinking` are no part of the answer."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""
