"""Message heads that a parser has read before: the same bytes will be read the same way again (RFC 9112).

Clients and upstreams send the same head over and over, but for the digits of Content-Length. Whoever has had a head
parsed by a real parser may remember what came of it under the head's bytes without those digits. Only heads that came
together with exactly the body they announce are ever looked up, so that what follows them is known to be no part of
something else. Nothing here parses: a head that was not remembered is the parser's business.
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: (\d{1,9})\r\n")
_END: Final = b"\r\n\r\n"

Known = TypeVar("Known")


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


class Heads(dict[bytes, Known], Generic[Known]):
    """What became of heads, by their key. Bounded: they are other people's to choose."""

    MOST: Final = 1024
    LONGEST: Final = 4096
    """Bytes of a head."""

    def remember(self, key: bytes, known: Known) -> None:
        if len(key) > self.LONGEST:
            return
        if len(self) >= self.MOST:
            self.clear()
        self[key] = known
