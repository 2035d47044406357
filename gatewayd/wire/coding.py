"""Content codings (RFC 9110, 8.4) of answers that should have come without one, decoded within bounds.

The gateway asks for `identity`. Some upstreams, and proxies before them, compress all the same.
"""

from __future__ import annotations

import zlib
from typing import Final

_KNOWN: Final = (b"gzip", b"x-gzip", b"deflate")
_MAX_MEMBERS: Final = 64
_EITHER: Final = 32 + zlib.MAX_WBITS  # gzip or zlib, told by the first bytes


class CodingError(Exception):
    """The bytes are not what the coding promises, or more comes out of them than is allowed."""


def is_identity(coding: bytes | None) -> bool:
    """Whether a `content-encoding` value means that there is nothing to decode."""
    return coding is None or coding.strip().lower() in (b"", b"identity")


class Inflater:
    """Decodes gzip and deflate step by step. One step gives at most `limit` bytes."""

    def __init__(self, coding: bytes, limit: int) -> None:
        """Raises CodingError for a coding that is not known."""
        if coding.strip().lower() not in _KNOWN:
            raise CodingError("unknown content coding")
        self._limit = limit
        self._zlib = zlib.decompressobj(_EITHER)
        self._members = 1
        self._begun = False

    @property
    def complete(self) -> bool:
        """Whether the bytes so far end where the coding says they may."""
        return self._zlib.eof or not self._begun

    def feed(self, data: bytes) -> bytes:
        """Raises CodingError."""
        out: list[bytes] = []
        room = self._limit
        try:
            while data:
                if self._zlib.eof:  # the next member of a gzip file (RFC 1952, 2.2)
                    self._members += 1
                    if self._members > _MAX_MEMBERS:
                        raise CodingError("too many gzip members")
                    self._zlib = zlib.decompressobj(_EITHER)
                self._begun = True
                piece = self._zlib.decompress(data, room + 1)
                room -= len(piece)
                if room < 0:
                    raise CodingError("more comes out than is allowed")
                out.append(piece)
                data = self._zlib.unused_data
        except zlib.error:
            raise CodingError("damaged content coding") from None
        return b"".join(out)


def decoded(body: bytes, coding: bytes, limit: int) -> bytes:
    """A whole body without its coding, at most `limit` bytes. Raises CodingError, also for a truncated body."""
    inflater = Inflater(coding, limit)
    plain = inflater.feed(body)
    if not inflater.complete:
        raise CodingError("truncated content coding")
    return plain
