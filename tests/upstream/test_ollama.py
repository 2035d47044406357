"""Ollama's own options reach Ollama: its own API is asked where the file sets one, and none is lost without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.errors import InvalidRequest, UpstreamIncomplete
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream, body_reply
from tests.stand_ins import ollama
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, events, tree
from tests.upstream.sinks import ListSink

pytestmark = [*KNOWN_WARNINGS, pytest.mark.timeout(120)]


def native(up: FakeUpstream, **params: Any) -> TranslateUpstream:
    base = up.base_url.removesuffix("/v1")
    return TranslateUpstream(
        deployment(base, kind="translate", provider="ollama", model="llama3", api_key=None, params=params)
    )


async def test_options_of_the_file_and_of_the_caller_reach_ollama() -> None:
    """U-A10: num_ctx, keep_alive, num_predict and the like, set in the file or sent in the body."""
    async with FakeUpstream(ollama.answer) as up:
        one = native(up, num_ctx=8192, keep_alive="10m", options={"num_gpu": 1}, temperature=0.5)
        reply = await one.open(call(messages=MESSAGES, max_tokens=9, num_ctx=4096, top_k=3, options={"min_p": 0.1}))
        assert tree(reply)["choices"][0]["message"]["content"] == "Good day."
        assert tree(reply)["usage"]["total_tokens"] == 8
        (asked,) = up.requests
        assert asked.path == "/api/chat"
        sent = asked.json()
        assert sent["keep_alive"] == "10m"
        assert sent["model"] == "llama3"
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        want = {"num_ctx": 4096, "num_gpu": 1, "temperature": 0.5, "num_predict": 9, "top_k": 3, "min_p": 0.1}
        assert sent["options"] == want
        await one.aclose()


async def test_options_in_extra_body_reach_ollama() -> None:
    """U-A10: extra_body wins over the caller's."""
    async with FakeUpstream(ollama.answer) as up:
        base = up.base_url.removesuffix("/v1")
        extra = {"num_ctx": 8192, "options": {"num_gpu": 2}, "keep_alive": -1}
        one = TranslateUpstream(
            deployment(base, kind="translate", provider="ollama_chat", model="llama3", extra_body=extra)
        )
        await one.open(call(messages=MESSAGES, num_ctx=1, num_gpu=1))
        sent = up.requests[0].json()
        assert (sent["options"], sent["keep_alive"]) == ({"num_ctx": 8192, "num_gpu": 2}, -1)
        await one.aclose()


async def test_a_stream_of_ollamas_own_api() -> None:
    """U-A10: streamed too."""
    async with FakeUpstream(ollama.answer) as up:
        one = native(up, num_ctx=8192)
        options = {"include_usage": True}
        said = await events(await one.open(call(messages=MESSAGES, stream=True, stream_options=options)))
        text = "".join(choice["delta"].get("content") or "" for event in said for choice in event["choices"])
        assert text == "Good day."
        assert said[-1]["usage"]["completion_tokens"] == ollama.OUTPUT_TOKENS
        assert up.requests[0].json()["options"] == {"num_ctx": 8192}
        await one.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_of_ollamas_own_api(stream: bool) -> None:
    """U-A10: tool calls have OpenAI's form."""
    async with FakeUpstream(ollama.answer) as up:
        one = native(up, num_ctx=8192)
        reply = await one.open(call(messages=MESSAGES, tools=[TOOL], stream=stream))
        if stream:
            choices = [choice for event in await events(reply) for choice in event["choices"]]
            calls = [made for choice in choices for made in choice["delta"].get("tool_calls") or ()]
        else:
            choices = tree(reply)["choices"]
            calls = choices[0]["message"]["tool_calls"]
        assert calls[0]["function"]["name"] == "weather"
        assert json.loads(calls[0]["function"]["arguments"]) == {"city": "Bern"}
        assert calls[0]["id"]
        assert choices[-1]["finish_reason"] == "tool_calls"
        await one.aclose()


async def test_a_stream_of_ollama_that_breaks_off() -> None:
    """U-A10: without `done` it is no whole answer."""
    cut = b"".join(ollama.stream()[:-1])
    async with FakeUpstream(body_reply(cut, content_type="application/x-ndjson")) as up:
        one = native(up, num_ctx=8192)
        reply = await one.open(call(messages=MESSAGES, stream=True))
        with pytest.raises(UpstreamIncomplete):
            await reply.pipe(ListSink())
        reply.close()
        await one.aclose()


async def test_embeddings_of_ollamas_own_api() -> None:
    """U-A10: of embeddings too."""
    async with FakeUpstream(ollama.answer) as up:
        one = native(up, num_ctx=8192)
        reply = await one.open(call(endpoint="embeddings", input=["a", "b"]))
        assert [item["embedding"] for item in tree(reply)["data"]] == [[1.0, 0.5], [1.0, 0.5]]
        assert up.requests[0].json()["options"] == {"num_ctx": 8192}
        await one.aclose()


@pytest.mark.parametrize("options", [{"api_base": "http://elsewhere"}, {"options": {"api_base": "x"}}, "x", ["x"]])
async def test_an_option_that_steers_litellm_is_refused(options: Any) -> None:
    """U-A10: `options` is data of a caller."""
    async with FakeUpstream(ollama.answer) as up:
        one = native(up, num_ctx=8192)
        with pytest.raises(InvalidRequest) as caught:
            await one.open(call(messages=MESSAGES, options=options))
        assert (caught.value.param or "").startswith("options")
        assert up.requests == []
        await one.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_option_without_effect_is_refused(stream: bool) -> None:
    """U-A10: Ollama's API of OpenAI's form takes the field and does nothing with it; drop_params leaves it out."""
    async with FakeUpstream(ollama.answer) as up:
        asked = call(messages=MESSAGES, num_ctx=4096, stream=stream)
        one = ForwardUpstream(deployment(up.base_url, provider="ollama"))
        with pytest.raises(InvalidRequest) as caught:
            await one.open(asked)
        assert (caught.value.param, caught.value.code) == ("num_ctx", "param_without_effect")
        await one.aclose()
        other = ForwardUpstream(deployment(up.base_url, provider="ollama", drop_params=True))
        reply = await other.open(asked)
        assert ("x-gatewayd-dropped", "num_ctx") in reply.headers
        reply.close()
        assert "num_ctx" not in up.requests[0].json()
        await other.aclose()
