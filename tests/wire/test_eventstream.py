"""The decoder of AWS event streams, compared with botocore's and with frames written by the specification."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire.eventstream import MAX_FRAME_HEADERS, BadFrame, Frame, FrameDecoder, HeaderValue
from tests.wire.frames import frame

_numbers = {2: "!b", 3: "!h", 4: "!i", 5: "!q", 8: "!q"}


def _encoded(kind: int, value: HeaderValue) -> bytes:
    if kind in _numbers:
        return struct.pack(_numbers[kind], value)
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, bool):
        return b""
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack("!H", len(raw)) + raw


def _raw(headers: Iterable[tuple[str, int, HeaderValue]], payload: bytes) -> bytes:
    """A frame with headers of any type."""
    block = b"".join(
        bytes([len(name.encode())]) + name.encode() + bytes([kind]) + _encoded(kind, value)
        for name, kind, value in headers
    )
    return sealed(block, payload)


def sealed(block: bytes, payload: bytes) -> bytes:
    prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack("!I", zlib.crc32(body))


def _whole(numbers: tuple[int, int]) -> st.SearchStrategy[int]:
    return st.integers(*numbers)


_typed = st.one_of(
    st.just((0, True)),
    st.just((1, False)),
    st.tuples(st.just(2), _whole((-(2**7), 2**7 - 1))),
    st.tuples(st.just(3), _whole((-(2**15), 2**15 - 1))),
    st.tuples(st.just(4), _whole((-(2**31), 2**31 - 1))),
    st.tuples(st.sampled_from([5, 8]), _whole((-(2**63), 2**63 - 1))),
    st.tuples(st.just(6), st.binary(max_size=40)),
    st.tuples(st.just(7), st.text(max_size=40)),
    st.tuples(st.just(9), st.uuids()),
)
_names = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)
_blocks = st.dictionaries(_names, _typed, max_size=6).map(
    lambda block: [(name, kind, value) for name, (kind, value) in block.items()]
)
_streams = st.lists(st.tuples(_blocks, st.binary(max_size=300)), max_size=5)


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def _decoded(pieces: Iterable[bytes]) -> list[Frame]:
    decoder = FrameDecoder()
    frames = [one for piece in pieces for one in decoder.feed(piece)]
    assert decoder.between
    return frames


@given(stream=_streams, cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_the_same_frames_as_botocore_for_every_split(stream: list[Any], cuts: list[int]) -> None:
    data = b"".join(_raw(block, payload) for block, payload in stream)
    reference = EventStreamBuffer()
    reference.add_data(data)
    expected = [(message.headers, message.payload) for message in reference]
    # botocore leaves a UUID as its bytes
    found = [
        ({name: value.bytes if isinstance(value, UUID) else value for name, value in one.headers.items()}, one.payload)
        for one in _decoded(_split(data, cuts))
    ]
    assert found == expected


@given(block=_blocks, payload=st.binary(max_size=100), place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_a_changed_byte_never_passes(block: list[Any], payload: bytes, place: int, change: int) -> None:
    data = bytearray(_raw(block, payload))
    data[place % len(data)] ^= change
    decoder = FrameDecoder()
    try:
        assert decoder.feed(bytes(data)) == []
    except BadFrame:
        return
    assert not decoder.between


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_bad_frame(data: bytes) -> None:
    try:
        FrameDecoder().feed(data)
    except BadFrame:
        pass


def test_values_of_each_type() -> None:
    identifier = UUID(int=7)
    (found,) = _decoded([_raw([("a", 0, True), ("b", 1, False), ("c", 8, 9), ("d", 9, identifier)], b"x")])
    assert found == Frame({"a": True, "b": False, "c": 9, "d": identifier}, b"x")


def test_a_frame_of_converse() -> None:
    (found,) = _decoded([frame("messageStop", {"stopReason": "end_turn"})])
    assert (found.header(":event-type"), found.header(":message-type")) == ("messageStop", "event")
    assert found.payload == b'{"stopReason":"end_turn"}'
    assert found.header(":absent") == ""


def test_a_stream_that_stops_within_a_frame() -> None:
    decoder = FrameDecoder()
    data = frame("messageStop", {"stopReason": "end_turn"})
    assert decoder.feed(data + data[:20]) != []
    assert not decoder.between


def test_a_large_frame_is_refused_with_its_prelude() -> None:
    data = sealed(b"", bytes(500))
    decoder = FrameDecoder(limit=500)
    assert decoder.feed(data[:11]) == []
    with pytest.raises(BadFrame, match="more than 500 bytes"):
        decoder.feed(data[11:12])


def _lengths(total: int, headers: int) -> bytes:
    prelude = struct.pack("!II", total, headers)
    return prelude + struct.pack("!I", zlib.crc32(prelude))


@pytest.mark.parametrize(
    "prelude",
    {
        "total below the smallest": _lengths(15, 0),
        "headers longer than the frame": _lengths(40, 30),
        "headers longer than allowed": _lengths(MAX_FRAME_HEADERS * 2, MAX_FRAME_HEADERS + 1),
        "text": b"HTTP/1.1 500 Internal",
    }.values(),
)
def test_wrong_lengths_are_refused(prelude: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameDecoder().feed(prelude)


@pytest.mark.parametrize(
    "block",
    {
        "name longer than the block": b"\x09a",
        "no type": b"\x01a",
        "unknown type": b"\x01a\x0a",
        "number cut": b"\x01a\x04\x00",
        "text cut": b"\x01a\x07\x00\x05ab",
        "not UTF-8": b"\x01a\x07\x00\x01\xff",
        "twice": b"\x01a\x00\x01a\x00",
    }.values(),
)
def test_headers_that_cannot_be_read(block: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameDecoder().feed(sealed(block, b""))


def test_header_ignores_other_types() -> None:
    headers: Mapping[str, HeaderValue] = {":event-type": 4}
    assert Frame(dict(headers), b"").header(":event-type") == ""
