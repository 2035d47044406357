"""HTTP on the admin side that is not what it seems; the data side's own are in tests/web."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewayd.config.snapshot import Address, ServerSettings
from gatewayd.secret import Secret
from tests.admin.test_app import administered
from tests.web.shapes import CHUNKED, CODINGS, FIELDS, HEADS, LENGTHS, LINES, NOISE
from tests.web.support import KEY
from tests.web.wire import Wire

LOCKED = replace(ServerSettings(master_key=Secret(KEY)), admin=Address("0.0.0.0", 4001))
STATUS = b"GET /status HTTP/1.1\r\nHost: a\r\n"
AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
MINE = ("comma first", "gzip first", "identity first", "in HTTP/1.0, kept", "two lines")
"""What the data side refuses beyond the parser; here it is read, and the connection ends."""
SHAPES = {
    f"{kind}: {name}": data
    for kind, table in {"length": LENGTHS, "field": FIELDS, "head": HEADS, "noise": NOISE, "coding": CODINGS}.items()
    for name, data in table.items()
    if name not in MINE
} | {f"line: {name}": LINES[name] for name in ("blank in target", "NUL in target", "no target", "small letters")}


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES.keys())
async def test_ambiguous_requests_are_refused_here_too(data: bytes) -> None:
    """B-01, B-10, B-19: and nothing after them is read."""
    async with administered() as admin:
        for before in (0, 1):
            async with Wire.to(admin.port) as wire:
                for _ in range(before):
                    await wire.send(STATUS + b"\r\n")
                    assert (await wire.answer()).status == 200
                await wire.send(data + b"POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                statuses = [answer.status for answer in await wire.rest()]
                assert len(statuses) == 1
                assert statuses[0] >= 400
        assert admin.reloader.last is None


async def test_a_trailer_is_no_key() -> None:
    """B-01, D-09: nor does anything follow a chunked body."""
    chunked = b"GET /status HTTP/1.1\r\nHost: a\r\n" + AUTH + CHUNKED + b"\r\n0\r\n" + AUTH + b"\r\n"
    for segments in ([chunked + STATUS + b"\r\n"], [chunked, STATUS + b"\r\n"]):
        async with administered(LOCKED) as admin, Wire.to(admin.port) as wire:
            await wire.send(*segments)
            assert [answer.status for answer in await wire.rest()] == [200]


@pytest.mark.parametrize("origin", [b"", b"Origin: https://evil.example\r\n", b"Origin: http://localhost\r\n"])
async def test_there_is_no_websocket(origin: bytes) -> None:
    """D-14: with the key or without, from wherever: no 101, and what comes after the handshake is nobody's."""
    handshake = (
        STATUS + origin + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    for key in (b"", AUTH):
        async with administered(LOCKED) as admin, Wire.to(admin.port) as wire:
            await wire.send(handshake + key + b"\r\n" + STATUS + AUTH + b"\r\n", b"\x81\x05hello")
            statuses = [answer.status for answer in await wire.rest()]
            assert statuses == ([200] if key else [401])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_form_of_another_site_changes_nothing(kind: str) -> None:
    """D-13: what a browser sends without asking first, with the Origin it cannot leave out."""
    async with administered() as admin, Wire.to(admin.port) as wire:
        body = b"x=y"
        await wire.send(
            b"POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nCookie: a=b\r\n"
            + f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        answer = await wire.answer()
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith(("access-control", "set-cookie"))]
        assert admin.reloader.last is None
