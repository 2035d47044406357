"""Text that others chose, made safe for a message."""

from __future__ import annotations


def printable(text: str, limit: int | None = 120) -> str:
    """Escapes control characters and invalid characters. Cuts the text after `limit` characters."""
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}..."
    return text if text.isprintable() else ascii(text)[1:-1]
