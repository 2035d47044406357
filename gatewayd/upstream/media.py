"""Images and files in a caller's messages: which addresses go to the provider as they are, and which are fetched.

litellm fetches addresses by itself where a provider takes none, with bounds that are not ours. So nothing is left for
it to fetch: this module runs first, and `litellm.patches` closes litellm's own way.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.fetch import MAX_FETCH_BYTES, Fetcher, FetchError

_BY_US: Final = frozenset({"bedrock", "gemini", "ollama", "ollama_chat", "vertex_ai"})
"""Providers whose API takes no addresses, or not all of them. Any other is sent them as they are."""
_HOLDERS: Final = frozenset({"audio_url", "document", "file", "image", "image_url", "source", "video_url"})
"""Members of a part that may hold an address."""
_GOOGLES_FILES: Final = "https://generativelanguage.googleapis.com/"
_JPG: Final = re.compile(r"data:image/jpg(?=[;,])", re.IGNORECASE)
_KINDS: Final = ("image/", "audio/", "video/", "text/", "application/pdf", "application/json")
# By the first bytes, for servers that do not say it: https://mimesniff.spec.whatwg.org
_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)
_VERTEX_KNOWS: Final = (".jpg", ".jpeg", ".png", ".webp", ".mp4", ".pdf", ".mp3", ".wav")
"""Endings by which litellm tells Vertex the type of what is at an address; without one it would fetch."""


class Media:
    """How one deployment's provider gets images and files."""

    def __init__(self, deployment: Deployment, fetcher: Fetcher) -> None:
        self._provider = deployment.provider
        self._fetcher = fetcher
        self._is_claude = "claude" in deployment.model
        self._fetches = deployment.provider in _BY_US or deployment.provider == "anthropic"

    async def prepare(self, messages: Any, timeouts: Timeouts) -> bool:
        """Puts what is at addresses into the messages, where the provider takes no addresses. Returns whether anything
        was fetched. Raises InvalidRequest."""
        fetched: dict[str, str] = {}
        left = MAX_FETCH_BYTES
        for place in _places(messages):
            url, found = place.url, None
            if url[:5].lower() == "data:":
                found = _JPG.sub("data:image/jpeg", url, count=1)
            elif self._fetches and self._is_fetched(url, place.kind):
                if url not in fetched:
                    fetched[url], size = await self._fetch(place, timeouts, left)
                    left -= size
                found = fetched[url]
            elif self._provider in ("gemini", "vertex_ai") and url[:5].lower() == "gs://":
                self._check_bucket(place)
            if found is not None and found != url:
                place.put(found)
        return bool(fetched)

    def _is_fetched(self, url: str, kind: str | None) -> bool:
        scheme = url[:8].lower()
        if scheme.startswith("http://"):
            return True
        if scheme != "https://" or self._provider == "anthropic" or url.startswith(_GOOGLES_FILES):
            return False
        if self._provider == "vertex_ai" and not self._is_claude:
            return kind is None and not urlsplit(url).path.lower().endswith(_VERTEX_KNOWS)
        return True

    async def _fetch(self, place: _Place, timeouts: Timeouts, limit: int) -> tuple[str, int]:
        text, kind, size = await fetched_media(
            place.url, place.kind, place.param, self._provider, self._fetcher, timeouts, limit
        )
        return f"data:{kind};base64,{text}", size

    def _check_bucket(self, place: _Place) -> None:
        """litellm would look the type up in the bucket, with the operator's credentials."""
        if place.kind is None and "." not in place.url.rpartition("/")[2]:
            raise _refused("A gs:// address without a file ending needs a 'format', its MIME type.", place.param)


class _Place:
    """Where an address is in a message: `holder[name]`."""

    def __init__(self, param: str, holder: dict[str, Any], name: str) -> None:
        self.param = param
        self.url: str = holder[name]
        self._holder = holder
        self._name = name
        kind = holder.get("format")
        self.kind = kind if isinstance(kind, str) and kind else None
        """The MIME type that the caller gave."""

    def put(self, data: str) -> None:
        """Replaces the address with a data URL."""
        holder = self._holder
        if holder.get("type") == "url":  # a block of Anthropic's
            head, _, content = data.partition(",")
            kind = head.removeprefix("data:").partition(";")[0]
            holder |= {"type": "base64", "media_type": kind, "data": content}
            del holder["url"]
        elif self._name == "file_id":
            holder["file_data"] = holder.pop("file_id") and data
        else:
            holder[self._name] = data


def _places(messages: Any) -> Iterator[_Place]:
    for index, message in enumerate(messages):
        for name in ("content", "images"):
            if isinstance(message.get(name), list):
                yield from _inside(message[name], f"messages[{index}].{name}")


def _inside(parts: list[Any], param: str) -> Iterator[_Place]:
    for part in parts:
        if not isinstance(part, dict):
            continue
        for name, value in part.items():
            if isinstance(value, str) and name in ("image_url", "video_url", "audio_url"):
                yield _Place(param, part, name)
            elif isinstance(value, dict) and name in _HOLDERS:
                for inner in ("url", "file_id", "file_data"):
                    if isinstance(value.get(inner), str):
                        yield _Place(param, value, inner)
        if isinstance(part.get("content"), list):  # a tool's result
            yield from _inside(part["content"], param)


def _sniffed(data: bytes) -> str:
    for signature, kind in _SIGNATURES:
        if signature.match(data):
            return kind
    raise FetchError("its type is not supported by models")


async def fetched_media(
    url: str, kind: str | None, param: str, provider: str, fetcher: Fetcher, timeouts: Timeouts, limit: int
) -> tuple[str, str, int]:
    """What is at an address: in base64, its MIME type (`kind`, if the caller gave one), and its size, which is at most
    `limit`. Raises InvalidRequest."""
    try:
        if limit <= 0:
            raise FetchError("the media of the call are larger than 20 MB in total")
        data, found = await fetcher.get(url, timeouts, limit)
        kind = kind or (found if found.startswith(_KINDS) else _sniffed(data))
    except FetchError as error:
        raise _refused(
            f"{provider} does not accept this address, and the gateway could not fetch it: {error}. It fetches only "
            "from public https addresses, and at most 20 MB for a call.",
            param,
        ) from None
    text = await asyncio.to_thread(lambda: base64.b64encode(data).decode("ascii"))
    return text, "image/jpeg" if kind == "image/jpg" else kind, len(data)


def _refused(message: str, param: str) -> InvalidRequest:
    error = InvalidRequest(message, param=param)
    error.verdict = Verdict.ELSEWHERE  # another provider may take it
    error.blames_deployment = False
    return error
