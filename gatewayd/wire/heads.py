"""Message heads that a parser has read before: the same bytes will be read the same way again (RFC 9112).

Clients and upstreams send the same head over and over. Only the digits of Content-Length differ, and in clients' heads
a few values that name the single request (`VARYING`). A head that a real parser has read is remembered under its bytes
without these. Only heads that came together with exactly the body they announce are ever looked up, so that what
follows them is known to be no part of something else. Nothing here parses: a head that is not remembered goes to the
parser.
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: (\d{1,9})\r\n")
_END: Final = b"\r\n\r\n"

VARYING: Final = (
    "baggage",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "x-client-request-id",
    "x-request-id",
    "x-stainless-retry-count",
)
"""Fields that name one request, not the client: trace context (W3C), ids, the retry counter of OpenAI's SDKs. Nothing
here decides by their values. Names in lower case."""

# A value that every parser takes as it is: one line of visible ASCII, blanks only inside. The rest stays in the key.
_VALUES: Final = re.compile(
    rb"\r\n((?i:" + b"|".join(name.encode() for name in VARYING) + rb")): ([!-~](?:[ -~]{0,254}[!-~])?)(?=\r\n[^ \t])"
)
_HOLE: Final = b"\0"
"""Stands for a value in the key; no head that a parser accepts has this byte."""


def split(data: bytes) -> tuple[bytes, int, int] | None:
    """The key of the head that `data` begins with, where its body begins, and how many bytes that has.

    None if the head is not complete or does not announce a body's length in the usual way.
    """
    at = data.find(_END) + 4
    length = _LENGTH.search(data, 0, at)
    if length is None:
        return None
    begin, end = length.span(1)
    return data[:begin] + data[end:at], at, int(data[begin:end])


def without_values(key: bytes) -> tuple[bytes, dict[str, str]] | None:
    """The key of a head without its `VARYING` values, and these by name (in lower case).

    None if it has no such field, or one of them twice.
    """
    values: dict[str, str] = {}
    pieces: list[bytes] = []
    at = 0
    for found in _VALUES.finditer(key):
        name = found[1].decode("ascii").lower()
        if name in values:
            return None
        values[name] = found[2].decode("ascii")
        begin, end = found.span(2)
        pieces += (key[at:begin], _HOLE)
        at = end
    if not values:
        return None
    return b"".join((*pieces, key[at:])), values


Known = TypeVar("Known")


class HeadCache(dict[bytes, Known], Generic[Known]):
    """What is known of heads, by their key. Bounded, because others choose the keys: the oldest goes first, one at a
    time. A head that is still in use then costs its sender one more parse."""

    LONGEST: Final = 4096
    """Bytes of a head."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of all keys together; a usual head has 500."""
        super().__init__()
        self._most_bytes = most_bytes
        self._bytes = 0

    def remember(self, key: bytes, known: Known) -> None:
        if len(key) > self.LONGEST:
            return
        if key not in self:
            self._bytes += len(key)
        self[key] = known
        while self._bytes > self._most_bytes:
            oldest = next(iter(self))
            del self[oldest]
            self._bytes -= len(oldest)
