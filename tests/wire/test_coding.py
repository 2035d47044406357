"""Content codings that nobody asked for."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.wire.coding import CodingError, Inflater, decoded, is_identity


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5), st.booleans())
@settings(max_examples=100)
def test_step_by_step_gives_the_same(data: bytes, cuts: list[int], zipped: bool) -> None:
    packed = gzip.compress(data) if zipped else zlib.compress(data)
    inflater = Inflater(b"gzip" if zipped else b"deflate", 10_000)
    places = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    assert b"".join(inflater.feed(packed[a:b]) for a, b in pairwise(places)) == data
    assert inflater.complete
    assert decoded(packed, b"GZIP", 10_000) == data


def test_members_follow_each_other() -> None:
    assert decoded(gzip.compress(b"a") + gzip.compress(b"b"), b"x-gzip", 10) == b"ab"


def test_what_is_cut_is_not_whole() -> None:
    """A-06"""
    packed = gzip.compress(b"hello" * 100)
    for size in range(1, len(packed)):
        with pytest.raises(CodingError):
            decoded(packed[:size], b"gzip", 1000)
    assert decoded(b"", b"gzip", 1000) == b""


def test_bombs_are_refused() -> None:
    """A-07: what is allowed bounds the memory, and garbage costs nothing."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    empty = gzip.compress(b"") * 45_000
    tracemalloc.start()
    with pytest.raises(CodingError, match="more comes out"):
        decoded(bomb, b"gzip", 1_000_000)
    with pytest.raises(CodingError, match="members"):
        decoded(empty, b"gzip", 1_000_000)
    with pytest.raises(CodingError, match="damaged"):
        decoded(b"<html>", b"gzip", 1_000_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3_000_000


def test_exactly_the_limit_is_allowed() -> None:
    assert decoded(gzip.compress(b"x" * 100), b"gzip", 100) == b"x" * 100


def test_unknown_codings() -> None:
    """A-07"""
    for coding in (b"br", b"zstd", b"gzip, br"):
        with pytest.raises(CodingError, match="unknown"):
            Inflater(coding, 10)
    assert is_identity(None)
    assert is_identity(b" Identity ")
    assert not is_identity(b"gzip")
