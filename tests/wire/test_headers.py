"""Which headers pass, in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.wire.headers import (
    HOP_BY_HOP,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    client_headers,
    sanitised,
    upstream_headers,
)

CREDENTIALS = ["Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Proxy-Authorization"]
PRIVATE = ["Forwarded", "X-Forwarded-For", "X-Real-IP", "User-Agent", "X-Stainless-OS", "OpenAI-Project"]
REFUSED = [*sorted({*CREDENTIALS, *PRIVATE, *HOP_BY_HOP}), "Host", "Accept-Encoding", "X-Request-Id"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_upstream(name: str) -> None:
    """D-05"""
    assert upstream_headers([(name, "canary"), ("OpenAI-Beta", "assistants=v2")]) == [("openai-beta", "assistants=v2")]


def test_what_goes_upstream() -> None:
    sent = [("Traceparent", "00-1-2-03"), ("anthropic-beta", "a,b"), ("Idempotency-Key", "k")]
    assert upstream_headers(sent) == [(name.lower(), value) for name, value in sent]


def test_what_connection_names_is_dropped() -> None:
    """D-05"""
    sent = [("openai-beta", "x"), ("Connection", "close, OpenAI-Beta"), ("traceparent", "t")]
    assert upstream_headers(sent) == [("traceparent", "t")]


def test_values_are_made_safe() -> None:
    """C-07"""
    assert upstream_headers([("openai-beta", "a\r\nx-evil: 1\tä" + "y" * 400)])[0][1].startswith("a??x-evil: 1??yyy")
    assert len(sanitised("y" * 400)) == 256


def test_what_comes_back() -> None:
    """A-36"""
    fields = {
        b"content-type": b"application/json",
        b"retry-after": b"7",
        b"x-ratelimit-remaining-requests": b"99",
        b"openai-processing-ms": b"12",
        b"x-request-id": b"req_1",
        b"set-cookie": b"session=1",
        b"server": b"cloudflare",
        b"alt-svc": b"h3",
        b"connection": b"keep-alive",
        b"transfer-encoding": b"chunked",
        b"content-length": b"5",
        b"content-encoding": b"gzip",
        b"www-authenticate": b"Bearer",
        b"strict-transport-security": b"max-age=1",
        b"access-control-allow-origin": b"*",
        b"x-gatewayd-deployment": b"forged",
        b"x-litellm-model-id": b"forged",
    }
    assert client_headers(fields) == [
        ("content-type", "application/json"),
        ("retry-after", "7"),
        ("x-ratelimit-remaining-requests", "99"),
        ("openai-processing-ms", "12"),
        ("x-upstream-request-id", "req_1"),
    ]
    assert client_headers({b"connection": b"X-RateLimit-A, close", b"x-ratelimit-a": b"1", b"x-ratelimit-b": b"2"}) == [
        ("x-ratelimit-b", "2")
    ]


@pytest.mark.parametrize("name", [b"openai-\xff", b"openai-x\r\nset-cookie", b"x-ratelimit- y", b"openai-:"])
def test_a_name_that_is_none_does_not_come_back(name: bytes) -> None:
    """RFC 9110, 5.6.2; the parser refuses them as well."""
    assert client_headers({name: b"1", b"openai-version": b"2020"}) == [("openai-version", "2020")]


def test_upstream_values_are_made_safe() -> None:
    """D-11, F9"""
    assert client_headers({b"x-request-id": b"a\tb\xff\x80"}) == [("x-upstream-request-id", "a?b??")]


names = st.sampled_from([*REQUEST_HEADERS, *HOP_BY_HOP, "authorization", "x-a"]).flatmap(
    lambda name: st.sampled_from([name, name.upper(), name.title()])
)
values = st.one_of(st.text(max_size=20), st.sampled_from([*REQUEST_HEADERS, "close, openai-beta"]))


@given(st.lists(st.tuples(names, values), max_size=12))
@settings(max_examples=200)
def test_the_filter_is_idempotent_and_its_values_are_printable(headers: list[tuple[str, str]]) -> None:
    kept = upstream_headers(headers)
    assert upstream_headers(kept) == kept
    for name, value in kept:
        assert name in REQUEST_HEADERS
        assert value.isascii()
        assert value.isprintable()


@given(
    st.dictionaries(st.sampled_from([*RESPONSE_HEADERS, b"x-request-id", b"x-ratelimit-x"]), st.binary(max_size=300))
)
@settings(max_examples=100)
def test_whatever_an_upstream_writes_can_stand_in_a_header(fields: dict[bytes, bytes]) -> None:
    for _, value in client_headers(fields):
        assert value.isascii()
        assert value.isprintable()
        assert len(value) <= 256
