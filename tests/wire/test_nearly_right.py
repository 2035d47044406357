"""Requests, answers and streams that are nearly right are read or refused; nothing else happens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RequestError, UpstreamBadResponse
from gatewayd.wire import chat, messages
from gatewayd.wire.conversation import Answer, ModelTarget, Request
from gatewayd.wire.events import Reader, StreamEvent
from tests.wire import chat_cases, messages_cases, test_chat, test_messages
from tests.wire.odd_json import nearly

LENIENT = ModelTarget(model="m", drop_params=True, thinking_blocks=True)
CHAT, MESSAGES = chat.read_request(test_chat.ask()), messages.read_request(test_messages.ask())
CHAT_ANSWERS = [
    json.loads(test_chat.answer(*case, usage=test_chat.USAGE)) for _, case in sorted(test_chat.ANSWERS.items())
]
MESSAGES_ANSWERS = [json.loads(test_messages.answer(*case)) for _, case in sorted(test_messages.ANSWERS.items())]
CHUNKS = [
    json.loads(line.removeprefix(b"data: "))
    for _, stream in sorted(test_chat.STREAMS.items())
    for line in stream.split(b"\n\n")
    if line.startswith(b"data: {")
]
EVENTS = [event for _, stream in sorted(test_messages.STREAMS.items()) for event in stream]


def write_requests(request: Request) -> None:
    for write in (chat.write_request, messages.write_request):
        for target in (test_chat.EVERYTHING, LENIENT):
            try:
                json.loads(write(request, target).body)
            except RequestError as error:
                if error.param is None:
                    raise


def write_answers(answer: Answer) -> None:
    json.loads(chat.write_answer(answer, CHAT))
    json.loads(messages.write_answer(answer, MESSAGES))


def write_streams(events: list[StreamEvent]) -> None:
    for writer in (chat.Writer(CHAT), messages.Writer(MESSAGES)):
        for event in events:
            writer.feed(event)


@given(nearly(chat_cases.requests))
def test_requests_of_chat(body: Any) -> None:
    try:
        request = chat.read_request(json.dumps(body).encode())
    except RequestError:
        return
    write_requests(request)


@given(nearly(messages_cases.requests))
def test_requests_of_messages(body: Any) -> None:
    try:
        request = messages.read_request(json.dumps(body).encode())
    except RequestError:
        return
    write_requests(request)


@given(nearly(st.sampled_from(CHAT_ANSWERS)))
def test_answers_of_chat(body: Any) -> None:
    try:
        answer = chat.read_answer(json.dumps(body).encode())
    except UpstreamBadResponse:
        return
    write_answers(answer)


@given(nearly(st.sampled_from(MESSAGES_ANSWERS)))
def test_answers_of_messages(body: Any) -> None:
    try:
        answer = messages.read_answer(json.dumps(body).encode())
    except UpstreamBadResponse:
        return
    write_answers(answer)


def read_events(reader: Reader, events: list[tuple[bytes, bytes]]) -> list[StreamEvent]:
    read: list[StreamEvent] = []
    try:
        for name, data in events:
            read += reader.feed(name, data)
        read += reader.end()
    except UpstreamBadResponse:
        pass
    return read


@given(nearly(st.sampled_from(CHUNKS)))
def test_streams_of_chat(chunk: Any) -> None:
    data = [json.dumps(found).encode() for found in (CHUNKS[0], chunk)]
    write_streams(read_events(chat.Reader(), [(b"", found) for found in (*data, b"[DONE]")]))


@given(nearly(st.sampled_from(EVENTS)))
def test_streams_of_messages(event: Any) -> None:
    events = [test_messages.START, *test_messages.text_block(0, "a")[:2], event, test_messages.STOP]
    fed = [(str(found.get("type")).encode(errors="replace"), json.dumps(found).encode()) for found in events]
    write_streams(read_events(messages.Reader(), fed))


@pytest.mark.parametrize("read", [chat.read_answer, messages.read_answer])
def test_an_answer_that_is_nested_too_deeply(read: Any) -> None:
    with pytest.raises(UpstreamBadResponse):
        read(b'{"content": ' + b"[" * 200_000)
