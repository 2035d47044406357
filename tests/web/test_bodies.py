"""What request bodies take together, and when they give it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gatewayd.config.snapshot import Limits, ServerSettings
from gatewayd.errors import UpstreamError
from gatewayd.web.connection import Deadlines
from gatewayd.wire.openai import DONE
from tests.web.support import CHAT, Answer, RawClient, Site, Stream, Teller, hang, serving, until, whole

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
MB = 1024 * 1024
ONE = ServerSettings(limits=Limits(body_mb=1, bodies_mb=1))
LARGE = b'{"model":"chat","messages":[],"x":"%b"}' % (b"x" * (MB * 9 // 10))


def announced(body: bytes = LARGE) -> bytes:
    return POST + b"content-length: %d\r\n\r\n" % len(body)


async def upload(client: RawClient, body: bytes = LARGE) -> None:
    """Sends a whole body in pieces, and waits until they are out."""
    client.send(announced(body))
    for start in range(0, len(body), 100_000):
        client.send(body[start : start + 100_000])
        await asyncio.sleep(0)
    await client.writer.drain()


def busy(answer: Answer) -> bool:
    if answer.status == 200:
        return False
    assert (answer.status, answer.error["code"]) == (503, "server_busy")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["connection"] == "close"
    return True


async def test_large_bodies_have_a_bound_together_and_short_ones_are_served_meanwhile() -> None:
    """B-13"""
    async with serving(server=ONE) as site:
        async with RawClient.to(site.port) as first, RawClient.to(site.port) as second:
            first.send(announced() + LARGE[:-1])
            await until(lambda: held(site) == len(LARGE) - 1)
            await upload(second)
            assert busy(await second.answer())
            async with RawClient.to(site.port) as short:
                short.post("/v1/chat/completions", CHAT)
                assert not busy(await short.answer())
            first.send(LARGE[-1:])
            assert not busy(await first.answer())
        async with RawClient.to(site.port) as third:
            await upload(third)
            assert not busy(await third.answer())
        assert held(site) == 0


def held(site: Site) -> float:
    """Bytes of bodies that the data side counts."""
    return site.sample("gatewayd_request_body_bytes") or 0.0


async def _good(client: RawClient, upstream: Teller) -> None:
    await upload(client)
    assert (await client.answer()).status == 200


async def _short(client: RawClient, upstream: Teller) -> None:
    client.post("/v1/chat/completions", CHAT)
    assert (await client.answer()).status == 200


async def _streamed(client: RawClient, upstream: Teller) -> None:
    upstream.answer = [Stream([b"data: {}\n\n", DONE])]
    await upload(client, LARGE[:-1] + b',"stream":true}')
    assert (await client.answer()).status == 200


async def _failed(client: RawClient, upstream: Teller) -> None:
    upstream.answer = [UpstreamError("No.")]
    await upload(client)
    assert (await client.answer()).status == 502


async def _no_json(client: RawClient, upstream: Teller) -> None:
    await upload(client, LARGE[1:])
    assert (await client.answer()).status == 400


async def _too_large(client: RawClient, upstream: Teller) -> None:
    client.send(POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % (2 * MB) + bytes(2 * MB))
    assert (await client.answer()).status == 413


async def _bad_chunk(client: RawClient, upstream: Teller) -> None:
    client.send(POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(LARGE) + LARGE + b"x\r\n")
    assert (await client.answer()).status == 400


async def _too_slow(client: RawClient, upstream: Teller) -> None:
    client.send(announced() + LARGE[:-1])
    assert (await client.answer()).status == 408


async def _left_half_way(client: RawClient, upstream: Teller) -> None:
    client.send(announced() + LARGE[:-1])
    await client.writer.drain()
    client.reset()


async def _left_waiting(client: RawClient, upstream: Teller) -> None:
    upstream.answer = hang
    upstream.asked.clear()
    await upload(client)
    await upstream.asked.wait()
    client.reset()


@pytest.mark.parametrize(
    "ending",
    [_good, _short, _streamed, _failed, _no_json, _too_large, _bad_chunk, _too_slow, _left_half_way, _left_waiting],
)
async def test_what_a_body_took_is_given_back_however_it_ends(
    ending: Callable[[RawClient, Teller], Awaitable[None]],
) -> None:
    """B-13: three times over, the next large body fits; and not one byte more than before is free."""
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}, server=ONE, deadlines=Deadlines(body=1)) as site:
        for _ in range(3):
            async with RawClient.to(site.port) as client:
                await ending(client, upstream)
            await until(lambda: held(site) == 0)
            upstream.answer = [whole({})]
            async with RawClient.to(site.port) as client:
                await upload(client)
                assert not busy(await client.answer())
        assert held(site) == 0


async def test_a_body_counts_as_long_as_its_request_runs() -> None:
    """B-13: it is kept for the next try, or for the length of its stream."""
    go_on = asyncio.Event()
    upstream = Teller([Stream([b"data: {}\n\n", go_on, DONE])])
    async with serving({"chat": {"d1": upstream}}, server=ONE) as site:
        async with RawClient.to(site.port) as streaming, RawClient.to(site.port) as other:
            body = LARGE[:-1] + b',"stream":true}'
            await upload(streaming, body)
            await streaming.head()
            assert held(site) == len(body)
            await upload(other)
            assert busy(await other.answer())
            go_on.set()
            assert b"".join([piece async for piece in streaming.chunks()]).endswith(DONE)
        await until(lambda: held(site) == 0)


async def test_short_bodies_count_too() -> None:
    """B-13: they leave less room for large ones."""
    upstream = Teller(hang)
    async with serving({"chat": {"d1": upstream}}, server=ONE) as site, RawClient.to(site.port) as client:
        body = b'{"model":"chat","x":"%b"}' % (b"x" * 30_000)
        client.post("/v1/chat/completions", body)
        await upstream.asked.wait()
        assert held(site) == len(body)
