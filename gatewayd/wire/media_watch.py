"""Watches streams of images, speech and transcripts: OpenAI's endpoints whose streams end without an end mark."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.sse_decoder import Event

_RESULT: Final = re.compile(rb'"type"\s*:\s*"[a-z_.]+\.(completed|done)"')
_NEAR: Final = 1024
"""Bytes of an event in which its type is looked for."""


class MediaWatcher(StreamWatcher):
    """See `StreamWatcher`. A stream is whole if it ends behind an event that is a result: `image_generation.completed`,
    `transcript.text.done`. There may be several, and `[DONE]` ends a stream as well. `choices` is of no use here."""

    __slots__ = ("_has_result",)

    def __init__(self, *, choices: int = 0, whole: bool = False, hides: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(whole=whole, hides=hides)
        self._has_result = False

    def feed(self, data: bytes) -> bytes:
        return self._scan(data)

    def end(self) -> bytes | None:
        missing = super().end()
        if missing is None and self._has_result and self._between and self.error is None:
            self.done = True
            return b""
        return missing

    def _is_last(self, event: Event) -> bool:
        if super()._is_last(event):
            return True
        type, data = event.type, event.data
        if type:
            self._has_result = type.endswith((b".completed", b".done"))
        else:  # one that is too large to look into is most likely the result
            self._has_result = data is None or _RESULT.search(data, 0, _NEAR) is not None
        return False
