"""Who may call, by header."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.access.keys import (
    ANONYMOUS,
    MASTER,
    authenticate,
    is_own_origin,
    is_private_host,
    is_valid_host,
    presented_key,
)
from gatewayd.config.snapshot import ServerSettings
from gatewayd.errors import Forbidden, GatewayError, InvalidApiKey, InvalidRequest
from gatewayd.secret import Secret

KEY = "sk-master-0123456789"
CLOSED = ServerSettings(master_key=Secret(KEY))
OPEN = ServerSettings()


class Fields:
    """Headers as a list of pairs."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = pairs

    def get(self, name: str) -> str | None:
        return next(iter(self.getall(name, [])), None)

    def getall(self, name: str, default: list[str]) -> Sequence[str]:
        return [value for key, value in self.pairs if key.lower() == name] or default


@pytest.mark.parametrize(
    "field",
    [
        ("Authorization", f"Bearer {KEY}"),
        ("authorization", f"bearer {KEY}"),
        ("authorization", f"BEARER   {KEY} "),
        ("x-api-key", KEY),
        ("api-key", KEY),
    ],
)
def test_the_key_opens_in_every_customary_place(field: tuple[str, str]) -> None:
    """D-18"""
    assert authenticate(Fields(field), CLOSED) is MASTER


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("authorization", KEY)],
        [("authorization", f"Basic {KEY}")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", f"Bearer {KEY}x")],
        [("authorization", f"Bearer {KEY[:-1]}")],
        [("authorization", f"Bearer {KEY} {KEY}")],
        [("authorization", "Bearer sk-é")],
        [("authorization", "Bearer sk-\udcff\udcfe")],
        [("authorization", f"Bearer {KEY.upper()}")],
        [("authorization", "Bearer ' OR 1=1--")],
        [("authorization", "Bearer " + "x" * 1_000_000)],
        [("x-api-key", "")],
        [("authorization", "Bearer wrong"), ("x-api-key", KEY)],
    ],
)
def test_anything_else_does_not(fields: list[tuple[str, str]]) -> None:
    """D-01, D-18: bytes are compared, so no header makes it a fault of ours; a failure is final."""
    with pytest.raises(InvalidApiKey) as caught:
        authenticate(Fields(*fields), CLOSED)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", [KEY, f"Basic {KEY}", f"Token {KEY}", "Bearer"])
def test_an_authorization_without_bearer_is_reported_as_such(value: str) -> None:
    """U-C7: and the value is not repeated, for it may be a key."""
    with pytest.raises(InvalidApiKey, match=r"does not start with 'Bearer '.*'Authorization: Bearer KEY'") as caught:
        authenticate(Fields(("authorization", value)), CLOSED)
    assert KEY not in str(caught.value)


def test_two_authorization_headers_are_refused_even_if_one_is_right() -> None:
    """D-18"""
    with pytest.raises(InvalidRequest):
        authenticate(Fields(("authorization", f"Bearer {KEY}"), ("authorization", "Bearer x")), CLOSED)


def test_an_authorization_of_another_kind_leaves_room_for_the_other_headers() -> None:
    assert presented_key(Fields(("authorization", "Basic dTpw"), ("api-key", "k"))) == "k"


def test_an_empty_configured_key_opens_nothing() -> None:
    for field in (("x-api-key", ""), ("authorization", "Bearer "), ("authorization", "Bearer x")):
        with pytest.raises(InvalidApiKey):
            authenticate(Fields(field), ServerSettings(master_key=Secret("")))


def test_a_key_beyond_ascii_works() -> None:
    assert authenticate(Fields(("x-api-key", "schlüssel")), ServerSettings(master_key=Secret("schlüssel"))) is MASTER


def test_without_a_configured_key_any_key_is_fine() -> None:
    """SDKs insist on having one."""
    assert authenticate(Fields(("host", "127.0.0.1:4000"), ("authorization", "Bearer dummy")), OPEN) is ANONYMOUS


PRIVATE = [
    "localhost",
    "localhost:4000",
    "127.0.0.1:4000",
    "[::1]:4000",
    "10.0.0.7",
    "gatewayd:4000",
    "api.localhost",
    "localhost.",
]


@pytest.mark.parametrize("host", [*PRIVATE, "host.docker.internal:4000"])
def test_private_hosts_are_served_without_a_key(host: str) -> None:
    """D-08: SDKs, containers and command lines are not bothered."""
    assert authenticate(Fields(("host", host)), OPEN) is ANONYMOUS
    assert authenticate(Fields(("host", host), ("origin", f"http://{host}")), OPEN) is ANONYMOUS


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "1.2.3", "evil.internal.example", "evil.com."],
)
def test_rebound_names_are_refused_without_a_key_and_served_with_one(host: str) -> None:
    """D-08"""
    with pytest.raises(Forbidden):
        authenticate(Fields(("host", host)), OPEN)
    assert authenticate(Fields(("host", host), ("x-api-key", KEY)), CLOSED) is MASTER


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:8080", True),
        ("http://app.localhost", True),
        ("vscode-webview://abc", True),
        ("http://gatewayd:4000", True),
        ("null", False),
        ("", False),
        ("https://evil.example", False),
        ("http://203.0.113.5", False),
        ("http://intranet", False),
        ("http://localhost@evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://[", False),
        ("evil", False),
    ],
)
def test_which_pages_may_call(origin: str, fine: bool) -> None:
    assert is_own_origin(origin, "gatewayd:4000") is fine


@pytest.mark.parametrize("host", ["a", "a.b:80", "[::1]", "[::1]:80", "under_score:1", "1.2.3.4:65535", "a:0"])
def test_valid_hosts(host: str) -> None:
    assert is_valid_host(host)


@pytest.mark.parametrize("host", ["", "a/", "a/?", "a#", "a@b", "h:80@evil", "a b", "[fe80::1%25e0]", "a:", "a:x", "é"])
def test_invalid_hosts(host: str) -> None:
    """B-05"""
    assert not is_valid_host(host)
    assert not is_private_host(host)


@pytest.mark.parametrize("port", ["65536", "99999"])
def test_a_port_that_does_not_exist_makes_no_valid_host(port: str) -> None:
    """U-C6"""
    assert not is_valid_host(f"a:{port}")
    assert not is_valid_host(f"[::1]:{port}")


@given(st.lists(st.tuples(st.sampled_from(["authorization", "x-api-key", "api-key", "host", "origin"]), st.text())))
def test_no_header_is_a_fault_of_ours(pairs: list[tuple[str, str]]) -> None:
    for server in (OPEN, CLOSED):
        try:
            authenticate(Fields(*pairs), server)
        except GatewayError:
            pass
