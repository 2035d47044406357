"""The official SDKs, base URL changed and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from gatewayd.config.snapshot import Deployment
from tests.fakeup import FakeUpstream, chat_events, error_reply, json_reply, sse_reply
from tests.web.support import KEY, WITH_KEY, Site, serving_deployments, until

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def mock(group: str, **script: Any) -> Deployment:
    return Deployment(f"d-{group}", f"d-{group}", group, "scripted", "openai", group, mock=script)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    deployments = (
        mock("chat", text="Hello back"),
        mock("tools", tool_calls=[{"name": "look", "arguments": {"at": 1}}]),
        mock("vendor/embed"),
        mock("cut", text="one two three four", cut_after=2),
        mock("limited", fail={"status": 429, "retry_after": 0.1}),
        mock("slow", hang_after=2, text="a b c d"),
    )
    async with serving_deployments(*deployments, server=WITH_KEY) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=site.base_url, api_key=KEY, timeout=20) as client:
        yield client


async def test_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="chat", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello back"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer._request_id is not None


async def test_streamed_chat(client: openai.AsyncOpenAI, site: Site) -> None:
    text = ""
    usage = None
    async with await client.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ) as stream:
        async for part in stream:
            text += (part.choices[0].delta.content or "") if part.choices else ""
            usage = part.usage or usage
    assert text == "Hello back"
    assert usage is not None
    record = await site.record()
    assert (record["outcome"], record["completion_tokens"], record["key"]) == (
        "ok",
        usage.completion_tokens,
        "master_key",
    )


async def test_tools(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="tools", messages=MESSAGES, tools=TOOLS)
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("look", '{"at": 1}')


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    """The SDK asks for base64 of its own accord."""
    answer = await client.embeddings.create(model="vendor/embed", input=["one", "two"])
    assert [entry.index for entry in answer.data] == [0, 1]
    assert all(isinstance(number, float) for number in answer.data[0].embedding)


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert "vendor/embed" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("vendor/embed")).id == "vendor/embed"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


async def test_errors_are_the_sdks_own_classes(client: openai.AsyncOpenAI, site: Site) -> None:
    once = client.with_options(max_retries=0)
    with pytest.raises(openai.NotFoundError):
        await once.chat.completions.create(model="nope", messages=MESSAGES)
    with pytest.raises(openai.RateLimitError) as caught:
        await once.chat.completions.create(model="limited", messages=MESSAGES)
    assert caught.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.AuthenticationError):
        await once.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.BadRequestError) as refused:
        await once.chat.completions.create(model="chat", messages=MESSAGES, extra_body={"api_base": "http://evil"})
    assert refused.value.param == "api_base"


async def test_a_cut_stream_raises(client: openai.AsyncOpenAI, site: Site) -> None:
    """A-01: the SDK ends silently at a mere end of the connection, so the error event is what tells it."""
    with pytest.raises(openai.APIError, match="end"):
        async for _ in await client.chat.completions.create(model="cut", messages=MESSAGES, stream=True):
            pass
    assert (await site.record())["outcome"] == "broken_stream"


async def test_leaving_a_stream_early_is_noticed(client: openai.AsyncOpenAI, site: Site) -> None:
    """A-20"""
    stream = await client.chat.completions.create(model="slow", messages=MESSAGES, stream=True)
    async for _ in stream:
        break
    await stream.close()
    assert (await site.record())["outcome"] == "client_left"
    await until(lambda: site.gateway.in_flight == 0)


async def test_the_synchronous_client_too(site: Site) -> None:
    def use() -> str:
        with openai.OpenAI(base_url=site.base_url, api_key=KEY, timeout=20) as client:
            assert client.completions.create(model="chat", prompt="Hello").choices[0].text == "Hello back"
            with client.chat.completions.stream(model="chat", messages=MESSAGES) as stream:
                return stream.get_final_completion().choices[0].message.content or ""

    assert await asyncio.to_thread(use) == "Hello back"


async def test_azures_client(site: Site) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=site.base_url.removesuffix("/v1"), api_key=KEY, api_version="2024-10-21", timeout=20
    ) as client:
        answer = await client.chat.completions.create(model="chat", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello back"


async def test_the_sdk_does_not_multiply_our_tries() -> None:
    """x-should-retry: one request of the SDK's, although it would try a 500 three times."""
    async with FakeUpstream(error_reply(500)) as upstream:
        deployment = Deployment("d1", "d1", "chat", "forward", "openai", "m", api_base=upstream.base_url)
        async with (
            serving_deployments(deployment) as site,
            openai.AsyncOpenAI(base_url=site.base_url, api_key="dummy", timeout=20) as client,
        ):
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="chat", messages=MESSAGES)
        assert len(upstream.requests) == 1


async def test_the_forwarded_request_is_the_sdks() -> None:
    """D-05: body bytes but for the model; no header that was meant for us."""
    replies = (json_reply({"object": "chat.completion", "choices": [{}]}), sse_reply(chat_events("a", "b")))
    seen: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request)

    async with FakeUpstream(*replies) as upstream:
        deployment = Deployment("d1", "d1", "chat", "forward", "openai", "upstream-name", api_base=upstream.base_url)
        async with (
            serving_deployments(deployment) as site,
            httpx.AsyncClient(event_hooks={"request": [note]}) as http,
            openai.AsyncOpenAI(base_url=site.base_url, api_key="mine", http_client=http) as client,
        ):
            await client.chat.completions.create(model="chat", messages=MESSAGES, temperature=0.1)
            stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
            assert [part.choices[0].delta.content async for part in stream] == ["a", "b", None]
        first = upstream.requests[0]
        assert first.body == seen[0].content.replace(b'"chat"', b'"upstream-name"')
        assert "mine" not in first.head.decode()
