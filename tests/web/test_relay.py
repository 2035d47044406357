"""Bytes on their way to the client: the same bytes, whatever their pieces."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.snapshot import Deployment
from gatewayd.upstream.base import Flow, Sink
from gatewayd.wire.openai import DONE
from tests.fakeup import FakeUpstream, chat_events, raw_reply
from tests.replies import chunk, head
from tests.web.support import STREAM, RawClient, Stream, Teller, serving, serving_deployments, until


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=300), max_size=20))
async def test_every_byte_arrives_in_order(pieces: list[bytes]) -> None:
    """4c.1, A-13, A-16, A-17: pieces of any size and content, empty ones too."""
    async with serving({"chat": {"d1": Teller([Stream([*pieces, DONE])])}}) as site:
        for version in (b"1.1", b"1.0"):
            async with RawClient.to(site.port) as client:
                client.send(b"POST /chat/completions HTTP/%b\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (version, 46))
                client.send(STREAM.ljust(46))
                if version == b"1.1":
                    answer = await client.answer()
                    assert answer.body == b"".join(pieces) + DONE
                    assert list(answer.chunks) == [piece for piece in [*pieces, DONE] if piece]
                else:
                    await client.head()
                    assert await client.ended() == b"".join(pieces) + DONE


@settings(max_examples=30)
@given(st.data())
async def test_an_upstreams_bytes_are_the_clients_bytes(data: st.DataObject) -> None:
    """4c.1, A-14, A-16: through the forwarding upstream, cut anywhere into segments and chunks."""
    events = b": a comment\r\n\r\n" + b"".join(chat_events("Grüße", "\U0001f600", "end"))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events) - 1), max_size=12)))
    parts = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    start = head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
    reply = raw_reply(start, *(chunk(part) for part in parts), b"0\r\n\r\n")
    async with FakeUpstream(reply) as upstream:
        deployment = Deployment("d1", "d1", "chat", "forward", "openai", "m", api_base=upstream.base_url)
        async with serving_deployments(deployment) as site, RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", STREAM)
            assert (await client.answer()).body == events


async def test_a_flow_is_paused_when_it_comes_to_a_client_that_is_full_already() -> None:
    """The sink's promise to `attach`: a pipelined client whose last answer still fills the buffer."""
    told: list[str] = []

    class Late(Stream):
        async def pipe(self, sink: Sink) -> None:
            class Tap(Flow):
                def pause(self) -> None:
                    told.append("pause")

                def resume(self) -> None:
                    told.append("resume")

            sink.write(b"x" * 30_000_000)
            sink.attach(Tap())
            sink.write(DONE)
            await until(lambda: told[-1:] == ["resume"])

    async with serving({"chat": {"d1": Teller([Late()])}}) as site, RawClient.to(site.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.post("/v1/chat/completions", STREAM)
        await until(lambda: told == ["pause"])
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await client.answer()
        assert len(answer.body) == 30_000_000 + len(DONE)
        assert told == ["pause", "resume"]


async def test_nothing_is_written_to_a_client_that_is_gone() -> None:
    """A sink never raises; asyncio's own warning about lost writes never comes up."""
    go = asyncio.Event()

    class Stubborn(Stream):
        async def pipe(self, sink: Sink) -> None:
            sink.write(b"data: {}\n\n")
            try:
                await go.wait()
            except asyncio.CancelledError:
                for _ in range(20):
                    sink.write(b"data: {}\n\n")
                raise

    stream = Stubborn()
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM)
        await client.head()
        client.reset()
        async with asyncio.timeout(30):
            await stream.closed.wait()
        assert (await site.record())["outcome"] == "client_left"
