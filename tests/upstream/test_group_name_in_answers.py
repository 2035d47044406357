"""Answers that name the group, in whatever pieces they come."""

from __future__ import annotations

import asyncio
import json

import pytest

from gatewayd.errors import UpstreamIncomplete
from gatewayd.upstream.naming import NamedReply, named
from tests.fakeup import chat_events, sse_reply
from tests.upstream.doubles import call
from tests.upstream.forwarding import COUNTS, forwarding
from tests.upstream.sinks import ListSink
from tests.web.support import Stream


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"id": 1, "model": "gpt-real", "x": {"model": 1.50}}', b'{"id":1,"model":"mine","x":{"model": 1.50}}'),
        (b'{ "id": 1 }', b'{ "id": 1 }'),
        (b"[DONE]", b"[DONE]"),
        (b'{"model": "cut', b'{"model": "cut'),
    ],
)
def test_the_top_level_is_what_is_renamed(body: bytes, expected: bytes) -> None:
    """U-B19: what is below it stays as it is."""
    assert named(body, "mine") == expected


EVENTS = b"".join(
    [
        b": comment\n\n",
        b'event: x\r\ndata: {"model":"gpt-real","choices":[]}\r\n\r\n',
        b'data:{"model":"gpt-real","choices":[{"delta":{"content":"data: {\\"model\\":1}"}}]}\r\r',
        b'data: {"usage":null}\n\ndata: [DONE]\n\n',
    ]
)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
async def test_a_stream_in_any_pieces(size: int) -> None:
    """U-B19"""
    pieces = [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]
    sink = ListSink()
    reply = NamedReply(Stream(pieces), "mine")
    await reply.pipe(sink)
    assert sink.data == EVENTS.replace(b'"gpt-real"', b'"mine"')


async def test_what_is_large_passes_as_it_is() -> None:
    """Nothing is held for ever."""
    piece = b'data: {"model":"gpt-real","x":"' + b"x" * 1_100_000
    sink = ListSink()
    await NamedReply(Stream([piece, b'"}\n\n']), "mine").pipe(sink)
    assert sink.data == piece + b'"}\n\n'


async def test_a_stream_that_breaks_leaves_no_half_line() -> None:
    sink = ListSink()
    broken = Stream([b'data: {"model":"a"}\n\ndata: {"mo', UpstreamIncomplete("cut")])
    with pytest.raises(UpstreamIncomplete):
        await NamedReply(broken, "mine").pipe(sink)
    assert sink.data == b'data: {"model":"mine"}\n\n'


async def test_usage_is_told_on() -> None:
    async with forwarding(sse_reply(chat_events("Hello", usage=COUNTS))) as (_, forward):
        reply = NamedReply(await forward.open(call(stream=True)), "mine")
        await asyncio.wait_for(reply.pipe(sink := ListSink()), 10)
        reply.close()
        assert reply.usage is not None
        first = sink.data.split(b"\n\n")[0].removeprefix(b"data: ")
        assert json.loads(first)["model"] == "mine"
