"""Requests whose head is known: what comes slowly, or looks alike, is treated as on any other connection."""

from __future__ import annotations

import asyncio

from gatewayd.config.snapshot import Deployment, Limits, ServerSettings
from gatewayd.web.connection import Deadlines
from tests.fakeup import FakeUpstream
from tests.replies import json_reply
from tests.web.shapes import POST, H
from tests.web.support import CHAT, Site, serving_deployments, until
from tests.web.wire import Wire, warm

BODY = CHAT[:-1] + b" " * 40_000 + b"}"
HEAD = POST + b"Content-Length: %d\r\n\r\n" % len(BODY)
SHORT = POST + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT


def held(site: Site) -> float:
    return site.sample("gatewayd_request_body_bytes") or 0.0


async def test_a_body_in_slow_segments_is_answered() -> None:
    """U-C2: it takes longer than a head may; segments follow each other sooner than a held message is given up."""
    async with warm(SHORT, deadlines=Deadlines(head=0.4)) as (site, _), Wire.to(site.port) as wire:
        await wire.send(HEAD)
        for start in range(0, len(BODY), 2500):
            await asyncio.sleep(0.05)  # the client is slow; nothing announces the next segment
            await wire.send(BODY[start : start + 2500])
        assert (await wire.answer()).status == 200


async def test_a_body_that_stops_is_refused_in_time() -> None:
    """U-C2: with the deadline for bodies and an answer, as through the parser."""
    async with warm(SHORT, deadlines=Deadlines(body=0.4)) as (site, _), Wire.to(site.port) as wire:
        await wire.send(HEAD + BODY[:1000], BODY[1000:2000])
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")


async def test_what_is_held_of_a_body_counts() -> None:
    """U-C2: from its first segment on, until its client disconnects."""
    async with warm(SHORT) as (site, _):
        async with Wire.to(site.port) as wire:
            await wire.send(HEAD + BODY[:10_000])
            assert held(site) >= 10_000
            await wire.send(BODY[10_000:20_000])
            assert held(site) >= 20_000
        await until(lambda: held(site) == 0)


async def test_no_more_is_held_than_bodies_may_take() -> None:
    """U-C2: the second one is refused as a body that is read is."""
    server = ServerSettings(limits=Limits(body_mb=1, bodies_mb=0.05))
    async with warm(SHORT, server=server) as (site, _), Wire.to(site.port) as one, Wire.to(site.port) as other:
        await one.send(HEAD + BODY[:-1])
        await other.send(HEAD + BODY[:20_000])
        answer = await other.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_busy")
        await one.send(BODY[-1:])
        assert (await one.answer()).status == 200


async def test_a_default_model_is_kept_by_endpoint() -> None:
    """U-C4: two URLs that are alike in their first 256 characters, with slashes that do not count."""
    server = ServerSettings(default_models={"chat/completions": "chat", "embeddings": "vectors"})
    body = b'{"input":"a","messages":[]}'
    host = H + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with FakeUpstream(json_reply({"object": "list", "data": []})) as upstream:
        deployments = [
            Deployment(name, name, name, "forward", "openai", f"m-{name}", api_base=upstream.base_url)
            for name in ("chat", "vectors")
        ]
        async with serving_deployments(*deployments, server=server) as site, Wire.to(site.port) as wire:
            for path in (b"v1/chat/completions", b"v1/embeddings") * 3:
                await wire.send(b"POST " + b"/" * 300 + path + b" HTTP/1.1\r\n" + host)
                assert (await wire.answer()).status == 200
                model = "m-chat" if b"chat" in path else "m-vectors"
                assert upstream.requests[-1].json()["model"] == model
