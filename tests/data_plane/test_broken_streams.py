"""Streams that break after their commit point: what the client gets is what came, and then exactly one error event."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence

import openai
import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.wire.openai import DONE
from tests.data_plane.gateway import ASK_STREAM, COUNTS, EVENTS, MESSAGES, NO_MORE, before, errors_in
from tests.fakeup import (
    FIN,
    HANG,
    LAST_CHUNK,
    RST,
    FakeUpstream,
    Reply,
    Step,
    chat_chunk,
    chunk,
    event,
    head,
    raw_reply,
    sse_reply,
)
from tests.web.support import OPEN, RawClient, Site, serving_deployments

SSE = ("content-type", "text/event-stream")
HALF = b'data: {"choices":'
WITH_USAGE = event(chat_chunk("one", usage=COUNTS))
SENT = [WITH_USAGE, *EVENTS[1:3]]


def half_gzip() -> tuple[bytes, bytes]:
    """A gzip member that holds SENT and more, in two parts: the first decodes to SENT, the second is cut off."""
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"".join(SENT)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return first, (packer.compress(EVENTS[3] * 20 + DONE) + packer.flush())[:3]


def reply(fault: str, came: asyncio.Event) -> Reply:
    """SENT, and when `came` is set (the client has it), the fault."""
    top = {
        "chunked": head(200, [SSE, ("transfer-encoding", "chunked")]),
        "close": head(200, [SSE]),
        "length": head(200, [SSE, ("content-length", "9999")]),
        "gzip": head(200, [SSE, ("content-encoding", "gzip")]),
        "untyped": head(200, []),
        "typed": head(200, [("Content-Type", "Text/Event-Stream; charset=UTF-8")]),
    }
    framing, _, what = fault.partition(" ")
    if framing == "gzip":
        first, second = half_gzip()
        return raw_reply(top["gzip"] + first, came, second, FIN)
    steps: list[Step] = [chunk(sent) if framing == "chunked" else sent for sent in SENT]
    end: dict[str, Sequence[Step]] = {
        "FIN": [FIN],
        "RST": [RST],
        "properly": [LAST_CHUNK, FIN],
        "silence": [HANG],
        "half a chunk": [b"40\r\n" + HALF, FIN],
        "broken chunk": [b"zz\r\n", HANG],
    }
    return raw_reply(top[framing], *steps, came, *end[what])


FAULTS = {
    "chunked FIN": "upstream_incomplete",
    "chunked properly": "upstream_incomplete",  # ended by its last chunk, but without its end mark
    "chunked half a chunk": "upstream_incomplete",
    "chunked RST": "upstream_incomplete",
    "close FIN": "upstream_incomplete",
    "close RST": "upstream_incomplete",
    "length FIN": "upstream_incomplete",
    "length RST": "upstream_incomplete",
    "gzip FIN": "upstream_incomplete",
    "untyped RST": "upstream_incomplete",  # without a content type it is taken for what was asked for
    "typed RST": "upstream_incomplete",  # a content type in other letters
    "chunked silence": "upstream_idle_timeout",
    "chunked broken chunk": "upstream_bad_response",
}


async def told(site: Site, came: asyncio.Event, body: bytes = ASK_STREAM) -> tuple[bytes, dict[str, str]]:
    """What a raw client gets, the connection's end included."""
    async with RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", body)
        status, headers = await client.head()
        assert status == 200
        data = b""
        async for piece in client.chunks():  # raises if the message does not end properly
            data += piece
            if data == b"".join(SENT):
                came.set()
        assert await client.ended() == b""
    return data, headers


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_error_event_and_no_done(fault: str) -> None:
    """And it is counted: against the deployment, in the record with the tokens that were told, and in the metrics."""
    code = FAULTS[fault]
    came = asyncio.Event()
    async with before(reply(fault, came), server=NO_MORE if "silence" in fault else OPEN) as (up, site):
        body, headers = await told(site, came)
        record = await site.record()
        state = site.gateway.health.state("d1")
        assert site.sample("gatewayd_requests_total", group="chat", outcome="broken_stream") == 1
        assert up.connection_count == 1
    assert body.startswith(b"".join(SENT))
    rest = body.removeprefix(b"".join(SENT))
    assert rest.startswith(b"data: "), "nothing of an event of which only half has come"
    assert rest.endswith(b"\n\n")
    assert rest.count(b"\n\n") == 1
    assert DONE not in body
    [error] = errors_in(body)
    assert (error["code"], error["type"]) == (code, "upstream_error")
    assert (record["status"], record["outcome"], record["code"]) == (200, "broken_stream", code)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (5, 7)
    assert (state.fails, state.last_error, state.in_flight) == (1, code, 0)
    assert "x-request-id" in headers
    assert headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_sdk_gives_what_came_and_raises(fault: str) -> None:
    code = FAULTS[fault]
    came = asyncio.Event()
    texts = []
    async with (
        before(reply(fault, came), server=NO_MORE if "silence" in fault else OPEN) as (_, site),
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)

        async def read() -> None:
            async for part in stream:
                texts.append(part.choices[0].delta.content)
                if len(texts) == len(SENT):
                    came.set()

        with pytest.raises(openai.APIError) as caught:
            await read()
    assert texts == ["one", "two", "three"]
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("provider", "events", "good"),
    [
        ("custom_openai", EVENTS[:-1], True),
        ("openai_like", EVENTS[:-1], True),
        ("custom_openai", EVENTS[:-2], False),
        ("openai", EVENTS[:-1], False),
        ("hosted_vllm", EVENTS[:-1], False),
    ],
)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_stream_that_is_finished_but_has_no_end_mark(
    provider: str, events: list[bytes], good: bool, framing: str
) -> None:
    """A-11: it is added for servers that are known to leave it out, if every choice has its finish reason."""
    async with FakeUpstream(sse_reply(events, framing=framing)) as up:
        deployment = Deployment("d1", "d1", "chat", "forward", provider, "m", api_base=up.base_url)
        async with serving_deployments(deployment) as site, RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", ASK_STREAM)
            body = (await client.answer()).body
            assert (await site.record())["outcome"] == ("ok" if good else "broken_stream")
    rest = body.removeprefix(b"".join(events))
    if good:
        assert rest == DONE
    else:
        assert [error["code"] for error in errors_in(rest)] == ["upstream_incomplete"]


async def test_an_error_in_the_middle_passes_once_and_is_the_last_thing() -> None:
    """A-09: in the upstream's own words; what it says after that, even `[DONE]`, is not heard."""
    bad = event({"error": {"message": "overloaded", "type": "server_error", "code": "busy"}})
    async with before(sse_reply([*SENT, bad, EVENTS[1], DONE])) as (up, site):
        body, _ = await told(site, asyncio.Event())
        record = await site.record()
        assert body == b"".join(SENT) + bad
        assert (record["outcome"], record["completion_tokens"]) == ("broken_stream", 7)
        assert site.gateway.health.state("d1").fails == 1
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)


@pytest.mark.parametrize("late", [EVENTS[0], b"data: {", DONE])
@pytest.mark.parametrize("same_segment", [True, False])
async def test_nothing_follows_done(late: bytes, same_segment: bool) -> None:
    """A-10: and the connection it came on carries no second request."""
    first = [b"".join([*EVENTS, late])] if same_segment else [*EVENTS, late]
    async with before(sse_reply(first), sse_reply(EVENTS)) as (up, site):
        for _ in range(2):
            async with RawClient.to(site.port) as client:
                client.post("/v1/chat/completions", ASK_STREAM)
                assert (await client.answer()).body == b"".join(EVENTS)
        assert up.connection_count == 2
        assert site.gateway.health.state("d1").fails == 0


async def test_a_whole_answer_that_is_longer_than_it_said() -> None:
    """A-05: the promised bytes count, and the rest does not become the next answer."""
    long = raw_reply(head(200, [("content-type", "application/json"), ("content-length", "7")]) + b'{"a":1}{"evil":1}')
    good = raw_reply(head(200, [("content-type", "application/json"), ("content-length", "7")]) + b'{"b":2}')
    async with before(long, good) as (up, site):
        async with RawClient.to(site.port) as client:
            for expected in (b'{"a":1}', b'{"b":2}'):
                client.post("/v1/chat/completions")
                assert (await client.answer()).body == expected
        assert up.connection_count == 2


async def test_an_event_that_is_no_json_and_bytes_that_are_no_text() -> None:
    """A-13, A-17: they are the upstream's to send; nothing is known about tokens, and nobody is blamed."""
    odd = [EVENTS[0], b"data: {not json\n\n", b"data: \xff\xfe\x00\n\n", b'data: {"choices": [\n\n', DONE]
    async with before(sse_reply(odd)) as (_, site):
        async with RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", ASK_STREAM)
            assert (await client.answer()).body == b"".join(odd)
        record = await site.record()
    assert (record["outcome"], record.get("completion_tokens")) == ("ok", None)


async def test_a_compressed_stream_is_read_and_passed_on_plain() -> None:
    """A-07: although identity was asked for."""
    packed = gzip.compress(b"".join(EVENTS))
    async with before(raw_reply(head(200, [SSE, ("content-encoding", "gzip")]), packed[:30], packed[30:], FIN)) as (
        up,
        site,
    ):
        async with RawClient.to(site.port) as client:
            client.post("/v1/chat/completions", ASK_STREAM)
            answer = await client.answer()
        assert answer.body == b"".join(EVENTS)
        assert "content-encoding" not in answer.headers
        assert up.requests[0].headers["accept-encoding"] == "identity"
        assert json.loads(up.requests[0].body)["stream"] is True
