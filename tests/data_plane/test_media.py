"""Images, speech, moderations and rerank: OpenAI's SDK and raw requests, before upstreams of OpenAI's API."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from gatewayd.config.snapshot import Deployment, ServerSettings
from gatewayd.secret import Secret
from tests.data_plane.gateway import KEY, forward
from tests.fakeup import (
    FIN,
    HANG,
    RST,
    FakeUpstream,
    Received,
    Reply,
    Script,
    Step,
    body_reply,
    chunk,
    error_reply,
    event,
    head,
    json_reply,
    raw_reply,
    sse_reply,
)
from tests.web.support import OPEN, RawClient, Site, serving_deployments, until

AUDIO = bytes(range(256)) * 1024
IMAGE = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 5, "output_tokens": 7}}
VERDICT = {"id": "modr-1", "model": "omni", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]}
RANKS = {"id": "r", "results": [{"index": 1, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}
SPEAK = b'{"model":"media","input":"Hello","voice":"alloy"}'


@contextlib.asynccontextmanager
async def before(
    *replies: Reply | Script, server: ServerSettings = OPEN, **changes: Any
) -> AsyncIterator[tuple[FakeUpstream, Site, openai.AsyncOpenAI]]:
    async with (
        FakeUpstream(*replies) as up,
        serving_deployments(forward(up, group="media", **changes), server=server) as site,
        openai.AsyncOpenAI(base_url=site.base_url, api_key="none", timeout=20, max_retries=0) as client,
    ):
        yield up, site, client


def audio(*steps: Step) -> Reply:
    chunks = (chunk(step) if isinstance(step, bytes) else step for step in steps)
    return raw_reply(head(200, [("Content-Type", "audio/mpeg"), ("Transfer-Encoding", "chunked")]), *chunks)


async def test_images() -> None:
    async with before(json_reply(IMAGE)) as (up, site, client):
        for _ in range(2):  # the second time on the kept connection
            images = await client.images.generate(model="media", prompt="a cat", size="1024x1024")
            assert images.data is not None
            assert images.data[0].b64_json == "AAAA"
        assert [request.path for request in up.requests] == ["/v1/images/generations"] * 2
        assert up.requests[1].json() == {"model": "m", "prompt": "a cat", "size": "1024x1024"}
        assert up.requests[1].headers["authorization"] == f"Bearer {KEY}"
        await until(lambda: len(site.records.fields) == 2)
        assert {record["completion_tokens"] for record in site.records.fields} == {7}


async def test_streamed_images() -> None:
    events = [
        event({"type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0}),
        event({"type": "image_generation.completed", "b64_json": "AAAA", "usage": IMAGE["usage"]}),
    ]
    async with before(sse_reply(events)) as (up, site, client):
        stream = await client.images.generate(model="media", prompt="a cat", stream=True, partial_images=1)
        assert [part.type async for part in stream] == [json.loads(part[6:])["type"] for part in events]
        assert up.requests[0].headers["accept"] == "text/event-stream"
        record = await site.record()
        assert (record["outcome"], record["completion_tokens"]) == ("ok", 7)


async def test_a_cut_stream_of_images_raises() -> None:
    partial = event({"type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0})
    async with before(sse_reply([partial, FIN], finish=False)) as (_, site, client):
        with pytest.raises(openai.APIError, match="ended"):
            async for _part in await client.images.generate(model="media", prompt="a cat", stream=True):
                pass
        assert (await site.record())["outcome"] == "broken_stream"


async def test_moderations_need_no_model() -> None:
    server = ServerSettings(default_models={"moderations": "media"})
    async with before(json_reply(VERDICT), server=server) as (up, _, client):
        assert not (await client.moderations.create(input="hello")).results[0].flagged
        assert up.requests[0].json() == {"input": "hello", "model": "m"}
    async with before(json_reply(VERDICT)) as (_, _, client):
        with pytest.raises(openai.BadRequestError, match="'model' is missing"):
            await client.moderations.create(input="hello")
        assert (await client.moderations.create(model="media", input="hello")).id == "modr-1"


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
async def test_rerank_passes_as_it_is(path: str) -> None:
    body = b'{"model": "media", "query":"q", "documents":["a", {"text":"b"}], "top_n":1,"return_documents":true}'
    async with before(json_reply(RANKS), params={"max_tokens_per_doc": 99}) as (up, site, _):
        async with RawClient.to(site.port) as client:
            client.post(path, body)
            answer = await client.answer()
        assert (answer.status, json.loads(answer.body)) == (200, RANKS)
        assert up.requests[0].path == "/v1/rerank"
        assert up.requests[0].json() == json.loads(body) | {"model": "m", "max_tokens_per_doc": 99}


async def test_speech_passes_while_it_arrives() -> None:
    rest = asyncio.Event()
    async with before(audio(AUDIO[:1000], rest, AUDIO[1000:], b"")) as (up, site, client):
        async with client.audio.speech.with_streaming_response.create(
            model="media", input="Hello", voice="alloy"
        ) as answer:
            assert answer.headers["content-type"] == "audio/mpeg"
            pieces = answer.iter_bytes()
            data = await anext(pieces)
            assert AUDIO.startswith(data)
            rest.set()
            async for piece in pieces:
                data += piece
        assert data == AUDIO
        assert (up.requests[0].path, up.requests[0].json()["model"]) == ("/v1/audio/speech", "m")
        assert (await site.record())["outcome"] == "ok"


async def test_speech_as_events() -> None:
    events = [event({"type": "speech.audio.delta", "audio": "AA"}), event({"type": "speech.audio.done"})]
    async with before(sse_reply(events)) as (_, site, _), RawClient.to(site.port) as client:
        client.post("/v1/audio/speech", SPEAK.replace(b"}", b',"stream_format":"sse"}'))
        assert (await client.answer()).body == b"".join(events)


@pytest.mark.parametrize("end", [FIN, RST], ids=["end", "reset"])
async def test_cut_speech_cannot_pass_for_whole(end: Step) -> None:
    async with before(audio(AUDIO, end)) as (_, site, client):
        with pytest.raises(openai.APIConnectionError):
            await (await client.audio.speech.create(model="media", input="Hello", voice="alloy")).aread()
        assert (await site.record())["outcome"] == "broken_stream"


async def test_speech_fails_over_before_its_first_byte() -> None:
    async with FakeUpstream(audio(RST)) as bad, FakeUpstream(body_reply(AUDIO, content_type="audio/mpeg")) as good:
        deployments = (forward(bad, "d1", "media", order=1), forward(good, "d2", "media", order=2))
        async with serving_deployments(*deployments) as site, RawClient.to(site.port) as client:
            client.post("/v1/audio/speech", SPEAK)
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, AUDIO)
            assert answer.headers["x-gatewayd-deployment"] == "d2"
        assert (len(bad.requests), len(good.requests)) == (1, 1)


async def test_a_client_that_disconnects_ends_the_upstreams_request() -> None:
    async with before(audio(AUDIO, HANG)) as (up, site, _):
        async with RawClient.to(site.port) as client:
            client.post("/v1/audio/speech", SPEAK)
            await client.head()
        await up.peers[0].gone.wait()
        assert (await site.record())["outcome"] == "client_left"
        assert site.gateway.health.state("d1").fails == 0


@pytest.mark.parametrize("path", ["images/generations", "audio/speech", "moderations", "rerank"])
async def test_an_upstreams_error_passes(path: str) -> None:
    async with before(error_reply(429, "slow down", type="tokens", headers=[("retry-after", "7")])) as (_, site, _):
        async with RawClient.to(site.port) as client:
            client.post(f"/v1/{path}", b'{"model":"media"}')
            answer = await client.answer()
        assert (answer.status, answer.error["message"], answer.headers["retry-after"]) == (429, "slow down", "7")


@pytest.mark.parametrize("path", ["images/generations", "audio/speech", "rerank"])
async def test_a_stray_field_does_not_make_a_fault(path: str) -> None:
    def reply(request: Received) -> Reply:
        return json_reply({"data": [], "results": [], "seen": request.json()})

    async with (
        before(reply, params={"temperature": 0.5, "user": "gateway"}, additional_drop_params=["x"]) as (
            _,
            site,
            _,
        ),
        RawClient.to(site.port) as client,
    ):
        client.post(f"/v1/{path}", b'{"model":"media","x":1,"user":"me","stream":null}')
        seen = json.loads((await client.answer()).body)["seen"]
    assert seen == {"model": "m", "user": "me", "stream": None, "temperature": 0.5}


async def test_a_translated_deployment_says_that_it_cannot() -> None:
    translated = Deployment("d1", "d1", "media", "translate", "cohere", "rank", api_key=Secret("k"))
    async with serving_deployments(translated) as site, RawClient.to(site.port) as client:
        client.post("/v1/rerank", b'{"model":"media"}')
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (400, "endpoint_not_supported")
        assert answer.error["message"].startswith("The deployment has no endpoint 'rerank'")
        assert "d1" in answer.error["message"]


async def test_azure_names_the_deployment_in_the_path() -> None:
    async with before(json_reply(IMAGE)) as (up, site, _):
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint=site.base_url.removesuffix("/v1"),
            api_key="none",
            api_version="2025-04-01-preview",
            timeout=20,
        )
        async with azure as client:
            await client.images.generate(model="media", prompt="a cat")
        assert up.requests[0].json()["model"] == "m"
