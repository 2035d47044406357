"""Decodes AWS event streams (application/vnd.amazon.eventstream) incrementally. Needs the standard library only.

A frame is: total length, length of its headers, CRC of these two (12 bytes, big-endian), the headers, the payload, and
a CRC of everything before it. Any split of the same bytes gives the same frames.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

MAX_FRAME: Final = 16 * 1024 * 1024
"""Bytes of one frame. A frame that announces more is refused before any of it is kept."""
MAX_FRAME_HEADERS: Final = 128 * 1024

HeaderValue = bool | int | str | bytes | UUID

_PRELUDE: Final = struct.Struct("!III")
_CRC: Final = struct.Struct("!I")
_SMALLEST: Final = _PRELUDE.size + _CRC.size
_FIXED: Final = {2: struct.Struct("!b"), 3: struct.Struct("!h"), 4: struct.Struct("!i"), 5: struct.Struct("!q")}
_TIMESTAMP, _UUID, _BYTES, _TEXT = 8, 9, 6, 7


class BadFrame(Exception):
    """The bytes are no event stream, or a frame is damaged or too large."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of an event stream."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    def header(self, name: str) -> str:
        """A header that is a string; empty if it is absent or of another type."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class FrameDecoder:
    """Bytes in, frames out. Keeps at most one unfinished frame."""

    __slots__ = ("_block", "_buffer", "_headers", "_limit", "_total")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._total = 0  # length of the frame in flight; 0: its prelude is not complete
        self._block = b""  # the headers of the last frame: mostly the next ones are the same
        self._headers: dict[str, HeaderValue] = {}

    @property
    def between(self) -> bool:
        """Whether the bytes so far end with a whole frame."""
        return not self._buffer

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises BadFrame; after that the stream cannot be read any further."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at = 0
        while True:
            here = len(buffer) - at
            if not self._total:
                if here < _PRELUDE.size:
                    break
                self._total = self._length(buffer, at)
            if here < self._total:
                break
            frames.append(self._frame(bytes(buffer[at : at + self._total])))
            at += self._total
            self._total = 0
        del buffer[:at]
        return frames

    def _length(self, buffer: bytearray, at: int) -> int:
        total, headers, crc = _PRELUDE.unpack_from(buffer, at)
        if zlib.crc32(buffer[at : at + 8]) != crc:
            raise BadFrame("the checksum of a frame's prelude is wrong")
        if total > self._limit:
            raise BadFrame(f"a frame has more than {self._limit} bytes")
        if headers > MAX_FRAME_HEADERS or headers + _SMALLEST > total:
            raise BadFrame("the lengths in a frame's prelude are wrong")
        return int(total)

    def _frame(self, data: bytes) -> Frame:
        (crc,) = _CRC.unpack_from(data, len(data) - _CRC.size)
        if zlib.crc32(data[: -_CRC.size]) != crc:
            raise BadFrame("the checksum of a frame is wrong")
        end = _PRELUDE.size + _PRELUDE.unpack_from(data)[1]
        block = data[_PRELUDE.size : end]
        if block != self._block:
            self._headers, self._block = _headers(block), block
        return Frame(self._headers, data[end : -_CRC.size])


def _headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = _slice(data, at + 1, size).decode()
            kind = data[at + 1 + size]
            value, at = _value(data, at + 2 + size, kind)
            if name in headers:
                raise BadFrame("a frame has a header twice")
            headers[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        raise BadFrame("a frame's headers cannot be read") from None
    return headers


def _value(data: bytes, at: int, kind: int) -> tuple[HeaderValue, int]:
    """The value of a header, and where the next header begins."""
    if kind <= 1:
        return kind == 0, at
    number = _FIXED.get(5 if kind == _TIMESTAMP else kind)
    if number is not None:
        return int(number.unpack_from(data, at)[0]), at + number.size
    if kind == _UUID:
        return UUID(bytes=_slice(data, at, 16)), at + 16
    if kind not in (_BYTES, _TEXT):
        raise BadFrame("a frame has a header of an unknown type")
    size = int.from_bytes(_slice(data, at, 2))
    raw = _slice(data, at + 2, size)
    return raw.decode() if kind == _TEXT else raw, at + 2 + size


def _slice(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise IndexError
    return data[at : at + size]
