"""Heads that were read before are read the same way again, without a parser."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.engine.head import RequestHead
from gatewayd.wire.dialect import CHAT
from gatewayd.wire.headers import upstream_headers
from gatewayd.wire.heads import VARYING, HeadCache, split, without_values

PLAIN = {"host": "localhost", "authorization": "Bearer sk-1", "user-agent": "OpenAI/Python 3.1", "accept": "*/*"}


def head(fields: Mapping[str, str] | list[tuple[str, str]], length: int = 2) -> bytes:
    listed = list(fields.items()) if isinstance(fields, Mapping) else fields
    lines = "".join(f"{name}: {value}\r\n" for name, value in listed)
    return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}content-length: {length}\r\n\r\n".encode("latin-1")


def parsed(data: bytes) -> RawRequestMessage:
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        messages, _, _ = parser.feed_data(data)
        return messages[0][0]
    finally:
        loop.close()


def key(data: bytes) -> bytes:
    found = split(data)
    assert found is not None
    return found[0]


visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
values = st.one_of(visible, st.tuples(visible, visible).map(" ".join))
names = st.sampled_from([spelt for name in VARYING for spelt in (name, name.title(), name.upper())])


@given(st.lists(st.tuples(names, values), min_size=1, max_size=4, unique_by=lambda field: field[0].lower()), st.data())
def test_other_values_are_read_as_the_parser_reads_them(fields: list[tuple[str, str]], data: st.DataObject) -> None:
    """Whatever the values: the head that is known with others says what the parser would have said."""
    others = [(name, data.draw(values)) for name, _ in fields]
    at = data.draw(st.integers(0, len(PLAIN)))
    first, second = (head([*list(PLAIN.items())[:at], *given, *list(PLAIN.items())[at:]]) for given in (fields, others))
    one, two = without_values(key(first)), without_values(key(second))
    assert one is not None
    assert two is not None
    assert one[0] == two[0]
    message = parsed(second)
    known = RequestHead("POST", "/", parsed(first).headers, kind="model", endpoint=CHAT).varied(two[1])
    expected = RequestHead("POST", "/", message.headers, kind="model", endpoint=CHAT)
    assert list(known.headers.items()) == list(message.headers.items())
    assert known.relayed == expected.relayed == upstream_headers(message.headers.items())
    assert known.request_id == expected.request_id


@given(st.binary(max_size=60))
def test_a_value_that_parsers_may_read_in_two_ways_stays_in_the_key(value: bytes) -> None:
    data = key(head({"traceparent": "VALUE"})).replace(b"VALUE", value)
    found = without_values(data)
    if found is not None and "traceparent" in found[1]:
        text = found[1]["traceparent"]
        assert text.isascii()
        assert text.isprintable()
        assert text == text.strip()
        assert data.count(b"traceparent: " + text.encode() + b"\r\n") == 1


def test_names_that_come_twice_or_are_folded_stay_in_the_key() -> None:
    assert without_values(key(head([("traceparent", "a"), ("Traceparent", "b")]))) is None
    assert without_values(key(head([("traceparent", "a\r\n b")]))) is None
    assert without_values(key(head([("x-traceparent", "a"), ("authorization", "traceparent: b")]))) is None
    assert without_values(key(head([("traceparent", "a" * 257)]))) is None


def test_credentials_are_part_of_the_key() -> None:
    one, two = (without_values(key(head({"authorization": f"Bearer {k}", "traceparent": "t"}))) for k in ("a", "b"))
    assert one is not None
    assert two is not None
    assert one[0] != two[0]


def test_the_oldest_head_goes_first() -> None:
    cache: HeadCache[int] = HeadCache(most_bytes=30)
    for number in range(3):
        cache.remember(b"head-%05d" % number, number)
    cache.remember(b"head-00003", 3)
    assert list(cache.items()) == [(b"head-%05d" % number, number) for number in (1, 2, 3)]
    cache.remember(b"head-00003", 4)
    assert len(cache) == 3
    assert cache[b"head-00003"] == 4


def test_a_head_that_is_too_long_is_not_kept() -> None:
    cache: HeadCache[int] = HeadCache(most_bytes=1 << 20)
    cache.remember(b"x" * (HeadCache.LONGEST + 1), 1)
    assert not cache
