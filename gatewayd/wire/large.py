"""Large bodies, looked through in steps: an event loop that takes them goes on with its requests in between.

The parser that reads JSON at a gigabyte a second holds the interpreter while it does, so a thread would help nobody.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Generator, Iterator
from typing import Final

LARGE: Final = 1024 * 1024
"""Bytes of a body above which it is looked through in steps: below, one look takes a millisecond."""
_STEP: Final = 1024 * 1024
_TURNS: Final = 2000
"""Quotation marks passed over in one step."""


def check_utf8(body: bytes) -> Iterator[None]:
    """Raises UnicodeDecodeError."""
    decoder = getincrementaldecoder("utf-8")()
    for at in range(0, len(body), _STEP):
        decoder.decode(body[at : at + _STEP])
        yield
    decoder.decode(b"", True)


def holds(body: bytes, needle: bytes) -> Generator[None, None, bool]:
    """Whether the needle is in the body, which a search may take 50 ms to deny."""
    for end in range(len(body), 0, -_STEP):
        if body.rfind(needle, max(0, end - _STEP - len(needle)), end) >= 0:
            return True
        yield
    return False


def closes(body: bytes) -> Generator[None, None, bool]:
    """Whether a JSON text closes all that it opens. One that was cut off does not; more is not looked for."""
    at = depth = turns = 0
    inside = False  # of a string
    while at < len(body):
        turns += 1
        if turns % _TURNS == 0:
            yield
        if inside:
            quote = body.find(b'"', at)
            if quote < 0:
                return False
            text = body[at:quote]
            inside = (len(text) - len(text.rstrip(b"\\"))) % 2 == 1  # the quotation mark is escaped
            at = quote + 1
            continue
        quote = body.find(b'"', at, at + _STEP)
        end = quote if quote >= 0 else min(at + _STEP, len(body))
        depth += body.count(b"{", at, end) + body.count(b"[", at, end)
        depth -= body.count(b"}", at, end) + body.count(b"]", at, end)
        inside = quote >= 0
        at = end + inside
        if not inside:
            yield
    return depth == 0 and not inside
