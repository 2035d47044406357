"""Inputs that are almost right: members of a corpus, cut, joined, repeated and sprinkled with what is special."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

_NUMBERS = (b"0", b"-1", b"1", b"255", b"65536", b"4294967296", b"1e999", b"-0.0", b"9" * 400, b"NaN", b".inf", b"0x10")
_BYTES = (
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\t",
    b"\x1b",
    b"\x85",
    b"\xe2\x80\xa8",
)


def mutated(rng: Random, corpus: Sequence[bytes], words: Sequence[bytes], longest: int) -> bytes:
    """A member of `corpus` with a few changes; at most `longest` bytes."""
    data = rng.choice(corpus)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 8))):
        data = _changed(rng, data, corpus, words)
        if len(data) > longest:
            start = rng.randrange(len(data) - longest + 1)
            data = data[start : start + longest]
    return data


def pieces(rng: Random, data: bytes) -> list[bytes]:
    """The same bytes as a network may deliver them: whole, one by one, or cut anywhere."""
    how = rng.random()
    if how < 0.1:
        return [data]
    if how < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _changed(rng: Random, data: bytes, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 10, 50)))
    match rng.randrange(10):
        case 0:
            return data[:at]  # cut short
        case 1:
            return data[:at] + data[end:]  # a piece lost
        case 2:
            return data[:at] + rng.choice(words) + data[at:]
        case 3:
            return data[:at] + rng.choice(words) + data[end:]
        case 4:
            return data[:at] + rng.choice(_BYTES) + data[end:]
        case 5:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 6:
            return data[:at] + data[at:end] * rng.choice((2, 3, 20, 200)) + data[end:]
        case 7:
            other = rng.choice(corpus)
            start = rng.randrange(len(other) + 1)
            return data[:at] + other[start : start + rng.choice((5, 50, 500))] + data[end:]
        case 8:
            return data[:at] + rng.choice(_NUMBERS) + data[end:]
        case _:  # lines change places
            lines = data.splitlines(keepends=True)
            if len(lines) < 2:
                return data
            one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one], lines[two] = lines[two], lines[one]
            return b"".join(lines)
