"""Images and files at addresses, for requests that are converted: sent as addresses, or fetched (see `media`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.fetch import MAX_FETCH_BYTES, Fetcher
from gatewayd.upstream.media import fetched_media
from gatewayd.wire.conversation import Block, FileBlock, ImageBlock, Request, ToolResultBlock

_TAKEN: Final = {
    "messages": ("https://",),
    "gemini": ("gs://", "https://generativelanguage.googleapis.com/", "https://www.youtube.com/", "https://youtu.be/"),
    "converse": ("s3://",),
}
"""How addresses begin that an API takes. The APIs that are not listed take all."""
_JPG: Final = "image/jpg"
_JPEG: Final = "image/jpeg"


class InlineMedia:
    """What one request has at addresses that its target does not take."""

    def __init__(self, dialect: str, provider: str, fetcher: Fetcher, timeouts: Timeouts) -> None:
        self._taken = _TAKEN.get(dialect)
        self._provider = provider
        self._fetcher = fetcher
        self._timeouts = timeouts
        self._left = MAX_FETCH_BYTES
        self._found: dict[str, tuple[str, str]] = {}

    async def put_in(self, request: Request) -> Request:
        """The request with the bytes in place of the addresses. Raises InvalidRequest."""
        turns = list(request.turns)
        for at, turn in enumerate(turns):
            if self._concerns(turn.blocks):
                blocks = await self._all(turn.blocks, f"messages[{at}].content")
                turns[at] = msgspec.structs.replace(turn, blocks=blocks)
        return msgspec.structs.replace(request, turns=tuple(turns))

    def concerns(self, request: Request) -> bool:
        """Whether there is anything to do."""
        return any(self._concerns(turn.blocks) for turn in request.turns)

    def _concerns(self, blocks: Sequence[Block]) -> bool:
        for block in blocks:
            if isinstance(block, ImageBlock | FileBlock):
                if block.media_type == _JPG or self._is_fetched(block.url):
                    return True
            elif isinstance(block, ToolResultBlock) and self._concerns(block.blocks):
                return True
        return False

    async def _all(self, blocks: Sequence[Block], param: str) -> tuple[Block, ...]:
        return tuple([await self._one(block, param) for block in blocks])

    async def _one(self, block: Block, param: str) -> Block:
        if isinstance(block, ToolResultBlock):
            return msgspec.structs.replace(block, blocks=await self._all(block.blocks, param))
        if not isinstance(block, ImageBlock | FileBlock):
            return block
        if block.media_type == _JPG:
            block = msgspec.structs.replace(block, media_type=_JPEG)
        url = block.url
        if url is None or not self._is_fetched(url):
            return block
        if url not in self._found:
            data, kind, size = await fetched_media(
                url, block.media_type, param, self._provider, self._fetcher, self._timeouts, self._left
            )
            self._left -= size
            self._found[url] = data, kind
        data, kind = self._found[url]
        return msgspec.structs.replace(block, url=None, data=data, media_type=kind)

    def _is_fetched(self, url: str | None) -> bool:
        if url is None or self._taken is None:
            return False
        start = url[:80].lower()
        return start.startswith(("http://", "https://")) and not start.startswith(self._taken)
