"""Ollama's own options, through a gatewayd process, in front of a stand-in of Ollama's two APIs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from tests.e2e.process import Daemon
from tests.fakeup import FakeUpstream
from tests.stand_ins import ollama

pytestmark = pytest.mark.timeout(240)


@pytest_asyncio.fixture
async def up() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(ollama.answer) as up:
        yield up


@pytest_asyncio.fixture
async def client(up: FakeUpstream, tmp_path: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    base = up.base_url.removesuffix("/v1")
    params = {"model": "ollama/llama3.2", "api_base": base}
    config = {
        "model_list": [
            {"model_name": "long", "litellm_params": {**params, "num_ctx": 8192, "keep_alive": "10m"}},
            {"model_name": "plain", "litellm_params": params},
            {"model_name": "dropping", "litellm_params": {**params, "drop_params": True}},
        ],
        "router_settings": {"num_retries": 0},
        "gatewayd": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
    }
    path = tmp_path / "gatewayd.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    async with Daemon(path) as daemon, openai.AsyncOpenAI(base_url=daemon.data, api_key="none", max_retries=0) as sdk:
        yield sdk


async def test_options_reach_ollama_or_are_refused(client: openai.AsyncOpenAI, up: FakeUpstream) -> None:
    """U-A10: whole and streamed; set in the file and sent in the body."""
    ask = client.chat.completions.create
    whole = await ask(model="long", messages=[{"role": "user", "content": "Hello"}], extra_body={"num_predict": 5})
    assert whole.choices[0].message.content == "Good day."
    stream = await ask(model="long", messages=[{"role": "user", "content": "Hello"}], stream=True)
    said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(said) == "Good day."
    first, second = (request.json() for request in up.requests)
    assert (first["options"], first["keep_alive"]) == ({"num_ctx": 8192, "num_predict": 5}, "10m")
    assert (second["options"], second["keep_alive"]) == ({"num_ctx": 8192}, "10m")
    assert [request.path for request in up.requests] == ["/api/chat", "/api/chat"]

    up.requests.clear()
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(model="plain", messages=[{"role": "user", "content": "Hello"}], extra_body={"num_ctx": 5})
    assert (caught.value.code, caught.value.param) == ("param_without_effect", "num_ctx")
    assert up.requests == []
    answer = await client.chat.completions.with_raw_response.create(
        model="dropping", messages=[{"role": "user", "content": "Hello"}], extra_body={"num_ctx": 5}
    )
    assert answer.headers["x-gatewayd-dropped"] == "num_ctx"
    assert up.requests[0].path == "/v1/chat/completions"
    assert "num_ctx" not in up.requests[0].json()
