"""Addresses as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.schema.address import parse_address
from gatewayd.config.snapshot import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4000", Address("127.0.0.1", 4000)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:4000", Address("::1", 4000)),
        ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1)),
        ("*:4000", Address("0.0.0.0", 4000)),
        ("Gateway.Example:65535", Address("gateway.example", 65535)),
        (" 0.0.0.0:80 ", Address("0.0.0.0", 80)),
        ("unix:/run/x.sock", Address(path="/run/x.sock")),
        ("unix:///run/x.sock", Address(path="/run/x.sock")),
        ("unix:x.sock", Address(path="x.sock")),
    ],
)
def test_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "4000", ":4000", "localhost", "localhost:", "localhost:http", "1.2.3.4:65536", "1.2.3.4:-1", "::1:4000",
        "[::1]", "[x]:1", "a b:1", "http://localhost:4000", "unix:", "unix:" + "x" * 108, "host:٤", "host:1:2", 4000,
        None, ["127.0.0.1:1"],
    ],
)  # fmt: skip
def test_refused_with_a_sentence(text: object) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse_address(text)


@given(st.one_of(st.text(max_size=30), st.from_regex(r"[a-z\[\]:.0-9]{0,20}", fullmatch=True)))
def test_what_is_read_can_be_written_and_read_again(text: str) -> None:
    with contextlib.suppress(ValueError):
        address = parse_address(text)
        assert parse_address(str(address)) == address
