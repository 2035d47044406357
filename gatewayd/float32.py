"""Vectors as base64 of 32-bit numbers in little-endian order, which is how OpenAI's API sends embeddings."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable


def pack(vector: Iterable[float]) -> str:
    """Raises OverflowError if a number does not fit."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers).decode()


def unpack(text: str) -> list[float]:
    """Raises ValueError if the text is not base64 of 32-bit numbers."""
    numbers = array("f", b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
