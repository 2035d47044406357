"""What a caller's address names: fetched over https from public addresses, bounded. The servers are real ones; which
addresses count as public is a parameter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.fetch import Fetcher, FetchError, is_public
from tests.certificates import Authority
from tests.fakeup import HANG, FakeUpstream, Received, Reply, body_reply, head, raw_reply

LONG = Timeouts(5.0, 5.0, 5.0, 20.0)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PICTURE = body_reply(PNG, content_type="image/png; charset=binary")


def anywhere(_: str) -> bool:
    return True


def moved(target: str, status: int = 302) -> Reply:
    return body_reply(b"", status=status, headers=[("Location", target)])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_picture_is_fetched_over_https(host: str, authority: Authority) -> None:
    """U-F4"""
    async with FakeUpstream(PICTURE, tls=authority.server("localhost", "127.0.0.1")) as up:
        fetcher = Fetcher(is_allowed=anywhere, tls=authority.trust)
        assert await fetcher.get(f"https://{host}:{up.port}/a%20b.png?x=1#y", LONG) == (PNG, "image/png")
        (asked,) = up.requests
        assert (asked.method, asked.target, asked.headers["host"]) == ("GET", "/a%20b.png?x=1", f"{host}:{up.port}")
        assert "authorization" not in asked.headers


async def test_the_certificate_is_checked(authority: Authority) -> None:
    """U-F4"""
    async with FakeUpstream(PICTURE, tls=authority.server("elsewhere.example")) as up:
        with pytest.raises(FetchError):
            await Fetcher(is_allowed=anywhere, tls=authority.trust).get(f"https://localhost:{up.port}/", LONG)
        assert up.requests == []


async def test_plain_http_needs_a_setting() -> None:
    """U-F4: the message says which."""
    async with FakeUpstream(PICTURE) as up:
        fetcher = Fetcher(is_allowed=anywhere)
        with pytest.raises(FetchError, match=r"gatewayd: \{fetch: \{http: true\}\}"):
            await fetcher.get(f"http://127.0.0.1:{up.port}/", LONG)
        assert up.connection_count == 0
        fetcher.http = True
        assert (await fetcher.get(f"HTTP://127.0.0.1:{up.port}/", LONG))[0] == PNG


async def test_every_address_of_a_name_must_be_public() -> None:
    """U-F4: the connection is made to the addresses that were checked."""
    asked: list[str] = []

    def is_allowed(address: str) -> bool:
        asked.append(address)
        return False

    async with FakeUpstream(PICTURE) as up:
        with pytest.raises(FetchError, match="it could not be read"):
            await Fetcher(http=True, is_allowed=is_allowed).get(f"http://localhost:{up.port}/", LONG)
        assert set(asked) <= {"127.0.0.1", "::1"}
        assert asked
        assert up.connection_count == 0


async def test_an_address_that_changes_is_checked_at_every_redirect() -> None:
    """U-F4: the second look-up of the same name gives an address that is not allowed (DNS rebinding)."""
    answers = iter([True])

    def is_allowed(_: str) -> bool:
        return next(answers, False)

    async with FakeUpstream(moved("/again"), PICTURE) as up:
        with pytest.raises(FetchError):
            await Fetcher(http=True, is_allowed=is_allowed).get(f"http://127.0.0.1:{up.port}/", LONG)
        assert len(up.requests) == 1


async def test_a_redirect_inside_is_not_followed() -> None:
    """U-F4"""
    async with FakeUpstream() as canary, FakeUpstream() as up:
        up.then(moved(f"http://127.0.0.2:{canary.port}/"))
        fetcher = Fetcher(http=True, is_allowed=lambda address: address == "127.0.0.1")
        with pytest.raises(FetchError):
            await fetcher.get(f"http://127.0.0.1:{up.port}/", LONG)
        assert canary.connection_count == 0


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.1/", "//", "http:"]
)
async def test_a_redirect_to_no_web_address_is_not_followed(target: str) -> None:
    """U-F4"""
    async with FakeUpstream(moved(target)) as up:
        with pytest.raises(FetchError):
            await Fetcher(http=True, is_allowed=anywhere).get(f"http://127.0.0.1:{up.port}/", LONG)
        assert len(up.requests) <= 6


async def test_a_redirect_from_https_to_http_is_not_followed(authority: Authority) -> None:
    """U-F4"""
    async with FakeUpstream(PICTURE) as plain, FakeUpstream(tls=authority.server("localhost")) as up:
        up.then(moved(f"http://127.0.0.1:{plain.port}/"))
        with pytest.raises(FetchError, match="plain http"):
            await Fetcher(is_allowed=anywhere, tls=authority.trust).get(f"https://localhost:{up.port}/", LONG)
        assert plain.connection_count == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_few_redirects_are_followed(status: int) -> None:
    """U-F4"""
    async with FakeUpstream(moved("/b?c=1", status), moved("d", status), PICTURE) as up:
        fetcher = Fetcher(http=True, is_allowed=anywhere)
        assert (await fetcher.get(f"http://127.0.0.1:{up.port}/a", LONG))[0] == PNG
        assert [asked.target for asked in up.requests] == ["/a", "/b?c=1", "/d"]


async def test_redirects_are_bounded() -> None:
    """U-F4"""
    async with FakeUpstream(moved("/")) as up:
        with pytest.raises(FetchError, match="redirected too often"):
            await Fetcher(http=True, is_allowed=anywhere).get(f"http://127.0.0.1:{up.port}/", LONG)
        assert len(up.requests) == 6


def _endless(_: Received) -> Reply:
    return raw_reply(head(200, [("Content-Type", "image/png")]), *[bytes(64 * 1024)] * 40, HANG)


@pytest.mark.parametrize("reply", [_endless, body_reply(bytes(1_000_001), content_type="image/png")])
async def test_a_body_that_is_too_large_is_cut_off(reply: Reply) -> None:
    """U-F4: while it arrives, whether its length was announced or not."""
    async with FakeUpstream(reply) as up:
        with pytest.raises(FetchError):
            await Fetcher(http=True, is_allowed=anywhere).get(f"http://127.0.0.1:{up.port}/", LONG, 1_000_000)
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)


async def test_the_time_of_the_call_bounds_the_fetch() -> None:
    """U-F4"""
    async with FakeUpstream(raw_reply(head(200, [("Content-Type", "image/png")]), b"x", HANG)) as up:
        with pytest.raises(FetchError):
            await Fetcher(http=True, is_allowed=anywhere).get(
                f"http://127.0.0.1:{up.port}/", Timeouts(5.0, 5.0, 5.0, 0.2)
            )
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)


@pytest.mark.parametrize(
    "reply",
    [
        body_reply(b"", status=404),
        body_reply(b"", status=500),
        body_reply(b"", status=302),
        body_reply(PNG, content_type="image/png", headers=[("Content-Encoding", "gzip")]),
    ],
)
async def test_anything_but_a_good_answer_is_none(reply: Reply) -> None:
    """U-F4"""
    async with FakeUpstream(reply) as up:
        with pytest.raises(FetchError, match="it could not be read"):
            await Fetcher(http=True, is_allowed=anywhere).get(f"http://127.0.0.1:{up.port}/", LONG)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a b", "http://127.0.0.1:1/\r\nX: y", "http://127.0.0.1:x/", "http://"]
)
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    """U-F4"""
    with pytest.raises(FetchError):
        await Fetcher(http=True, is_allowed=anywhere).get(url, LONG)


# https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry
INSIDE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.0.2.1",
    "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "::", "::1", "::ffff:127.0.0.1", "::ffff:a00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
    "2001:db8::1", "2002:7f00:1::", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "2001:0:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public(address: str) -> None:
    """U-F4"""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    """U-F4"""
    assert is_public(address)
