from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import (
    FallbackKind,
    GatewayError,
    InvalidRequest,
    UpstreamAuth,
    UpstreamConnection,
    UpstreamIncomplete,
    UpstreamStatus,
    UpstreamTimeout,
    Verdict,
)
from gatewayd.upstream.base import Call, Reply, Timeouts
from gatewayd.upstream.scripted import ScriptedUpstream
from gatewayd.wire.openai import DONE, peek
from tests.upstream.doubles import endpoint_of
from tests.upstream.sinks import ListSink

HELLO: Mapping[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
QUICK = Timeouts(connect=1.0, first_byte=0.05, idle=0.05, total=5.0)


def upstream(model: str = "gpt-4o", **mock: Any) -> ScriptedUpstream:
    return ScriptedUpstream(Deployment("d", "d", "g", "scripted", "openai", model, mock=mock))


def call(fields: Mapping[str, Any], *, endpoint: str = "chat/completions", capture: str = "", **rest: Any) -> Call:
    body = json.dumps({"model": "g", **fields}).encode()
    return Call(endpoint_of(endpoint), peek(body), "req-1", capture=capture, **rest)


async def events(reply: Reply) -> list[Any]:
    sink = ListSink()
    await reply.pipe(sink)
    assert sink.data.endswith(DONE)
    return [json.loads(event.removeprefix(b"data: ")) for event in sink.data.removesuffix(DONE).split(b"\n\n") if event]


async def test_a_whole_chat_answer_is_a_chat_completion() -> None:
    reply = await upstream(text="Good day to you").open(call(HELLO))
    assert reply.status == 200
    assert reply.body is not None
    answer = ChatCompletion.model_validate_json(reply.body)
    assert answer.model == "gpt-4o"
    assert answer.choices[0].message.content == "Good day to you"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert reply.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 4, 9)
    assert reply.usage.total_tokens == 9
    reply.close()


async def test_a_streamed_chat_answer_has_the_same_text_and_ends_with_done() -> None:
    reply = await upstream(text="Good day to you").open(call({**HELLO, "stream": True}))
    assert reply.body is None
    chunks = [ChatCompletionChunk.model_validate(event) for event in await events(reply)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good day to you"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 5 + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert reply.usage is not None
    assert reply.usage.total_tokens == 9
    reply.close()


async def test_usage_comes_in_a_last_chunk_of_its_own_when_asked_for() -> None:
    fields = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    raw = await events(await upstream(text="a b").open(call(fields)))
    assert all(chunk["usage"] is None for chunk in raw[:-1])
    last = ChatCompletionChunk.model_validate(raw[-1])
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens > 0


async def test_configured_tool_calls_are_called_until_their_result_comes_back() -> None:
    up = upstream(text="It rains.", tool_calls=[{"name": "weather", "arguments": {"city": "Bern", "days": 2}}])
    whole = await up.open(call(HELLO))
    assert whole.body is not None
    message = ChatCompletion.model_validate_json(whole.body).choices[0]
    assert message.finish_reason == "tool_calls"
    assert message.message.content is None
    assert message.message.tool_calls is not None
    tool = message.message.tool_calls[0]
    assert tool.type == "function"
    assert json.loads(tool.function.arguments) == {"city": "Bern", "days": 2}

    chunks = [
        ChatCompletionChunk.model_validate(e) for e in await events(await up.open(call({**HELLO, "stream": True})))
    ]
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    assert parts[0].id
    assert parts[0].function is not None
    assert parts[0].function.name == "weather"
    text = "".join(part.function.arguments or "" for part in parts if part.function)
    assert json.loads(text) == {"city": "Bern", "days": 2}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"

    result = {"role": "tool", "tool_call_id": tool.id, "content": "rain"}
    end = await up.open(call({"messages": [*HELLO["messages"], result]}))
    assert end.body is not None
    assert ChatCompletion.model_validate_json(end.body).choices[0].message.content == "It rains."


async def test_n_asks_for_that_many_choices() -> None:
    reply = await upstream(text="x y").open(call({**HELLO, "n": 3}))
    assert reply.body is not None
    assert [c.index for c in ChatCompletion.model_validate_json(reply.body).choices] == [0, 1, 2]
    raw = await events(await upstream(text="x y").open(call({**HELLO, "n": 2, "stream": True})))
    for index in (0, 1):
        mine = [c["choices"][0] for c in raw if c["choices"][0]["index"] == index]
        assert "".join(c["delta"].get("content") or "" for c in mine) == "x y"
        assert mine[-1]["finish_reason"] == "stop"


async def test_completions_whole_and_streamed() -> None:
    up = upstream(text="one two")
    fields = {"prompt": ["a", "b"]}
    whole = await up.open(call(fields, endpoint="completions"))
    assert whole.body is not None
    assert [c.text for c in Completion.model_validate_json(whole.body).choices] == ["one two", "one two"]
    streamed = await up.open(call({"prompt": "a", "stream": True}, endpoint="completions"))
    chunks = await events(streamed)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "one two"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    Completion.model_validate(chunks[-1])


@pytest.mark.parametrize("given", ["cat", ["cat", "dog"], [1, 2, 3], [[1, 2], [3]]])
async def test_embeddings_are_unit_vectors_that_depend_on_the_input_only(given: Any) -> None:
    async def embed(**more: Any) -> CreateEmbeddingResponse:
        reply = await upstream(dimensions=16).open(call({"input": given, **more}, endpoint="embeddings"))
        assert reply.body is not None
        return CreateEmbeddingResponse.model_validate_json(reply.body)

    first, again = await embed(), await embed()
    assert first.data == again.data
    expected = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    assert [item.index for item in first.data] == list(range(expected))
    for item in first.data:
        assert len(item.embedding) == 16
        assert math.isclose(math.hypot(*item.embedding), 1.0, rel_tol=1e-6)
    assert len({tuple(item.embedding) for item in first.data}) == expected
    assert len((await embed(dimensions=5)).data[0].embedding) == 5


async def test_base64_embeddings_hold_the_same_numbers_as_little_endian_float32() -> None:
    up = upstream(embedding=[0.25, -1.0, 3.5])
    plain = await up.open(call({"input": "x", "encoding_format": "float"}, endpoint="embeddings"))
    coded = await up.open(call({"input": "x", "encoding_format": "base64"}, endpoint="embeddings"))
    assert plain.body is not None
    assert coded.body is not None
    assert json.loads(plain.body)["data"][0]["embedding"] == [0.25, -1.0, 3.5]
    text = json.loads(coded.body)["data"][0]["embedding"]
    assert struct.unpack("<3f", base64.b64decode(text)) == (0.25, -1.0, 3.5)


@given(text=st.text(), chunks=st.integers(1, 40))
@settings(max_examples=40)
def test_however_a_text_is_cut_into_chunks_joined_it_is_the_text(text: str, chunks: int) -> None:
    async def contents(**mock: Any) -> list[str]:
        raw = await events(await upstream(text=text, **mock).open(call({**HELLO, "stream": True})))
        return [c["choices"][0]["delta"]["content"] for c in raw[1:-1]]

    assert "".join(asyncio.run(contents())) == text
    told = asyncio.run(contents(chunks=chunks))
    assert "".join(told) == text
    assert len(told) == (chunks if text else 0)


@pytest.mark.parametrize(
    ("endpoint", "fields", "param"),
    [
        ("chat/completions", {}, "messages"),
        ("chat/completions", {**HELLO, "n": 0}, "n"),
        ("chat/completions", {**HELLO, "n": 100_000}, "n"),
        ("embeddings", {"input": []}, "input"),
        ("embeddings", {"input": [[]]}, "input"),
        ("embeddings", {"input": {"a": 1}}, "input"),
        ("embeddings", {"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ("embeddings", {"input": "x", "dimensions": 10**9}, "dimensions"),
        ("completions", {"prompt": None}, "prompt"),
    ],
)
async def test_bad_fields_are_the_callers_fault(endpoint: str, fields: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await upstream().open(call(fields, endpoint=endpoint))
    assert caught.value.param == param


async def test_an_endpoint_it_does_not_have() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await upstream().open(call({}, endpoint="images/generations"))
    assert caught.value.code == "endpoint_not_supported"


async def test_what_a_wildcard_caught_is_the_models_name() -> None:
    reply = await upstream(model="team-*").open(call(HELLO, capture="blue"))
    assert reply.body is not None
    assert json.loads(reply.body)["model"] == "team-blue"


async def failure(up: ScriptedUpstream, **more: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await up.open(call({**HELLO, **more}, timeouts=QUICK))
    return caught.value


async def test_scripted_errors_are_what_a_real_upstreams_errors_become() -> None:
    """A-26, A-28, A-29."""
    limited = await failure(upstream(fail={"status": 429, "retry_after": 7}))
    assert isinstance(limited, UpstreamStatus)
    assert (limited.status, limited.retry_after, limited.verdict) == (429, 7.0, Verdict.RETRY)
    window = await failure(upstream(fail={"status": 400, "code": "context_length_exceeded"}))
    assert (window.fallback, window.verdict) == (FallbackKind.CONTEXT_WINDOW, Verdict.NEXT_GROUP)
    policy = await failure(upstream(fail={"status": 400, "code": "content_policy_violation"}))
    assert policy.fallback is FallbackKind.CONTENT_POLICY
    bad = await failure(upstream(fail={"status": 422, "message": "no such field"}), stream=True)
    assert (bad.status, bad.message, bad.verdict) == (422, "no such field", Verdict.FATAL)
    assert isinstance(await failure(upstream(fail={"status": 401})), UpstreamAuth)


async def test_only_the_first_calls_fail_when_times_says_so() -> None:
    up = upstream(fail={"status": 503, "times": 2})
    assert (await failure(up)).status == 503
    assert (await failure(up)).status == 503
    assert (await up.open(call(HELLO))).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_before_the_answer_ends_at_the_first_byte_timeout(stream: bool) -> None:
    """A-18."""
    error = await failure(upstream(hang_after=0), stream=stream)
    assert isinstance(error, UpstreamTimeout)
    assert error.kind == "first_byte"
    slow = await failure(upstream(delay=30), stream=stream)
    assert isinstance(slow, UpstreamTimeout)


async def test_a_delay_shorter_than_the_timeout_is_only_a_delay() -> None:
    assert (await upstream(delay=0.01).open(call(HELLO))).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_cut_before_the_answer(stream: bool) -> None:
    """A-12, A-31: nothing came, so another deployment may be tried."""
    assert isinstance(await failure(upstream(cut_after=0), stream=stream), UpstreamConnection)


async def test_a_cut_stream_ends_without_its_end_mark() -> None:
    """A-01."""
    reply = await upstream(text="a b c d", cut_after=3).open(call({**HELLO, "stream": True}))
    sink = ListSink()
    with pytest.raises(UpstreamIncomplete):
        await reply.pipe(sink)
    assert len(sink.writes) == 3
    assert DONE not in sink.data
    assert reply.usage is None


@pytest.mark.parametrize("mock", [{"hang_after": 2}, {"chunk_delay": 20.0}])
async def test_a_stream_that_falls_silent_ends_at_the_idle_timeout(mock: dict[str, Any]) -> None:
    """A-19."""
    reply = await upstream(text="a b c d", **mock).open(call({**HELLO, "stream": True}, timeouts=QUICK))
    sink = ListSink()
    with pytest.raises(UpstreamTimeout) as caught:
        await reply.pipe(sink)
    assert caught.value.code == "upstream_idle_timeout"
    assert sink.writes


async def test_a_full_sink_stops_the_stream_until_it_has_room() -> None:
    """A-24."""
    reply = await upstream(text="a b c d e").open(call({**HELLO, "stream": True}))
    sink = ListSink(pause_after=2)
    pipe = asyncio.get_running_loop().create_task(reply.pipe(sink))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(sink.writes) == 2
    sink.resume()
    await pipe
    assert sink.data.endswith(DONE)


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    """A-21."""
    up = upstream(hang_after=0)
    waiting = asyncio.get_running_loop().create_task(up.open(call(HELLO)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await up.aclose()
