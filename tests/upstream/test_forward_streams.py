"""Forwarded streams, many calls at once and TLS, against a scripted upstream on a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gatewayd.errors import (
    UpstreamIncomplete,
    UpstreamStatus,
    UpstreamTls,
)
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.wire.openai import Usage
from tests.certificates import Authority
from tests.clock import HandClock
from tests.fakeup import (
    DONE,
    FIN,
    HANG,
    RST,
    FakeUpstream,
    Reply,
    Step,
    chat_chunk,
    event,
    json_reply,
    sse_reply,
)
from tests.upstream.doubles import SlowSink, call, deployment, eventually
from tests.upstream.forwarding import ANSWER, CHAT, forwarding, streamed


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_stream(framing: str) -> None:
    async with forwarding(sse_reply(CHAT, framing=framing, headers=[("x-ratelimit-a", "1")])) as (up, forward):
        for _ in range(2):
            sink = SlowSink()
            reply = await forward.open(call(stream=True))
            assert reply.headers == [("content-type", "text/event-stream; charset=utf-8"), ("x-ratelimit-a", "1")]
            await reply.pipe(sink)
            reply.close()
            assert (bytes(sink.data), reply.usage) == (b"".join(CHAT), Usage(5, 7, 12))
        # The last bytes of framing may still be under way when the next call comes.
        assert up.connection_count <= 2
        assert up.connection_count == 2 or framing != "close"


async def test_a_stream_says_what_was_dropped() -> None:
    """U-A5: of a streaming call too."""
    async with forwarding(sse_reply(CHAT), model="gpt-5", drop_params=True) as (up, forward):
        reply = await forward.open(call(stream=True, top_p=0.5))
        assert ("x-gatewayd-dropped", "top_p") in reply.headers
        await reply.pipe(SlowSink())
        reply.close()
        assert "top_p" not in json.loads(up.requests[0].body)


async def test_a_large_request_is_mapped_beside_the_loop() -> None:
    """U-B13: what is looked for in a small body is looked for in a large one."""
    async with forwarding(json_reply(ANSWER), provider="mistral") as (up, forward):
        messages = [
            {"role": "developer", "content": [{"type": "text", "text": "a"}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": "x" * 3_000_000}],
            },
        ]
        await forward.open(call(messages=messages))
        first, second = json.loads(up.requests[0].body)["messages"]
        assert (first, second) == ({"role": "system", "content": "a"}, messages[1])


async def test_events_arrive_when_they_are_sent() -> None:
    go_on = asyncio.Event()
    async with forwarding(sse_reply([CHAT[0], go_on, *CHAT[1:]])) as (_, forward):
        sink = SlowSink()
        reply = await forward.open(call(stream=True))
        pipe = asyncio.ensure_future(reply.pipe(sink))
        await eventually(lambda: bytes(sink.data) == CHAT[0])
        go_on.set()
        await pipe
        reply.close()
        assert bytes(sink.data) == b"".join(CHAT)


@pytest.mark.parametrize(
    ("events", "framing"),
    [([*CHAT[:2], RST], "chunked"), ([*CHAT[:2], FIN], "chunked"), ([*CHAT[:2], RST], "close"), (CHAT[:2], "close"),
     (CHAT[:2], "chunked"), (CHAT[:2], "length")],
)  # fmt: skip
async def test_a_stream_cut_off(events: list[Any], framing: str) -> None:
    """A-01, A-02, A-03: on a real socket, where a reset may also swallow what was sent before."""
    async with forwarding(sse_reply(events, framing=framing, finish=RST not in events and FIN not in events)) as (
        _,
        forward,
    ):
        sink = SlowSink()
        reply = await forward.open(call(stream=True))
        with pytest.raises(UpstreamIncomplete):
            await reply.pipe(sink)
        reply.close()
        assert b"".join(CHAT[:2]).startswith(bytes(sink.data))


async def test_an_error_in_the_middle() -> None:
    """A-09"""
    bad = event({"error": {"message": "overloaded"}})
    async with forwarding(sse_reply([CHAT[0], bad, *CHAT[1:]])) as (_, forward):
        sink = SlowSink()
        reply = await forward.open(call(stream=True))
        with pytest.raises(UpstreamStatus) as caught:
            await reply.pipe(sink)
        reply.close()
        assert caught.value.told
        assert bytes(sink.data) == CHAT[0] + bad


async def test_an_upstream_known_to_omit_done() -> None:
    """A-11"""
    events = [event(chat_chunk("a")), event(chat_chunk(finish="stop"))]
    async with forwarding(sse_reply(events), provider="custom_openai") as (_, forward):
        assert (await streamed(forward))[0] == b"".join(events) + DONE
        with pytest.raises(UpstreamIncomplete):
            await streamed(forward, n=2)
        reply = await forward.open(call(stream=True, endpoint="completions"))
        with pytest.raises(UpstreamIncomplete):
            await reply.pipe(SlowSink())
        reply.close()


@pytest.mark.parametrize("leave", ["close", "cancel open", "cancel pipe"])
async def test_leaving_closes_the_connection_at_once(leave: str, clock: HandClock) -> None:
    """A-20, A-21: a silent upstream, so that nothing but the leaving itself can close it, and no timer is needed."""
    events: list[Step] = [HANG] if leave == "cancel open" else [CHAT[0], HANG]
    async with forwarding(sse_reply(events, finish=False)) as (up, forward):
        if leave == "cancel open":
            task: asyncio.Task[Any] = asyncio.ensure_future(forward.open(call(stream=True)))
            await eventually(lambda: len(up.requests) == 1)
            clock.stop()
            task.cancel()
            await asyncio.wait([task])
        else:
            reply = await forward.open(call(stream=True))
            task = asyncio.ensure_future(reply.pipe(SlowSink()))
            await asyncio.sleep(0)
            clock.stop()
            if leave == "cancel pipe":
                task.cancel()
                await asyncio.wait([task])
            reply.close()
            task.cancel()
            await asyncio.wait([task])
        await up.peers[0].gone.wait()


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    """A-24, A-25: what is sent stops at what kernel buffers take, and arrives whole when the client reads on."""
    big = event(chat_chunk("x" * 60_000))
    count = 500
    async with forwarding(sse_reply([CHAT[0], *[big] * count, DONE])) as (up, forward):
        sink = SlowSink(room=1)
        reply = await forward.open(call(stream=True))
        pipe = asyncio.ensure_future(reply.pipe(sink))
        await asyncio.sleep(0)
        assert sink.full
        sent = -1
        while sent != up.peers[0].sent:
            sent = up.peers[0].sent
            await asyncio.sleep(0.05)
        assert len(sink.data) < 1_000_000
        assert sent < len(big) * count
        while not pipe.done():
            sink.drain()
            await asyncio.sleep(0)
        await pipe
        reply.close()
        assert bytes(sink.data) == CHAT[0] + big * count + DONE


async def test_a_stream_is_read_in_small_pieces() -> None:
    """A-25: what one read brings is held for a client that is full already. On a connection used before, too, and
    whoever has it next gets all of his answer."""
    big = event(chat_chunk("x" * 60_000))
    count = 100
    pieces: list[int] = []

    class Measuring(SlowSink):
        def write(self, data: bytes) -> None:
            pieces.append(len(data))
            super().write(data)

    async with forwarding(
        sse_reply(CHAT), sse_reply([CHAT[0], *[big] * count, DONE]), json_reply({"text": "y" * 500_000})
    ) as (up, forward):
        await streamed(forward)
        sink = Measuring(room=1)
        reply = await forward.open(call(stream=True))
        pieces.clear()
        pipe = asyncio.ensure_future(reply.pipe(sink))
        while not pipe.done():
            before = -1
            while before != up.peers[-1].sent:  # as much as the kernel takes is there to be read
                before = up.peers[-1].sent
                await asyncio.sleep(0.01)
            sink.drain()
            await asyncio.sleep(0)
        await pipe
        reply.close()
        assert bytes(sink.data) == CHAT[0] + big * count + DONE
        assert max(pieces) <= 64 * 1024, "one read, and what waited for it of an event"
        assert len((await forward.open(call())).body or b"") > 500_000


async def test_a_thousand_calls_at_once_get_their_own_answers() -> None:
    def echo(request: Any) -> Reply:
        n = request.json()["n"]
        if request.json()["stream"]:
            return sse_reply([event({"n": n}), event({"n": n, "again": True}), DONE])
        return json_reply({"n": n})

    async with FakeUpstream(echo) as up:
        forward = ForwardUpstream(deployment(up.base_url))

        async def one(n: int) -> None:
            if n % 2:
                assert (await streamed(forward, n=n))[0] == event({"n": n}) + event({"n": n, "again": True}) + DONE
            else:
                assert json.loads((await forward.open(call(n=n, stream=False))).body or b"") == {"n": n}

        for turn in range(5):
            await asyncio.gather(*(one(turn * 200 + n) for n in range(200)))
        assert up.connection_count <= 400
        await forward.aclose()


async def test_over_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A-33"""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    async with FakeUpstream(json_reply(ANSWER), sse_reply(CHAT), tls=authority.server("localhost")) as up:
        forward = ForwardUpstream(deployment(up.base_url), tls=authority.trust)
        assert (await forward.open(call())).usage == Usage(5, 7, 12)
        assert (await streamed(forward))[0] == b"".join(CHAT)
        assert up.connection_count == 1, "the second call went over the first one's session"
        await forward.aclose()
        stranger = ForwardUpstream(deployment(up.base_url))
        with pytest.raises(UpstreamTls):
            await stranger.open(call())
