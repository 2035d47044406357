"""What a caller is told about a URL that is not served: what is, what was most likely meant, and where to look."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from gatewayd.config.snapshot import Address
from gatewayd.errors import UnknownRoute
from gatewayd.suggest import nearest
from gatewayd.text import printable

_ON_ADMIN: Final = frozenset({"/metrics", "/status", "/config", "/reload"})
"""Paths of the admin listener that people look for on the data listener."""
_NOT_BUILT: Final = frozenset(
    {
        "files", "batches", "fine_tuning",
        "assistants", "threads", "realtime", "vector_stores", "uploads", "videos", "conversations", "containers",
    }
)  # fmt: skip
"""First parts of paths that OpenAI, Anthropic or LiteLLM serve below `/v1`."""
_SHOWN = 80
_LONGEST = 120


def unknown_url(method: str, path: str, served: Iterable[tuple[str, str]], admin: Address | None) -> UnknownRoute:
    """`served`: methods and paths. `path` has no query, in which keys might be."""
    rows = sorted(set(served), key=lambda row: (row[1], row[0]))
    text = f"There is no such URL here: {printable(method, 20)} {printable(path, _SHOWN)}. "
    if path in _ON_ADMIN:
        where = "is switched off (gatewayd.admin)" if admin is None else f"listens at {admin}"
        text += f"It belongs to the admin listener, which {where}. "
    elif is_known_api(path):
        text += "This gateway does not serve that API itself; gatewayd.pass_through can name a deployment that does. "
    elif (meant := _meant(path, {served for _, served in rows})) is not None:
        text += f"Did you mean {meant}? "
    return UnknownRoute(f"{text}Served are: {', '.join(f'{method} {path}' for method, path in rows)}.")


def is_known_api(path: str) -> bool:
    """Whether OpenAI, Anthropic or LiteLLM serve something there."""
    return path.removeprefix("/v1").lstrip("/").partition("/")[0] in _NOT_BUILT


def _meant(path: str, served: Collection[str]) -> str | None:
    if len(path) > _LONGEST:
        return None
    for ending in sorted(served, key=len, reverse=True):  # too much in front: /api/v1/chat/completions, /v1/v1/...
        if len(ending) > len("/v1/") and path.endswith(ending.removeprefix("/v1")):
            return ending
    return nearest(path, served) or nearest(f"/v1{path}", served)
