"""A streamed chat answer as pieces of text: the events of the wire, read without the SDK's `Stream`.

The SDK takes the end of the connection for the end of the answer, so a stream that was cut looks like a short one. Here
only `[DONE]` ends a stream well. Grammar: WHATWG HTML, 9.2.6 "Interpreting an event stream".

It needs the standard library only (gatewayd.wire does not), so that a process that merely attaches to a daemon needs no
more than the `openai` package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_LINE_END = re.compile(rb"\r\n|\n|\r")


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
        self._rest = b""
        self._cr = False  # the last byte was a CR: an LF that follows it belongs to the same line end
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The pieces of text that `chunk` completes. Raises BrokenStream."""
        if chunk:
            fresh = chunk.removeprefix(b"\n") if self._cr else chunk
            self._cr = chunk.endswith(b"\r")
            *lines, self._rest = _LINE_END.split(self._rest + fresh)
            yield from self._read(lines)

    def end(self) -> bool:
        """The bytes have ended: whether that is a good end. The end mark may lack its line ends."""
        line = self._rest.removeprefix(b"data:")
        return self.done or b"".join([*self._data, line]).strip() == b"[DONE]"

    def _read(self, lines: list[bytes]) -> Iterator[str]:
        for line in lines:
            if self.done:
                return
            if line:
                name, _, value = line.partition(b":")
                if name in (b"data", b"\xef\xbb\xbfdata"):  # the first line may begin with a byte order mark
                    self._data.append(value.removeprefix(b" "))
            elif self._data:
                data = b"\n".join(self._data)
                self._data = []
                if text := self._event(data):
                    yield text

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
