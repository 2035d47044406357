"""Bodies: what is JSON enough, small enough, plain enough and quick enough to be read."""

from __future__ import annotations

import asyncio
import gzip
import resource
import zlib

import pytest

from gatewayd.config.snapshot import Limits, ServerSettings
from tests.web.support import CHAT, RawClient, Teller, serving


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"model":', "invalid_json"),
        (b"{}", "invalid_request"),
        (b'{"model":1}', "invalid_request"),
        (b'{"model":"chat","stream":"yes"}', "invalid_request"),
        (b'{"model":"a","model":"chat"}', "duplicate_key"),
        (b'{"model":"chat","api_base":"http://x"}', "param_not_allowed"),
        (b"[" * 100_000, "invalid_json"),
        (b"\xff\xfe{\x00}\x00", "invalid_json"),
    ],
)
async def test_bad_bodies_are_400(body: bytes, code: str) -> None:
    """C-01, C-02, C-03, C-06, C-09, C-10"""
    async with serving() as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", body)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (400, code)
        client.get("/livez")
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 200),
        ("application/json; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_the_content_type_must_be_json_if_there_is_one(kind: str | None, status: int) -> None:
    """B-22: a page's "simple request" cannot be JSON."""
    async with serving() as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", content_type=kind)
        assert (await client.answer()).status == status


@pytest.mark.parametrize(("coding", "status"), [("identity", 200), ("gzip", 415), ("br", 415), ("deflate, gzip", 415)])
async def test_compressed_bodies_are_refused_unread(coding: str, status: int) -> None:
    """B-14, B-15"""
    async with serving() as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", CHAT, f"content-encoding: {coding}")
        answer = await client.answer()
    assert answer.status == status
    if status == 415:
        assert answer.error["code"] == "unsupported_media_type"


async def test_a_bomb_is_never_unpacked() -> None:
    """B-14, B-15: half a megabyte that would become 500, and 45,000 members of nothing."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    million = bytes(1_000_000)
    bomb = b"".join(packer.compress(million) for _ in range(100)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with serving() as site:
        for body in (bomb, gzip.compress(b"") * 45_000, b"garbage"):
            async with RawClient.to(site.port) as client:
                client.post("/v1/chat/completions", body, "content-encoding: gzip")
                assert (await client.answer()).status == 415
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


async def test_a_body_announced_too_large_is_refused_before_it_is_sent() -> None:
    """B-11"""
    server = ServerSettings(limits=Limits(body_mb=0.001))
    async with serving(server=server) as site, RawClient.to(site.port) as client:
        client.send(b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert answer.headers["connection"] == "close"
        assert await client.ended() == b""


async def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    """B-12"""
    server = ServerSettings(limits=Limits(body_mb=0.001))
    async with serving(server=server) as site, RawClient.to(site.port) as client:
        client.send(b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(20):
            client.send(b"64\r\n" + b" " * 100 + b"\r\n")
        answer = await client.answer()
    assert answer.status == 413


async def test_a_chunked_body_may_come_in_pieces() -> None:
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        for byte in CHAT:
            client.send(b"1\r\n%c\r\n" % byte)
            await asyncio.sleep(0)
        client.send(b"0\r\n\r\n")
        assert (await client.answer()).status == 200
    assert upstream.calls[0].intent.body == CHAT
