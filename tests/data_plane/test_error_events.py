"""How servers and other gateways tell of a failure inside a stream: each form is known for what it is."""

from __future__ import annotations

import json

import openai
import pytest

from gatewayd.config.snapshot import RoutingSettings
from gatewayd.wire.openai import DONE
from tests.data_plane.gateway import ASK_STREAM, EVENTS, MESSAGES, before, forward
from tests.fakeup import FakeUpstream, event, sse_reply
from tests.web.support import RawClient, serving_deployments

FORMS = {
    "vLLM": event({"error": {"message": "boom", "type": "BadRequestError", "param": None, "code": 500}}),
    "vLLM, older": event({"object": "error", "message": "boom", "type": "InternalServerError", "code": 500}),
    "OpenRouter": event(
        {
            "id": "gen-1",
            "object": "chat.completion.chunk",
            "error": {"code": 502, "message": "boom"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        }
    ),
    "Anthropic's": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"boom"}}\n\n',
    "an event named error": b"event: error\ndata: boom\n\n",
    "llama.cpp, older": b'error: {"code":500,"message":"boom","type":"server_error"}\n\n',
    "a mere text": event({"error": "boom"}),
    "CRLF": event({"error": {"message": "boom"}}).replace(b"\n", b"\r\n"),
}
UNKNOWN = {"vLLM, older": ": boom", "llama.cpp, older": ": boom", "an event named error": "."}
"""Forms that OpenAI's SDKs do not raise for, and what is told of them."""
ALIVE = b": OPENROUTER PROCESSING\n\n"


@pytest.mark.parametrize("form", FORMS)
async def test_in_the_middle(form: str) -> None:
    """A-09, U-F14: as it came, once, without the `[DONE]` that some send after it. Ours follows if no SDK sees it."""
    ours = {"type": "upstream_error", "param": None, "code": "upstream_error"}
    told = f"The upstream answered 200 with an error{UNKNOWN.get(form)}"
    again = event({"error": {"message": told, **ours}}) if form in UNKNOWN else b""
    async with before(sse_reply([*EVENTS[:2], FORMS[form], DONE])) as (_, site), RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", ASK_STREAM)
        assert (await client.answer()).body == b"".join([*EVENTS[:2], FORMS[form], again])
        assert await client.ended() == b""
        assert (await site.record())["outcome"] == "broken_stream"
        assert site.gateway.health.state("d1").fails == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alive", [b"", ALIVE * 3])
async def test_as_the_first_event(form: str, alive: bytes) -> None:
    """A-08: a failed try, also behind comments; the fallback's stream is the only thing the client sees."""
    async with (
        FakeUpstream(sse_reply([*filter(None, [alive]), FORMS[form], DONE])) as bad,
        FakeUpstream(sse_reply([ALIVE, *EVENTS])) as good,
    ):
        deployments = forward(bad, "bad", order=1), forward(good, "good", order=2)
        async with (
            serving_deployments(*deployments, routing=RoutingSettings(num_retries=1)) as site,
            RawClient.to(site.port) as client,
        ):
            client.post("/v1/chat/completions", ASK_STREAM)
            answer = await client.answer()
        assert (answer.status, answer.body) == (200, ALIVE + b"".join(EVENTS))
        assert answer.headers["x-gatewayd-attempts"] == "2"
        assert site.gateway.health.state("bad").fails == 1


@pytest.mark.parametrize("word", ["error", '{"error": 1}', "data: [DONE]", "event: error"])
async def test_an_answer_about_errors_is_none(word: str) -> None:
    """Texts that look like the end of a stream, inside of its events."""
    told = event({"choices": [{"index": 0, "delta": {"content": word, "error": None}, "finish_reason": None}]})
    null = event({"error": None, "choices": []})
    async with before(sse_reply([told, null, *EVENTS])) as (_, site), RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", ASK_STREAM)
        assert (await client.answer()).body == told + null + b"".join(EVENTS)
        assert (await site.record())["outcome"] == "ok"


@pytest.mark.parametrize("form", FORMS)
async def test_the_sdk_raises_for_every_form(form: str) -> None:
    """A-09: a stream that ends without an error, and without `[DONE]`, is a whole one to the SDK."""
    async with (
        before(sse_reply([*EVENTS[:2], FORMS[form], DONE])) as (_, site),
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
        with pytest.raises((openai.APIError, json.JSONDecodeError)):  # the latter for what is no JSON
            _ = [part async for part in stream]


async def test_the_sdk_raises_with_the_upstreams_words() -> None:
    """A-09"""
    bad = event({"error": {"message": "overloaded, sorry", "type": "server_error", "param": None, "code": "busy"}})
    async with (
        before(sse_reply([*EVENTS[:2], bad])) as (_, site),
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
        texts: list[str | None] = []

        async def read() -> None:
            async for part in stream:
                texts.append(part.choices[0].delta.content)

        with pytest.raises(openai.APIError) as caught:
            await read()
    assert texts == ["one", "two"]
    assert (caught.value.code, caught.value.message) == ("busy", "overloaded, sorry")
    assert json.loads(bad.removeprefix(b"data: "))["error"] == caught.value.body
