"""Translated calls that go well, by wire and by endpoint, and what the loading of litellm does and does not."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gatewayd.errors import UpstreamTimeout
from gatewayd.secret import Secret
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.litellm.translate import TranslateUpstream, load_litellm
from tests.clock import HandClock
from tests.fakeup import HANG, FakeUpstream, Step, sse_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini
from tests.upstream.doubles import LONG, STALLED, call, deployment, eventually
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, WAYS, events, translating, tree
from tests.upstream.sinks import ListSink

pytestmark = KNOWN_WARNINGS
ROOT = Path(__file__).parents[2]
AWS = {
    "aws_access_key_id": Secret("AKIACANARY"),
    "aws_secret_access_key": Secret("aws-secret-canary"),
    "aws_region_name": "us-east-1",
}


async def test_a_whole_answer_is_a_chat_completion() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        reply = await translating(up).open(call(messages=MESSAGES))
        assert (reply.status, dict(reply.headers)) == (200, {"content-type": "application/json"})
        assert reply.body is not None
        answer = ChatCompletion.model_validate_json(reply.body)
        assert answer.choices[0].message.content == "Good day to you."
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == anthropic.MODEL
        assert reply.usage is not None
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (11, 7, 18)
        [request] = up.requests
        assert request.headers["x-api-key"] == "sk-upstream-canary"
        assert request.headers["accept-encoding"] == "identity"
        assert "cookie" not in request.headers
        body = request.json()
        assert body["model"] == "claude-x"
        assert body["system"][0]["text"] == "Be kind."


async def test_a_stream_is_events_of_chat_completion_chunks() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        reply = await translating(up).open(call(messages=MESSAGES, stream=True))
        assert reply.body is None
        assert dict(reply.headers) == {"content-type": "text/event-stream; charset=utf-8"}
        chunks = [ChatCompletionChunk.model_validate(event) for event in await events(reply)]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good day to you."
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
        assert len({chunk.id for chunk in chunks}) == 1
        assert reply.usage is not None
        assert reply.usage.total_tokens == 18


async def test_usage_is_the_last_event_of_a_stream_for_those_who_asked() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        options = {"include_usage": True}
        reply = await translating(up).open(call(messages=MESSAGES, stream=True, stream_options=options))
        last = ChatCompletionChunk.model_validate((await events(reply))[-1])
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == 18


async def test_tools_are_called_and_their_results_understood() -> None:
    """Needs the package `mcp`, which litellm imports for every call with tools."""
    async with FakeUpstream(anthropic.answer) as up:
        upstream = translating(up)
        asked: dict[str, Any] = {"messages": MESSAGES, "tools": [TOOL]}
        whole = ChatCompletion.model_validate(tree(await upstream.open(call(asked))))
        assert whole.choices[0].finish_reason == "tool_calls"
        assert whole.choices[0].message.tool_calls is not None
        [tool] = whole.choices[0].message.tool_calls
        assert tool.type == "function"
        assert (tool.function.name, json.loads(tool.function.arguments)) == ("weather", {"city": "Bern"})
        assert up.requests[0].json()["tools"][0]["input_schema"]["required"] == ["city"]

        chunks = [
            ChatCompletionChunk.model_validate(e) for e in await events(await upstream.open(call(asked, stream=True)))
        ]
        parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or [] if part.function]
        assert parts[0].function is not None
        assert parts[0].function.name == "weather"
        text = "".join(part.function.arguments or "" for part in parts if part.function)
        assert json.loads(text) == {"city": "Bern"}
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

        spoken = {"role": "assistant", "content": None, "tool_calls": [tool.model_dump()]}
        result = {"role": "tool", "tool_call_id": tool.id, "content": "rain"}
        asked["messages"] = [*MESSAGES, spoken, result]
        end = ChatCompletion.model_validate(tree(await upstream.open(call(asked))))
        assert end.choices[0].finish_reason == "stop"


async def test_text_completions() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        upstream = translating(up)
        whole = await upstream.open(call(endpoint="completions", prompt="Say something."))
        answer = Completion.model_validate(tree(whole))
        assert answer.object == "text_completion"
        assert answer.choices[0].text == "Good day to you."
        streamed = await events(await upstream.open(call(endpoint="completions", prompt="x", stream=True)))
        assert "".join(event["choices"][0]["text"] for event in streamed) == "Good day to you."
        assert [event["choices"][0]["finish_reason"] for event in streamed] == [None, None, None, "stop"]


@pytest.mark.parametrize("family", ["gemini", "cohere", "bedrock"])
async def test_other_wires(family: str) -> None:
    async with FakeUpstream() as up:
        upstream, stand_in = {
            "gemini": (other(up, "gemini", "gemini-x", gemini.base_url(up)), gemini),
            "cohere": (other(up, "cohere_chat", "command-x", cohere.chat_url(up)), cohere),
            "bedrock": (other(up, "bedrock", "converse/anthropic.claude-x", bedrock.base_url(up)), bedrock),
        }[family]
        up.then(stand_in.answer)
        whole = ChatCompletion.model_validate(tree(await upstream.open(call(messages=MESSAGES))))
        assert whole.choices[0].message.content == "Good day."
        assert whole.usage is not None
        assert whole.usage.total_tokens == 8
        streamed = await events(await upstream.open(call(messages=MESSAGES, stream=True)))
        chunks = [ChatCompletionChunk.model_validate(event) for event in streamed]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good day."
        assert chunks[-1].choices[0].finish_reason == "stop"
        await upstream.aclose()


def other(up: FakeUpstream, provider: str, model: str, api_base: str) -> TranslateUpstream:
    cloud = {"api_key": None, "litellm_params": AWS} if provider == "bedrock" else {}
    return TranslateUpstream(deployment(api_base, kind="translate", provider=provider, model=model, **cloud))


async def test_embeddings_as_numbers_and_packed() -> None:
    async with FakeUpstream(gemini.answer) as up:
        upstream = other(up, "gemini", "text-embedding-x", gemini.base_url(up))
        asked = {"input": ["a", "bcd"]}
        plain = CreateEmbeddingResponse.model_validate(tree(await upstream.open(call(asked, endpoint="embeddings"))))
        assert [item.embedding for item in plain.data] == [[1.0, 0.5], [3.0, 0.5]]
        packed = tree(await upstream.open(call(asked, endpoint="embeddings", encoding_format="base64")))
        vectors = [struct.unpack("<2f", base64.b64decode(item["embedding"])) for item in packed["data"]]
        assert vectors == [(1.0, 0.5), (3.0, 0.5)]
        up.then(cohere.answer)
        upstream = other(up, "cohere", "embed-english-v3.0", cohere.embed_url(up))
        reply = await upstream.open(call(endpoint="embeddings", input="four"))
        assert tree(reply)["data"][0]["embedding"] == [4.0, 0.5]
        assert reply.usage is not None
        assert reply.usage.prompt_tokens == cohere.INPUT_TOKENS


async def test_connections_are_kept_and_closed_with_the_upstream() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        upstream = translating(up)
        for stream in (False, True, False, True):
            reply = await upstream.open(call(messages=MESSAGES, stream=stream))
            if stream:
                await events(reply)
        assert up.connection_count == 1
        await upstream.aclose()
        await eventually(lambda: up.open_count == 0)


async def test_no_task_is_left_behind() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        before = asyncio.all_tasks()
        upstream = translating(up)
        await upstream.open(call(messages=MESSAGES))
        await events(await upstream.open(call(messages=MESSAGES, stream=True)))
        await upstream.aclose()
        await eventually(lambda: {t for t in asyncio.all_tasks() - before if "fake" not in t.get_name()} == set())


async def test_a_full_sink_stops_the_stream_until_it_has_room() -> None:
    """A-24."""
    async with FakeUpstream(anthropic.answer) as up:
        reply = await translating(up).open(call(messages=MESSAGES, stream=True))
        sink = ListSink(pause_after=2)
        piping = asyncio.get_running_loop().create_task(reply.pipe(sink))
        await eventually(lambda: len(sink.writes) == 2)
        await asyncio.sleep(0.02)
        assert len(sink.writes) == 2
        sink.resume()
        await piping
        assert sink.data.endswith(b"data: [DONE]\n\n")


def run(code: str) -> str:
    """What a process of its own prints; it must say nothing else."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    """What a process prints that loads litellm without a network: one process, for it takes ten seconds."""
    return run(LOAD).splitlines()


def test_loading_needs_no_network_and_says_nothing_and_calls_nobody_back(loaded: list[str]) -> None:
    assert loaded[1] == "True [] [] [] None set()"


def test_what_a_first_call_would_import_is_imported_before(loaded: list[str]) -> None:
    assert (loaded[0], loaded[2]) == ("[]", "['boto3', 'httpx', 'litellm']")


LOAD = """
import asyncio, logging, socket, sys
def refuse(*_, **__): sys.exit("network")
socket.getaddrinfo = socket.socket.connect = socket.socket.connect_ex = refuse
from gatewayd.upstream.litellm.translate import load_litellm
def imported(): print(sorted({"litellm", "boto3", "httpx"} & set(sys.modules)))
imported()
async def main():
    litellm = await load_litellm()
    logging.getLogger("LiteLLM").error("a prompt")
    again = await load_litellm()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    callbacks = litellm.callbacks, litellm.success_callback, litellm.failure_callback
    print(litellm is again, *callbacks, litellm.num_retries, left)
    await load_litellm("anthropic", "bedrock", "cohere", "gemini")
asyncio.run(main())
imported()
"""


def test_nothing_but_the_translating_module_imports_litellm() -> None:
    """Importing it does not either: calling `load` does."""
    assert run(IMPORT_ALL) == "True False"


IMPORT_ALL = """
import importlib, pkgutil, sys, gatewayd
for module in pkgutil.walk_packages(gatewayd.__path__, "gatewayd."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("gatewayd.upstream.litellm.translate" in sys.modules, "litellm" in sys.modules)
"""


def test_a_gateway_without_translated_deployments_does_without_httpx() -> None:
    code = "import sys, gatewayd.upstream.litellm.translate, gatewayd.upstream.forward; print('httpx' in sys.modules)"
    assert run(code) == "False"


@WAYS
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_waited_for_is_overhead(
    stream: bool, direct: bool, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U-B17: the upstream's pause of a hundred seconds is none of it, the translation is, which takes a thousand each
    way here."""
    await load_litellm()
    config = sys.modules["litellm.llms.anthropic.chat.transformation"].AnthropicConfig
    events = sys.modules["litellm.llms.anthropic.chat.handler"].ModelResponseIterator

    def slow(work: Callable[..., Any]) -> Callable[..., Any]:
        def taking_long(*args: Any, **fields: Any) -> Any:
            clock.skip(1000.0)
            return work(*args, **fields)

        return taking_long

    back = (events, "chunk_parser") if stream else (config, "transform_response")
    for owner, name in ((config, "transform_request"), back):
        monkeypatch.setattr(owner, name, slow(getattr(owner, name)))
    pause = asyncio.Event()
    reply = sse_reply([pause, *anthropic.stream("x")]) if stream else anthropic.whole("x")
    async with FakeUpstream(replace(reply, steps=(*reply.steps[:-1], pause, *reply.steps[-1:]))) as up:
        ages = Timeouts(connect=1e6, first_byte=1e6, idle=1e6, total=1e6)
        upstream, asked = translating(up, direct=direct), call(messages=MESSAGES, stream=stream, timeouts=ages)
        since = time.monotonic()
        opening = asyncio.ensure_future(upstream.open(asked))
        await eventually(lambda: len(up.requests) == 1, 1e6)
        await clock.wind(100.0)
        pause.set()
        answer = await opening
        elapsed = time.monotonic() - since
        answer.close()
        assert 100.0 <= asked.waited < 1000.0
        assert elapsed - asked.waited >= 2000.0


@WAYS
async def test_comments_before_the_first_event_are_life(direct: bool) -> None:
    """U-B15: the time to the first event begins anew with each comment."""
    waiting = [step for _ in range(6) for step in (0.25, b": thinking\n\n")]
    async with FakeUpstream(sse_reply([*waiting, *anthropic.stream("Good", "day")])) as up:
        patience = replace(LONG, connect=0.1, first_byte=1.0)
        reply = await translating(up, direct=direct).open(call(messages=MESSAGES, stream=True, timeouts=patience))
        assert (await events(reply))[-1]["choices"][0]["finish_reason"] == "stop"


@WAYS
async def test_bytes_without_an_event_are_no_life(direct: bool) -> None:
    """U-F9: a stream that drips bytes and completes no event ends by the idle timeout."""
    drip: list[Step] = [b"d", 0.05]
    async with FakeUpstream(sse_reply([*anthropic.stream("Good", "day")[:-3], *drip * 40, HANG])) as up:
        reply = await translating(up, direct=direct).open(call(messages=MESSAGES, stream=True, timeouts=STALLED))
        with pytest.raises(UpstreamTimeout):
            await reply.pipe(ListSink())
        reply.close()
        assert up.peers[0].sent < 3000
