"""Forms with files: OpenAI's SDK and raw requests, before upstreams of OpenAI's API."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from gatewayd.config.snapshot import Deployment, Limits, RoutingSettings, ServerSettings
from gatewayd.secret import Secret
from tests.data_plane.gateway import forward
from tests.fakeup import (
    FIN,
    FakeUpstream,
    Received,
    Reply,
    Script,
    body_reply,
    error_reply,
    event,
    json_reply,
    sse_reply,
)
from tests.web.support import OPEN, RawClient, Site, serving_deployments, until

SOUND = bytes(range(256)) * 8192
"""Two megabytes, looked through in steps."""
IMAGE = {"created": 1, "data": [{"b64_json": "AAAA"}]}
TRANSCRIPT = {"text": "Hello", "usage": {"type": "tokens", "input_tokens": 5, "output_tokens": 7, "total_tokens": 12}}
EVENTS = [
    event({"type": "transcript.text.delta", "delta": "Hel"}),
    event({"type": "transcript.text.done", "text": "Hello"}),
]


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


def parts(request: Received) -> dict[str, bytes]:
    """The form as a parser of the standard library reads it."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    found = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = content
    return found


def form(**fields: str) -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://localhost", data=fields, files={"file": ("a.wav", b"RIFF")})
    return request.read(), request.headers["content-type"]


async def test_transcriptions() -> None:
    async with before(json_reply(TRANSCRIPT)) as (up, site, client):
        for _ in range(2):
            answer = await client.audio.transcriptions.create(
                model="media", file=("a.wav", SOUND), language="en", timestamp_granularities=["word", "segment"]
            )
            assert answer.text == "Hello"
        assert [request.path for request in up.requests] == ["/v1/audio/transcriptions"] * 2
        sent = parts(up.requests[1])
        assert (sent["model"], sent["file"], sent["language"]) == (b"m", SOUND, b"en")
        await until(lambda: len(site.records.fields) == 2)
        assert {record["completion_tokens"] for record in site.records.fields} == {7}


async def test_nothing_but_the_model_is_changed() -> None:
    body, content_type = form(model="media", prompt="x")
    async with before(json_reply(TRANSCRIPT)) as (up, site, _), RawClient.to(site.port) as client:
        client.post("/v1/audio/transcriptions", body, content_type=content_type)
        assert (await client.answer()).status == 200
        assert up.requests[0].body == body.replace(b"media", b"m")
        assert up.requests[0].headers["content-type"] == content_type


async def test_transcripts_as_text() -> None:
    async with before(body_reply(b"1\n00:00 --> 00:01\nHello", content_type="text/plain; charset=utf-8")) as (
        _,
        _,
        client,
    ):
        text = await client.audio.transcriptions.create(model="media", file=("a.wav", b"RIFF"), response_format="srt")
        assert text == "1\n00:00 --> 00:01\nHello"


async def test_streamed_transcripts() -> None:
    async with before(sse_reply(EVENTS)) as (up, site, client):
        stream = await client.audio.transcriptions.create(model="media", file=("a.wav", SOUND), stream=True)
        assert [part.type async for part in stream] == ["transcript.text.delta", "transcript.text.done"]
        assert parts(up.requests[0])["stream"] == b"true"
        assert (await site.record())["outcome"] == "ok"


async def test_a_cut_stream_of_a_transcript_raises() -> None:
    async with before(sse_reply([EVENTS[0], FIN], finish=False)) as (_, site, client):
        with pytest.raises(openai.APIError, match="end"):
            async for _part in await client.audio.transcriptions.create(
                model="media", file=("a.wav", b"RIFF"), stream=True
            ):
                pass
        assert (await site.record())["outcome"] == "broken_stream"


async def test_translations() -> None:
    async with before(json_reply({"text": "Hello"})) as (up, _, client):
        assert (await client.audio.translations.create(model="media", file=("a.wav", SOUND))).text == "Hello"
        assert up.requests[0].path == "/v1/audio/translations"


async def test_image_edits_and_variations() -> None:
    async with before(json_reply(IMAGE)) as (up, _, client):
        edited = await client.images.edit(
            model="media", image=[("a.png", SOUND), ("b.png", b"PNG")], prompt="a hat", mask=("m.png", b"MASK")
        )
        varied = await client.images.create_variation(model="media", image=("a.png", b"PNG"))
        assert edited.data is not None
        assert varied.data is not None
        assert edited.data[0].b64_json == varied.data[0].b64_json == "AAAA"
        assert [request.path for request in up.requests] == ["/v1/images/edits", "/v1/images/variations"]
        assert parts(up.requests[0])["mask"] == b"MASK"
        assert {parts(request)["model"] for request in up.requests} == {b"m"}


async def test_image_edits_in_json() -> None:
    body = {"model": "media", "prompt": "a hat", "images": [{"image_url": "https://example.com/a.png"}]}
    async with before(json_reply(IMAGE)) as (up, site, _), RawClient.to(site.port) as client:
        client.post("/v1/images/edits", json.dumps(body).encode())
        assert (await client.answer()).status == 200
        assert up.requests[0].json() == body | {"model": "m"}
        assert up.requests[0].headers["content-type"] == "application/json"


async def test_an_upload_is_sent_again_to_the_next_deployment() -> None:
    async with FakeUpstream(error_reply(500)) as bad, FakeUpstream(json_reply(TRANSCRIPT)) as good:
        deployments = (forward(bad, "d1", "media", order=1), forward(good, "d2", "media", order=2))
        async with (
            serving_deployments(*deployments) as site,
            openai.AsyncOpenAI(base_url=site.base_url, api_key="none", timeout=20, max_retries=0) as client,
        ):
            assert (await client.audio.transcriptions.create(model="media", file=("a.wav", SOUND))).text == "Hello"
        assert bad.requests[0].body == good.requests[0].body


async def test_an_upstreams_error_passes() -> None:
    async with before(error_reply(400, "no such voice", type="invalid_request_error")) as (_, _, client):
        with pytest.raises(openai.BadRequestError, match="no such voice"):
            await client.audio.transcriptions.create(model="media", file=("a.wav", b"RIFF"))


async def test_values_of_the_configuration_are_added() -> None:
    async with before(json_reply(TRANSCRIPT), params={"language": "de", "temperature": 0.5}) as (up, _, client):
        await client.audio.transcriptions.create(model="media", file=("a.wav", b"RIFF"), language="en")
        sent = parts(up.requests[0])
        assert (sent["language"], sent["temperature"]) == (b"en", b"0.5")


async def test_the_path_names_the_model_for_azures_clients() -> None:
    async with before(json_reply(TRANSCRIPT)) as (up, site, _):
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=site.base_url.removesuffix("/v1"), api_key="none", api_version="2024-10-21", timeout=20
        ) as client:
            await client.audio.transcriptions.create(model="media", file=("a.wav", b"RIFF"))
        body, content_type = form(prompt="x")
        async with RawClient.to(site.port) as raw:
            raw.post("/openai/deployments/media/audio/transcriptions", body, content_type=content_type)
            assert (await raw.answer()).status == 200
        assert [parts(request)["model"] for request in up.requests] == [b"m", b"m"]


async def test_a_pattern_carries_the_models_name() -> None:
    async with FakeUpstream(json_reply(TRANSCRIPT)) as up:
        wild = Deployment("d1", "d1", "any/*", "forward", "openai", "*", api_base=up.base_url, api_key=Secret("k"))
        body, content_type = form(model="any/whisper")
        async with serving_deployments(wild) as site, RawClient.to(site.port) as client:
            client.post("/v1/audio/transcriptions", body, content_type=content_type)
            assert (await client.answer()).status == 200
        assert parts(up.requests[0])["model"] == b"whisper"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (b"--b\r\n", "multipart/form-data; boundary=b", 400, "its end is missing"),
        (b"", "multipart/form-data; boundary=b", 400, "its end is missing"),
        (b"{}", "multipart/form-data; boundary=b", 400, "does not begin with its boundary"),
        (b"{}", "multipart/form-data", 415, "no valid boundary"),
        (b"RIFF", "audio/wav", 415, "must be a form or JSON"),
        (form(prompt="x")[0], form(prompt="x")[1].replace("boundary=", "boundary=x"), 400, "does not begin"),
    ],
    ids=["cut", "empty", "no form", "no boundary", "neither form nor JSON", "another boundary"],
)
async def test_bad_uploads(body: bytes, content_type: str, status: int, says: str) -> None:
    async with before(json_reply(TRANSCRIPT)) as (up, site, _), RawClient.to(site.port) as client:
        client.post("/v1/audio/transcriptions", body, content_type=content_type)
        answer = await client.answer()
        assert answer.status == status
        assert says in answer.error["message"]
        assert up.requests == []


async def test_a_form_is_no_body_for_chat() -> None:
    body, content_type = form(model="media")
    async with before(json_reply(TRANSCRIPT)) as (_, site, _), RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", body, content_type=content_type)
        assert (await client.answer()).error["code"] == "unsupported_media_type"


async def test_an_upload_has_the_limit_of_every_body() -> None:
    server = ServerSettings(limits=Limits(body_mb=1))
    async with before(json_reply(TRANSCRIPT), server=server) as (up, _, client):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.audio.transcriptions.create(model="media", file=("a.wav", SOUND))
        assert caught.value.status_code == 413
        assert up.requests == []


async def test_a_client_that_disconnects_in_its_upload_reaches_no_upstream() -> None:
    body, content_type = form(model="media")
    async with before(json_reply(TRANSCRIPT)) as (up, site, _):
        async with RawClient.to(site.port) as client:
            client.send(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: a\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
                % (content_type.encode(), len(body))
                + body[:-10]
            )
        assert (await site.record())["outcome"] == "client_left"
        assert up.requests == []


async def test_a_translated_deployment_says_that_it_cannot() -> None:
    translated = Deployment("d1", "d1", "media", "translate", "gemini", "g", api_key=Secret("k"))
    body, content_type = form(model="media")
    async with (
        serving_deployments(translated, routing=RoutingSettings(num_retries=0)) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/audio/transcriptions", body, content_type=content_type)
        assert (await client.answer()).error["code"] == "endpoint_not_supported"
