"""A string that does not print itself.

Every key, token and password that enters the process is wrapped in `Secret` at the border (config, environment,
request headers). Whoever needs the text says `.reveal()`, so each use can be found by searching for that word.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, NoReturn, final
from urllib.parse import quote

MASK = "***"


@final
class Secret:
    """An opaque string: `str`, `repr`, `format` show `***`; pickling and JSON encoding are refused.

    Equality and hash work on the text, so an unchanged key is seen as unchanged by a reload.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Never put the result into a log line, an error or an argument list."""
        return self._text

    def fingerprint(self) -> str:
        """Eight hex digits of the text's SHA-256: tells two secrets apart without showing either."""
        return hashlib.sha256(self._text.encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; the config child process has its own channel for it")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


def encoded_forms(text: str) -> Iterator[str]:
    """What hides a text from a search: percent-encoding, and base64 of something that has the text in it, of which as
    much is given as does not depend on the rest."""
    if (quoted := quote(text, safe="")) != text:
        yield quoted
    data = text.encode("utf-8", "replace")
    for before in range(3):
        code = b64encode(bytes(before) + data).decode().rstrip("=")
        whole = code[-(-before * 4 // 3) : (before + len(data)) * 4 // 3]
        yield whole
        if "+" in whole or "/" in whole:
            yield whole.replace("+", "-").replace("/", "_")
