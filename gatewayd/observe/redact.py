"""The second defence of secrets in what is logged, `Secret` being the first: known texts are replaced."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

_SHORTEST_SECRET = 8
"""Anything shorter would be found inside ordinary words."""
_FEW = 32
"""Up to so many secrets are searched for one by one; beyond, by the beginnings they share with the text."""
_MASK = "***"


class Redactor:
    """Replaces known secrets in finished text, also in the form that JSON gives them."""

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()
        self._by_beginning: dict[str, list[str]] = {}

    def know(self, secrets: Iterable[str]) -> None:
        """Adds secrets. None is ever forgotten: a line about an old key can come late."""
        known = set(self._texts)
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                known.add(secret)
                known.add(msgspec.json.encode(secret.encode("utf-8", "replace").decode()).decode()[1:-1])
        texts = tuple(sorted(known, key=len, reverse=True))
        by_beginning: dict[str, list[str]] = {}
        if len(texts) > _FEW:
            for text in texts:
                by_beginning.setdefault(text[:_SHORTEST_SECRET], []).append(text)
        self._texts, self._by_beginning = texts, by_beginning  # at once: a line may be cleaned in another thread

    def clean(self, text: str) -> str:
        """The text with every known secret replaced; costs little when there is none in it, however many are known."""
        if not self._by_beginning:
            for secret in self._texts:
                if secret in text:
                    text = text.replace(secret, _MASK)
            return text
        found = {text[at : at + _SHORTEST_SECRET] for at in range(len(text) - _SHORTEST_SECRET + 1)}
        candidates = [secret for beginning in found for secret in self._by_beginning.get(beginning, ())]
        for secret in sorted(candidates, key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text
