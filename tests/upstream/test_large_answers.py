"""Answers that are large, or become it: the loop goes on while they are looked at."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable
from typing import Any

import pytest

from gatewayd.errors import UpstreamBadResponse, UpstreamStatus
from gatewayd.upstream.answer import Answer
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.litellm.answers import whole_beside
from gatewayd.wire.large import LARGE
from tests.fakeup import FIN, body_reply, head, raw_reply
from tests.upstream.doubles import call, deployment
from tests.upstream.forwarding import forwarding, refusal

BOMB = gzip.compress(b'{"choices":["' + b"0" * 60_000_000 + b'"]}')
TEXT = json.dumps({"choices": [{"text": 'so "it" goes'}] * 60_000}).encode()


def answer(body: bytes, *, coding: bytes | None = None, delimited: bool = True) -> Answer:
    made = Answer(asyncio.get_running_loop().create_future())
    made.status, made.body, made.delimited = 200, body, delimited
    if coding is not None:
        made.fields = {b"content-encoding": coding}
    return made


async def turns_during(work: Awaitable[bytes]) -> tuple[bytes, int]:
    """What it returns, and how often the loop had a turn meanwhile."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    try:
        return await work, turns
    finally:
        other.cancel()


async def test_a_bomb_goes_off_beside_the_loop() -> None:
    """U-F6"""
    forward = ForwardUpstream(deployment("http://a"))
    body, turns = await turns_during(forward.whole_in_steps(answer(BOMB, coding=b"gzip")))
    assert body == gzip.decompress(BOMB)
    assert turns > 20


async def test_an_answer_that_ended_with_its_connection_is_looked_at_in_steps() -> None:
    """U-F6"""
    assert len(TEXT) > LARGE
    forward = ForwardUpstream(deployment("http://a"))
    body, turns = await turns_during(forward.whole_in_steps(answer(TEXT, delimited=False)))
    assert body is TEXT
    assert turns > 10
    with pytest.raises(UpstreamBadResponse):
        await forward.whole_in_steps(answer(TEXT[: TEXT.rindex(b"}", 0, -4) + 1], delimited=False))


class Vectors:
    """litellm's answer, as far as it is looked at."""

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"data": [{"index": at, "embedding": [0.5] * 1536} for at in range(500)]}


async def test_vectors_are_packed_beside_the_loop() -> None:
    """U-F6: of translated calls too."""
    asked = call({"encoding_format": "base64"}, endpoint="embeddings")

    async def work() -> bytes:
        return (await whole_beside(asked, Vectors())).body or b""

    body, turns = await turns_during(work())
    assert isinstance(json.loads(body)["data"][499]["embedding"], str)
    assert turns > 1


async def test_large_answers_from_a_socket() -> None:
    """U-F6, U-B5: good ones, errors, and one that is cut."""
    closing = head(200, [("Connection", "close")])
    async with forwarding(body_reply(TEXT), raw_reply(closing + TEXT, FIN)) as (_, forward):
        for _ in range(2):
            assert (await forward.open(call())).body == TEXT
    failed = TEXT[:-1] + b', "error": {"message": "boom", "code": 503}}'
    for stream in (False, True):
        error = await refusal(body_reply(failed), stream=stream)
        assert isinstance(error, UpstreamStatus)
        assert (error.status, error.message) == (503, "boom")
    cut = TEXT[: TEXT.rindex(b"}", 0, -4) + 1]
    assert isinstance(await refusal(raw_reply(closing + cut, FIN)), UpstreamBadResponse)
    bomb = gzip.compress(b"0" * 70_000_000)
    assert isinstance(await refusal(body_reply(bomb, headers=[("Content-Encoding", "gzip")])), UpstreamBadResponse)
