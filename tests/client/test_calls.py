"""The calls against an OpenAI-wire stand-in: what goes out, what comes back, and how it fails."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Any

import openai
import pytest

from gatewayd.client import calls
from tests.client.upstreams import VECTOR, completion, eventually, upstream
from tests.fakeup import FakeUpstream
from tests.replies import (
    FIN,
    HANG,
    RST,
    Reply,
    body_reply,
    chat_chunk,
    chat_events,
    error_reply,
    event,
    json_reply,
    sse_reply,
)


def client(up: FakeUpstream, timeout: float = 10.0) -> openai.OpenAI:
    return openai.OpenAI(base_url=up.base_url, api_key="sk-test", max_retries=0, timeout=timeout)


@pytest.fixture
def up() -> Iterator[FakeUpstream]:
    with upstream() as up:
        yield up


def test_a_text_is_one_message_and_parameters_go_along(up: FakeUpstream) -> None:
    with client(up) as sdk:
        assert calls.chat(sdk, "m", "Hello there", {"temperature": 0.5, "max_tokens": 7}) == "m: Hello there"
    assert up.requests[0].json() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello there"}],
        "temperature": 0.5,
        "max_tokens": 7,
    }


def test_messages_go_as_they_are(up: FakeUpstream) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    with client(up) as sdk:
        assert calls.chat(sdk, "m", messages, {}) == "m: Hi"
    assert up.requests[0].json()["messages"] == messages


def test_parameters_the_sdk_does_not_know_go_into_the_body(up: FakeUpstream) -> None:
    with client(up) as sdk:
        calls.chat(sdk, "m", "Hi", {"top_k": 5, "extra_body": {"min_p": 0.1}, "extra_headers": {"x-mine": "1"}})
        calls.embed(sdk, "m", "Hi", {"truncate": True})
    assert up.requests[0].json()["top_k"] == 5
    assert up.requests[0].json()["min_p"] == 0.1
    assert up.requests[0].headers["x-mine"] == "1"
    assert up.requests[1].json()["truncate"] is True


def test_no_model_leaves_the_choice_to_the_daemon() -> None:
    with upstream(json_reply(completion("ok"))) as up, client(up) as sdk:
        assert calls.chat(sdk, openai.omit, "Hi", {}) == "ok"
        assert "model" not in up.requests[0].json()


@pytest.mark.parametrize("prompt", [5, None, {"role": "user", "content": "x"}, b"Hi", ["Hi", "Ho"]])
def test_what_is_no_prompt(up: FakeUpstream, prompt: Any) -> None:
    with client(up) as sdk, pytest.raises(TypeError, match="a prompt is"):
        calls.chat(sdk, "m", prompt, {})
    assert not up.requests


def test_streaming_has_a_function_of_its_own(up: FakeUpstream) -> None:
    with client(up) as sdk:
        with pytest.raises(TypeError, match="stream_text"):
            calls.chat(sdk, "m", "Hi", {"stream": True})
        assert calls.chat(sdk, "m", "Hi", {"stream": False}) == "m: Hi"


def test_an_answer_without_text_is_an_empty_text() -> None:
    with upstream(json_reply(completion(None))) as up, client(up) as sdk:
        assert calls.chat(sdk, "m", "Hi", {}) == ""


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{}]}, []])
def test_an_answer_that_is_no_completion(answer: Any) -> None:
    with (
        upstream(json_reply(answer)) as up,
        client(up) as sdk,
        pytest.raises(openai.APIResponseValidationError, match="not a chat completion"),
    ):
        calls.chat(sdk, "m", "Hi", {})


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
    {"type": "text", "text": "one "},
    {"type": "text", "text": "two"},
]


def test_the_text_of_an_answer_in_parts_is_that_of_its_text_parts() -> None:
    """So Mistral's models answer that reason."""
    whole = completion(None)
    whole["choices"][0]["message"]["content"] = PARTS
    with upstream(json_reply(whole)) as up, client(up) as sdk:
        assert calls.chat(sdk, "m", "Hi", {}) == "one two"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"null", b"[1]"])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_sdk(body: bytes) -> None:
    with upstream(body_reply(body, content_type="application/json")) as up, client(up) as sdk:
        for call in (calls.chat, calls.embed):
            with pytest.raises(openai.APIResponseValidationError):
                call(sdk, "m", "Hi", {})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_errors_are_the_sdks_own(status: int, kind: type[openai.APIStatusError]) -> None:
    with upstream(error_reply(status, "as scripted", code="some_code")) as up, client(up) as sdk:
        for call in (calls.chat, lambda *args: list(calls.chat_stream(*args)), calls.embed):
            with pytest.raises(kind, match="as scripted") as caught:
                call(sdk, "m", "Hi", {})
            assert caught.value.code == "some_code"


# --- vectors ------------------------------------------------------------------------------------------------------


def test_one_vector_for_each_text_in_order(up: FakeUpstream) -> None:
    with client(up) as sdk:
        assert calls.embed(sdk, "m", "Hi", {}) == [VECTOR]
        assert calls.embed(sdk, "m", ("Hi", "Ho"), {}) == [VECTOR, [2 * x for x in VECTOR]]
        assert calls.embed(sdk, "m", [], {}) == []
    assert [request.json()["input"] for request in up.requests] == [["Hi"], ["Hi", "Ho"]]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_are_numbers_in_whatever_encoding_they_come(encoding: str) -> None:
    """The SDK leaves base64 alone when the caller named the encoding."""
    packed = b64encode(struct.pack("<3f", *VECTOR)).decode()
    with upstream(json_reply({"data": [{"index": 0, "embedding": packed}]})) as up, client(up) as sdk:
        assert calls.embed(sdk, "m", "Hi", {"encoding_format": encoding}) == [VECTOR]


def test_vectors_without_an_index_are_in_order() -> None:
    with upstream(json_reply({"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]})) as up, client(up) as sdk:
        assert calls.embed(sdk, "m", ["a", "b"], {}) == [[1.0], [2.0]]


@pytest.mark.parametrize("vector", [{"float": [1.0]}, "no base64!", "QUJD", 5])
def test_what_is_no_vector(vector: Any) -> None:
    with upstream(json_reply({"data": [{"index": 0, "embedding": vector}]})) as up, client(up) as sdk:
        for extra in ({}, {"encoding_format": "float"}):
            with pytest.raises(openai.APIResponseValidationError):
                calls.embed(sdk, "m", "Hi", extra)


def test_what_cannot_be_embedded(up: FakeUpstream) -> None:
    with client(up) as sdk, pytest.raises(TypeError, match="int"):
        calls.embed(sdk, "m", ["Hi", 5], {})  # type: ignore[list-item]


def test_a_vector_short_is_an_error() -> None:
    answer = {"object": "list", "data": [{"index": 0, "object": "embedding", "embedding": VECTOR}]}
    with (
        upstream(json_reply(answer)) as up,
        client(up) as sdk,
        pytest.raises(openai.APIResponseValidationError, match="1 embeddings for 2 texts"),
    ):
        calls.embed(sdk, "m", ["a", "b"], {})


# --- streams ------------------------------------------------------------------------------------------------------


def test_pieces_arrive_when_they_are_sent() -> None:
    go_on = asyncio.Event()
    first, *rest = chat_events("one ", "two ", "three")
    with upstream(sse_reply([first, go_on, *rest])) as up, client(up) as sdk:
        pieces = calls.chat_stream(sdk, "m", "Hi", {})
        assert next(pieces) == "one "  # the rest has not been sent: waiting for it would last for ever
        up.let(go_on)
        assert list(pieces) == ["two ", "three"]


def test_the_connection_is_used_again_after_a_whole_stream(up: FakeUpstream) -> None:
    with client(up) as sdk:
        for _ in range(3):
            assert "".join(calls.chat_stream(sdk, "m", "one two", {})) == "m: one two"
    assert up.connection_count == 1


def test_nothing_is_sent_before_the_first_piece_is_asked_for(up: FakeUpstream) -> None:
    with client(up) as sdk:
        calls.chat_stream(sdk, "m", "Hi", {}).close()
    assert not up.requests


def put(into: list[str], pieces: Iterable[str]) -> None:
    for piece in pieces:
        into.append(piece)


CUTS = {
    "fin": sse_reply([*chat_events("one ", "two")[:2], FIN], finish=False),
    "reset": sse_reply([*chat_events("one ", "two")[:2], 0.05, RST], finish=False),
    "clean end without its end mark": sse_reply(chat_events("one ", "two")[:-1]),
    "close-delimited": sse_reply(chat_events("one ", "two")[:2], framing="close"),
}


@pytest.mark.parametrize("reply", CUTS.values(), ids=CUTS.keys())
def test_a_cut_stream_raises(reply: Reply) -> None:
    """A-01, A-02, A-03, A-11"""
    with upstream(reply) as up, client(up) as sdk:
        pieces: list[str] = []
        with pytest.raises(openai.APIConnectionError):
            put(pieces, calls.chat_stream(sdk, "m", "Hi", {}))
        assert pieces == ["one ", "two"]


def test_a_silent_stream_times_out() -> None:
    """A-19"""
    with upstream(sse_reply([chat_events("one")[0], HANG])) as up, client(up, timeout=0.3) as sdk:
        pieces = calls.chat_stream(sdk, "m", "Hi", {})
        assert next(pieces) == "one"
        with pytest.raises(openai.APITimeoutError):
            next(pieces)


def test_an_error_event_raises_what_it_says() -> None:
    """A-09"""
    error = {"error": {"message": "overloaded", "type": "server_error", "param": None, "code": "upstream_incomplete"}}
    with upstream(sse_reply([event(chat_chunk("one")), event(error)])) as up, client(up) as sdk:
        pieces = calls.chat_stream(sdk, "m", "Hi", {})
        assert next(pieces) == "one"
        with pytest.raises(openai.APIError, match="overloaded") as caught:
            next(pieces)
        assert caught.value.code == "upstream_incomplete"


def test_leaving_a_stream_closes_its_connection_at_once() -> None:
    """A-20: by `close`, and by leaving the loop. What is asked afterwards is answered later."""
    with upstream(sse_reply([chat_events("one")[0], HANG])) as up, client(up) as sdk:
        pieces = calls.chat_stream(sdk, "m", "Hi", {})
        next(pieces)
        pieces.close()
        for place in (0, 1):
            for _ in calls.chat_stream(sdk, "m", "Hi", {}):
                break
            assert up.peers[place].gone.is_set()
        eventually(up.peers[2].gone.is_set)


# --- the same for event loops -------------------------------------------------------------------------------------


async def collect(pieces: AsyncGenerator[str, None], see: Callable[[str], object] = str) -> list[str]:
    found = []
    async for piece in pieces:
        see(piece)
        found.append(piece)
    return found


def async_client(up: FakeUpstream, timeout: float = 10.0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=up.base_url, api_key="sk-test", max_retries=0, timeout=timeout)


async def test_awaited(up: FakeUpstream) -> None:
    async with async_client(up) as sdk:
        assert await calls.chat_async(sdk, "m", "Hi", {"top_k": 5}) == "m: Hi"
        assert await calls.embed_async(sdk, "m", ["a", "b"], {}) == [VECTOR, [2 * x for x in VECTOR]]
        assert await calls.embed_async(sdk, "m", [], {}) == []
        assert "".join(await collect(calls.chat_stream_async(sdk, "m", "one two", {}))) == "m: one two"
    assert up.requests[0].json()["top_k"] == 5
    assert up.connection_count == 1


@pytest.mark.parametrize("reply", CUTS.values(), ids=CUTS.keys())
async def test_a_cut_stream_raises_awaited(reply: Reply) -> None:
    """A-01, A-02, A-03, A-11"""
    async with FakeUpstream(reply) as up, async_client(up) as sdk:
        pieces: list[str] = []
        with pytest.raises(openai.APIConnectionError):
            await collect(calls.chat_stream_async(sdk, "m", "Hi", {}), pieces.append)
        assert pieces == ["one ", "two"]


async def test_a_silent_stream_times_out_awaited() -> None:
    async with (
        FakeUpstream(sse_reply([chat_events("one")[0], HANG])) as up,
        async_client(up, timeout=0.3) as sdk,
    ):
        with pytest.raises(openai.APITimeoutError):
            await collect(calls.chat_stream_async(sdk, "m", "Hi", {}))


async def test_an_error_event_raises_what_it_says_awaited() -> None:
    async with FakeUpstream(sse_reply([event({"error": {"message": "overloaded"}})])) as up, async_client(up) as sdk:
        with pytest.raises(openai.APIError, match="overloaded"):
            await collect(calls.chat_stream_async(sdk, "m", "Hi", {}))


@pytest.mark.parametrize("how", ["closed", "dropped", "cancelled"])
async def test_leaving_a_stream_closes_its_connection_at_once_awaited(how: str) -> None:
    """A-20"""
    async with FakeUpstream(sse_reply([chat_events("one")[0], HANG])) as up, async_client(up) as sdk:
        if how == "cancelled":
            begun = asyncio.Event()
            reading = collect(calls.chat_stream_async(sdk, "m", "Hi", {}), lambda _: begun.set())
            task = asyncio.get_running_loop().create_task(reading)
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            pieces = calls.chat_stream_async(sdk, "m", "Hi", {})
            assert await anext(pieces) == "one"
            if how == "closed":
                await pieces.aclose()
            del pieces
        async with asyncio.timeout(30):
            await up.peers[0].gone.wait()
