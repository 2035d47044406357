"""The official OpenAI SDK, base URL changed and nothing else, through a gatewayd process in front of each kind of
upstream: the scripted one, the real LiteLLM proxy (bytes forwarded) and Anthropic's and Cohere's wires (translated).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.e2e.litellm_proxy import KEY, litellm_proxy
from tests.e2e.process import Daemon
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic, cohere

pytestmark = pytest.mark.timeout(240)

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is the weather in Bern?"}]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
KINDS = ["scripted", "proxy", "translated"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with litellm_proxy(tmp_path_factory.mktemp("litellm")) as base_url:
        yield base_url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(proxy: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[openai.AsyncOpenAI]:
    async with AsyncExitStack() as stack:
        claude = await stack.enter_async_context(FakeUpstream(anthropic.answer))
        embedder = await stack.enter_async_context(FakeUpstream(cohere.answer))
        models = {
            "scripted-chat": {"model": "openai/demo", "mock_response": "Hello from a script."},
            "scripted-tools": {
                "model": "openai/demo",
                "mock_response": {"tool_calls": [{"name": "weather", "arguments": {"city": "Bern"}}]},
            },
            "scripted-embed": {"model": "openai/demo", "mock_response": {"dimensions": 3}},
            **{
                f"proxy-{name}": {"model": f"litellm_proxy/{name}", "api_base": proxy, "api_key": KEY}
                for name in ("chat", "tools", "embed", "limited")
            },
            **{
                f"translated-{name}": {
                    "model": "anthropic/claude-stand-in-1",
                    "api_base": anthropic.base_url(claude),
                    "api_key": "sk-ant-stand-in",
                }
                for name in ("chat", "tools")
            },
            "translated-embed": {
                "model": "cohere/embed-stand-in",
                "api_base": cohere.embed_url(embedder),
                "api_key": "co-stand-in",
            },
        }
        config = {
            "model_list": [{"model_name": name, "litellm_params": params} for name, params in models.items()],
            "router_settings": {"num_retries": 0},
            "gatewayd": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        }
        path = tmp_path_factory.mktemp("gatewayd") / "gatewayd.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        daemon = await stack.enter_async_context(Daemon(path))
        yield await stack.enter_async_context(openai.AsyncOpenAI(base_url=daemon.data, api_key="none", max_retries=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_chat(client: openai.AsyncOpenAI, kind: str) -> None:
    answer = await client.chat.completions.create(model=f"{kind}-chat", messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_streamed_chat_says_the_same(client: openai.AsyncOpenAI, kind: str) -> None:
    whole = await client.chat.completions.create(model=f"{kind}-chat", messages=MESSAGES)
    stream = await client.chat.completions.create(model=f"{kind}-chat", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_tools(client: openai.AsyncOpenAI, kind: str) -> None:
    answer = await client.chat.completions.create(model=f"{kind}-tools", messages=MESSAGES, tools=TOOLS)
    assert answer.choices[0].message.tool_calls
    (call,) = answer.choices[0].message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bern"})


@pytest.mark.parametrize("kind", ["scripted", "translated"])
@pytest.mark.asyncio(loop_scope="module")
async def test_streamed_tools(client: openai.AsyncOpenAI, kind: str) -> None:
    stream = await client.chat.completions.create(model=f"{kind}-tools", messages=MESSAGES, tools=TOOLS, stream=True)
    name, arguments = "", ""
    async for chunk in stream:
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            assert call.function is not None
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, json.loads(arguments)) == ("weather", {"city": "Bern"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_embeddings(client: openai.AsyncOpenAI, kind: str) -> None:
    one = await client.embeddings.create(model=f"{kind}-embed", input="a sentence")
    assert len(one.data) == 1
    assert len(one.data[0].embedding) > 0
    assert all(isinstance(number, float) for number in one.data[0].embedding)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_models_are_listed(client: openai.AsyncOpenAI) -> None:
    names = {model.id async for model in client.models.list()}
    assert {"scripted-chat", "proxy-chat", "translated-chat"} <= names


@pytest.mark.asyncio(loop_scope="module")
async def test_an_upstreams_rate_limit_reaches_the_client_as_one(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="proxy-limited", messages=MESSAGES)
