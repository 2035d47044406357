"""Which texts can be the base URL of an API."""

from __future__ import annotations

from urllib.parse import urlsplit


def url_problem(text: str) -> str | None:
    """Why a text cannot be a base URL, or None if it can. The answer does not repeat the text."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "this is not an address: host or port cannot be read"
    if parts.scheme not in ("http", "https"):
        return "an address must begin with https:// or http://"
    if not parts.hostname or port == 0:
        return "the address has no host"
    if any(char.isspace() or not char.isprintable() or char in '"<>\\^`{|}' for char in text):
        return "the address has a character that is not allowed in a URL"
    if parts.username is not None or parts.password is not None:
        return "the address contains a user name or password; use api_key or extra_headers"
    if parts.fragment:
        return "the address ends in a fragment (#...)"
    return None
