"""A deployment's secrets, kept out of what its upstream sends back: errors and header values.

An upstream may repeat a key as it is, or as JSON, base64 or a URL write it. Looked for in errors and in the few header
values that are relayed and long enough, never in answers and events that are good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from gatewayd.secret import MASK, Secret, encoded_forms
from gatewayd.wire.headers import Header, client_headers

_SHORTEST: Final = 8
"""Characters; shorter secrets would be found in innocent words."""
_LEVELS: Final = 3
"""JSON inside of a string inside of JSON is as deep as errors are nested."""
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_PLAIN: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


class Secrets:
    """What must not pass, in any form."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._secrets = tuple(secrets)

    @cached_property
    def _forms(self) -> tuple[bytes, ...]:
        """Worked out when an answer needs them: a configuration may have ten thousand keys."""
        texts = {part for secret in self._secrets for part in _parts(secret.reveal())}
        known = {form for text in texts if len(text) >= _SHORTEST for form in (text, *encoded_forms(text))}
        return tuple(form.encode("utf-8", "replace") for form in known)

    def found_in(self, text: bytes) -> bool:
        """Whether one of them is in the text, however often that was quoted as JSON."""
        for _ in range(_LEVELS):
            if any(form in text for form in self._forms):
                return True
            if b"\\" not in text:
                break
            text = _ESCAPE.sub(_unescaped, text)
        return any(form in text for form in self._forms)

    def relayed(self, fields: Mapping[bytes, bytes]) -> list[Header]:
        """What of an upstream's header fields goes to the client; a value with a secret in it is replaced."""
        return [
            (name, MASK) if len(value) >= _SHORTEST and self.found_in(value.encode()) else (name, value)
            for name, value in client_headers(fields)
        ]


NONE: Final = Secrets()


def _parts(text: str) -> set[str]:
    """A header's value may be a scheme and the key: the key alone is as secret as both."""
    return {text, text.split()[-1]} if text.strip() else set()


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return chr(int(match[1], 16)).encode("utf-8", "replace")
    return _PLAIN.get(match[2], match[2])
