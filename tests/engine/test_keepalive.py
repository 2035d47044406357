"""Comments into silent streams, and what follows the error event of a broken one."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

import openai
import pytest

from gatewayd.config.snapshot import Deployment, ServerSettings, ServerTimeouts, StreamSettings
from gatewayd.engine.keepalive import COMMENT, KeepAlives
from gatewayd.errors import UpstreamIncomplete, UpstreamStatus
from gatewayd.upstream.base import Flow
from gatewayd.wire.openai import DONE
from tests.fakeup import HANG, FakeUpstream, chat_events, sse_reply
from tests.upstream.doubles import SlowSink
from tests.web.support import CHAT, STREAM, RawClient, Stream, Teller, serving, serving_deployments, until

EVENT = b'data: {"choices":[]}\n\n'
OFTEN = ServerSettings(stream=StreamSettings(keep_alive=0.08))
COMPATIBLE = ServerSettings(stream=StreamSettings(error_done=True))


async def test_a_silent_stream_is_kept_alive_between_its_events() -> None:
    go_on = asyncio.Event()
    stream = Stream([EVENT, go_on, EVENT, DONE])
    async with (
        serving({"chat": {"d1": Teller([stream])}}, server=OFTEN) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", STREAM)
        await client.head()
        pieces = client.chunks()
        assert [await anext(pieces) for _ in range(4)] == [EVENT, COMMENT, COMMENT, COMMENT]
        go_on.set()
        rest = [piece async for piece in pieces]
        assert [piece for piece in rest if piece != COMMENT] == [EVENT, DONE]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_a_comment_stands_between_events_however_their_lines_end(end: bytes) -> None:
    """A-14"""
    sink = SlowSink()
    with KeepAlives().watching(sink, 0.02) as stream:
        stream.attach(_Still())
        stream.write(b"data: {}" + end)
        await until(lambda: COMMENT in sink.data)
    assert bytes(sink.data).startswith(b"data: {}" + end + COMMENT)


@pytest.mark.parametrize(
    "half", [b"data: {", b"data: {}\n", b"data: {}\r\n", b": comment\n", b"data: {}\n\ndata: {}\n", b""]
)
async def test_nothing_is_put_inside_an_event(half: bytes) -> None:
    sink, witness = SlowSink(), SlowSink()
    alive = KeepAlives()
    with alive.watching(sink, 0.02) as stream, alive.watching(witness, 0.02) as other:
        stream.write(half)
        other.write(EVENT)
        await until(lambda: witness.data.count(COMMENT) >= 3)
        assert bytes(sink.data) == half
        stream.write(b"\n\n")
        await until(lambda: COMMENT in sink.data)


async def test_a_client_that_is_behind_gets_no_comments() -> None:
    """A-24: it has something to read."""
    alive, sink, witness = KeepAlives(), SlowSink(room=1), SlowSink()
    flow = _Still()
    with alive.watching(sink, 0.02) as stream, alive.watching(witness, 0.02) as other:
        stream.attach(flow)
        stream.write(EVENT)
        other.write(EVENT)
        await until(lambda: witness.data.count(COMMENT) >= 3)
        assert (bytes(sink.data), flow.told) == (EVENT, ["pause"])
        sink.drain()
        await until(lambda: COMMENT in sink.data)
    assert flow.told[:2] == ["pause", "resume"]


async def test_one_timer_for_all_and_none_when_nobody_is_left() -> None:
    alive = KeepAlives()
    with alive.watching(SlowSink(), 5.0), alive.watching(SlowSink(), 5.0):
        assert len(alive._rounds) == 1
        with alive.watching(SlowSink(), 6.0):
            assert len(alive._rounds) == 2
        timers = [round.timer for round in alive._rounds.values()]
    assert not alive._rounds
    assert all(timer.cancelled() for timer in timers)


async def test_nothing_is_left_for_the_collector() -> None:
    """H-01: the reply knows its sink, and the sink the reply's flow; when it is over neither holds the other."""
    sink, flow = SlowSink(room=1), _Still()
    with KeepAlives().watching(sink, 5.0) as stream:
        stream.attach(flow)
        flow.sink = stream
        stream.write(EVENT)
    left = weakref.ref(flow)
    gc.disable()
    try:
        sink.drain()
        del flow, stream
        assert left() is None
    finally:
        gc.enable()


async def test_a_stream_that_flows_gets_no_comment() -> None:
    alive, sink, witness = KeepAlives(), SlowSink(), SlowSink()
    with alive.watching(sink, 0.2) as stream, alive.watching(witness, 0.2) as other:
        other.write(EVENT)

        def flowing() -> bool:
            stream.write(EVENT)
            return COMMENT in witness.data

        await until(flowing)
        assert COMMENT not in sink.data


async def test_without_the_setting_and_before_the_first_event_there_is_nothing() -> None:
    """4c.1, 4c.2: the bytes are the upstream's, and the answer's status is open until its first event."""
    first, *rest = chat_events("a")
    for server in (ServerSettings(), OFTEN):
        async with FakeUpstream(sse_reply([0.3, first, 0.3, *rest])) as upstream:
            deployment = Deployment("d1", "d1", "chat", "forward", "openai", "m", api_base=upstream.base_url)
            async with serving_deployments(deployment, server=server) as site, RawClient.to(site.port) as client:
                client.post("/v1/chat/completions", STREAM)
                body = (await client.answer()).body
        assert body.startswith(first)
        assert body.replace(COMMENT, b"") == first + b"".join(rest)
        assert (COMMENT in body) == (server is OFTEN)


async def test_what_is_no_event_stream_is_left_alone() -> None:
    stop = asyncio.Event()
    stream = Stream([b'{"a":1}\n\n', stop], headers=[("content-type", "application/json")])
    witness = Stream([EVENT, stop, DONE])
    async with (
        serving({"chat": {"d1": Teller([stream, witness])}}, server=OFTEN) as site,
        RawClient.to(site.port) as client,
        RawClient.to(site.port) as other,
    ):
        client.post("/v1/chat/completions", CHAT)
        await client.head()
        pieces = client.chunks()
        assert await anext(pieces) == b'{"a":1}\n\n'
        other.post("/v1/chat/completions", STREAM)
        await other.head()
        told = other.chunks()
        assert [await anext(told) for _ in range(4)] == [EVENT, COMMENT, COMMENT, COMMENT]
        stop.set()
        assert [piece async for piece in pieces] == []


async def test_our_comments_are_no_sign_of_life_of_the_upstream() -> None:
    """A-19: the idle timeout strikes although the client has been sent comments all the time."""
    server = ServerSettings(timeouts=ServerTimeouts(idle=0.6), stream=StreamSettings(keep_alive=0.08))
    first = chat_events("a")[0]
    async with FakeUpstream(sse_reply([first, HANG], finish=False)) as upstream:
        deployment = Deployment("d1", "d1", "chat", "forward", "openai", "m", api_base=upstream.base_url)
        async with serving_deployments(deployment, server=server) as site, RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", STREAM)
            body = (await client.answer()).body
            assert (await site.record())["code"] == "upstream_idle_timeout"
    assert body.startswith(first + COMMENT * 2)
    parts = body.removeprefix(first).replace(COMMENT, b"").split(b"\n\n")
    assert json.loads(parts[0].removeprefix(b"data: "))["error"]["code"] == "upstream_idle_timeout"
    assert parts[1:] == [b""]


async def test_the_sdk_does_not_see_comments() -> None:
    go_on = asyncio.Event()
    parts = chat_events("a", "b")
    async with (
        serving({"chat": {"d1": Teller([Stream([parts[0], go_on, *parts[1:]])])}}, server=OFTEN) as site,
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "x"}], stream=True
        )
        texts = []
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content)
            if len(texts) == 1:
                asyncio.get_running_loop().call_later(0.3, go_on.set)
        assert texts == ["a", "b", None]


# --- [DONE] behind an error event ---------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [False, True])
async def test_done_follows_the_error_event_where_it_is_asked_for(told: bool) -> None:
    """A-01, A-09: vLLM's form; the error event is one, whoever wrote it."""
    event = b'data: {"error":{"message":"overloaded"}}\n\n'
    error = UpstreamStatus("overloaded", status=502) if told else UpstreamIncomplete("cut")
    error.told = told
    stream = Stream([EVENT, event, error] if told else [EVENT, error])
    async with (
        serving({"chat": {"d1": Teller([stream])}}, server=COMPATIBLE) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", STREAM)
        body = (await client.answer()).body
        assert await client.ended() == b"", "the connection is closed all the same"
        assert (await site.record())["outcome"] == "broken_stream"
    assert body.endswith(b"\n\n" + DONE)
    assert (body.count(b'"error"'), body.count(DONE)) == (1, 1)


async def test_the_sdk_raises_before_it_sees_that_done() -> None:
    stream = Stream([EVENT, UpstreamIncomplete("cut")])
    async with (
        serving({"chat": {"d1": Teller([stream])}}, server=COMPATIBLE) as site,
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        told = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError) as caught:
            async for _ in told:
                pass
    assert caught.value.code == "upstream_incomplete"


class _Still(Flow):
    def __init__(self) -> None:
        self.told: list[str] = []
        self.sink: object = None

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")
