"""The second defence of secrets in what is logged, `Secret` being the first: known texts are replaced."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from gatewayd.observe.escape import escape, escape_json
from gatewayd.secret import MASK, encoded_forms

_SHORTEST_SECRET = 8
"""Anything shorter would be found inside ordinary words."""
_FEW = 128
"""Up to so many secrets are searched for one by one; beyond, by the beginnings they share with the text."""


class Redactor:
    """Replaces known secrets in finished text, in whatever form a log line gives them."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._few: tuple[str, ...] | None = ()
        """All of them, the longest first, while they are few."""
        self._by_beginning: dict[str, list[str]] = {}

    def know(self, secrets: Iterable[str]) -> None:
        """Adds secrets; costs what is new. None is ever forgotten: a line about an old key can come late.

        A line may be cleaned in another thread meanwhile.
        """
        for secret in secrets:
            encoded = encoded_forms(secret) if len(self._known) < _FEW else ()  # of ten thousand keys it takes long
            for text in (*_forms(secret), *encoded):
                if len(text) >= _SHORTEST_SECRET and text not in self._known:
                    self._known.add(text)
                    self._by_beginning.setdefault(text[:_SHORTEST_SECRET], []).append(text)
        few = len(self._known) <= _FEW
        self._few = tuple(sorted(self._known, key=len, reverse=True)) if few else None

    def clean(self, text: str) -> str:
        """The text with every known secret replaced; costs little when there is none in it, however many are known."""
        if self._few is not None:
            for secret in self._few:
                if secret in text:
                    text = text.replace(secret, MASK)
            return text
        found = {text[at : at + _SHORTEST_SECRET] for at in range(len(text) - _SHORTEST_SECRET + 1)}
        candidates = [secret for beginning in found for secret in self._by_beginning.get(beginning, ())]
        for secret in sorted(candidates, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text


def _forms(secret: str) -> Iterator[str]:
    """How it may stand in a line: as it is, or as Python or JSON quote it, or line by line; and then as the line's own
    format quotes that. A key made of letters has one form."""
    yield secret
    if secret.isascii() and secret.isprintable() and not _QUOTED & set(secret):
        return
    lines = (line.strip() for line in secret.split("\n"))  # an indent alone is no secret
    for text in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], _json(secret), *lines}:
        inner = _json(text)
        yield from (text, escape(text), inner, escape(inner), escape_json(inner), json.dumps(text)[1:-1])


_QUOTED = frozenset("\\\"'")


def _json(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()[1:-1]
