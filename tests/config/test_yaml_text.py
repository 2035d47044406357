"""E-12: bytes that are no YAML text, with the exact place of the first of them."""

from __future__ import annotations

import pytest

from gatewayd.config.yaml_text import Undecodable, decode


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"a: \xff", "yaml_encoding", (1, 4)),
        (b"a: 1\nb: caf\xe9\n", "yaml_encoding", (2, 7)),
        ("ä: ".encode() + b"\xc3", "yaml_encoding", (1, 4)),
        (b"a: 1\r\nb: \xff", "yaml_encoding", (2, 4)),
        (b"a: 1\rb: \xff", "yaml_encoding", (2, 4)),
        ("a: 1".encode("utf-16"), "yaml_encoding", (1, 1)),
        ("a: 1".encode("utf-16-be"), "yaml_character", (1, 1)),
        (b"a: \x00", "yaml_character", (1, 4)),
        (b"a: 1\n\x1b[0m", "yaml_character", (2, 1)),
        (b"\xef\xbb\xbfa: \x7f", "yaml_character", (1, 4)),
        ("a: 1\n\ufeffb: 2".encode(), "yaml_character", (2, 1)),
    ],
)
def test_forbidden_bytes_are_found(data: bytes, code: str, place: tuple[int, int]) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(data)
    found = caught.value.explanation
    assert (caught.value.code, (found.line, found.column)) == (code, place)
    assert found.hint


@pytest.mark.parametrize("text", ["", "a: 1\r\n", "\ttab: ö\u0085 \ud7ff\ue000\ufffd 🎲\n"])
def test_text_comes_through_unchanged(text: str) -> None:
    assert decode(text.encode()) == text


def test_a_leading_byte_order_mark_is_tolerated() -> None:
    assert decode(b"\xef\xbb\xbfa: 1") == "a: 1"
