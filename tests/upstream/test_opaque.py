"""Answers that pass without being understood: when they are live, whole, empty or cut."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamIncomplete, UpstreamStatus
from gatewayd.secret import Secret
from gatewayd.upstream.base import Call, WholeReply
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.wire.dialect import SPEECH
from tests.fakeup import (
    FIN,
    RST,
    FakeUpstream,
    Reply,
    Step,
    body_reply,
    chunk,
    error_reply,
    head,
    json_reply,
    raw_reply,
)
from tests.upstream.sinks import ListSink

AUDIO = bytes(range(256)) * 512
TYPE = ("Content-Type", "audio/mpeg")
CHUNKED = ("Transfer-Encoding", "chunked")


def call() -> Call:
    return Call(SPEECH, SPEECH.dialect.peek(b'{"model":"voice","input":"Hello"}'), "r1")


def chunked(*steps: Step) -> Reply:
    return raw_reply(head(200, [TYPE, CHUNKED]), *(chunk(step) if isinstance(step, bytes) else step for step in steps))


async def opened(reply: Reply) -> tuple[bytes, Exception | None]:
    """The bytes that came through, and how they ended. Raises what `open` raises."""
    async with FakeUpstream(reply) as up:
        deployment = Deployment(
            "d", "d", "voice", "forward", "openai", "tts", api_base=up.base_url, api_key=Secret("k")
        )
        upstream = ForwardUpstream(deployment)
        try:
            answer = await upstream.open(call())
            assert up.requests[0].json() == {"model": "tts", "input": "Hello"}
            if isinstance(answer, WholeReply):
                assert answer.body is not None
                return answer.body, None
            assert answer.body is None
            assert dict(answer.headers)["content-type"] == "audio/mpeg"
            sink, error = ListSink(), None
            try:
                await answer.pipe(sink)
            except GatewayError as failure:
                error = failure
            answer.close()
            return sink.data, error
        finally:
            await upstream.aclose()


@pytest.mark.parametrize(
    "reply",
    [
        body_reply(AUDIO, content_type="audio/mpeg"),
        body_reply(AUDIO, content_type="audio/mpeg", status=206),
        chunked(AUDIO[:7], 0.01, AUDIO[7:], b""),
    ],
)
async def test_it_passes_byte_for_byte(reply: Reply) -> None:
    assert await opened(reply) == (AUDIO, None)


async def test_json_is_looked_at() -> None:
    assert await opened(json_reply({"audio": "UklGRg=="})) == (b'{"audio":"UklGRg=="}', None)
    with pytest.raises(UpstreamStatus) as caught:
        await opened(json_reply({"error": {"message": "no such voice", "type": "invalid_request_error"}}))
    assert caught.value.message == "no such voice"


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (error_reply(503), UpstreamStatus, "scripted failure"),
        (body_reply(b"audio?", status=500, content_type="audio/mpeg"), UpstreamStatus, "answered 500"),
        (body_reply(b"<html>Sign in</html>", content_type="text/html; charset=utf-8"), UpstreamBadResponse, "not JSON"),
        (body_reply(b"", content_type="audio/mpeg"), UpstreamIncomplete, "answer is empty"),
        (chunked(b""), UpstreamIncomplete, "answer is empty"),
        (raw_reply(head(200, [TYPE]), FIN), UpstreamIncomplete, "answer is empty"),
        (chunked(RST), UpstreamIncomplete, "answer is empty"),
    ],
)
async def test_before_its_first_byte_the_attempt_fails(reply: Reply, error: type[GatewayError], says: str) -> None:
    with pytest.raises(error, match=f"(?i){says}"):
        await opened(reply)


@pytest.mark.parametrize(
    "reply",
    [
        chunked(AUDIO, FIN),
        chunked(AUDIO, RST),
        raw_reply(head(200, [TYPE, ("Content-Length", str(len(AUDIO) + 1))]), AUDIO, FIN),
        raw_reply(head(200, [TYPE]), AUDIO, FIN),
    ],
    ids=["chunked", "reset", "length", "without a length"],
)
async def test_a_cut_answer_is_never_taken_for_whole(reply: Reply) -> None:
    data, error = await opened(reply)
    assert AUDIO.startswith(data)
    assert error is not None


async def test_what_is_not_taken_stops_the_upstream() -> None:
    piece = b"x" * 65536
    async with FakeUpstream(chunked(*[piece] * 500, b"")) as up:
        deployment = Deployment("d", "d", "voice", "forward", "openai", "tts", api_base=up.base_url)
        upstream = ForwardUpstream(deployment)
        answer = await upstream.open(call())
        held = -1
        while held != up.peers[0].sent:
            held = up.peers[0].sent
            await asyncio.sleep(0.1)
        assert held < 500 * len(piece) / 2
        sink = ListSink()
        await answer.pipe(sink)
        assert len(sink.data) == 500 * len(piece)
        answer.close()
        await upstream.aclose()
