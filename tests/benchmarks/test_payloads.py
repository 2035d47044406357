"""The bodies have the sizes that are published, and the stamps can be found in every wire."""

from __future__ import annotations

import json

import pytest

from benchmarks import payloads


@pytest.mark.parametrize("size", [payloads.SMALL, 1000, payloads.LARGE])
def test_requests_have_their_size_and_are_json(size: int) -> None:
    body = payloads.chat_body(size)
    assert len(body) == size
    assert json.loads(body)["model"] == payloads.MODEL


def test_streams_ask_for_their_chunks() -> None:
    body = json.loads(payloads.chat_body(stream=True, chunks=7))
    assert body["stream"] is True
    assert body["max_tokens"] == 7


def test_answers_have_500_bytes_in_both_wires() -> None:
    for answer in (payloads.answer(), payloads.anthropic_answer()):
        assert len(answer) == 500
        json.loads(answer)


@pytest.mark.parametrize("script", [payloads.openai_stream(), payloads.anthropic_stream()], ids=["openai", "anthropic"])
def test_streams_are_server_sent_events_with_room_for_a_stamp(
    script: tuple[bytes, tuple[bytes, bytes], bytes],
) -> None:
    opening, (before, after), closing = script
    stamp = b"@%018d@" % 12345
    assert len(stamp) == payloads.STAMP_BYTES
    text = opening + before + stamp + after + closing
    events = [line.removeprefix(b"data: ") for line in text.split(b"\n") if line.startswith(b"data: ")]
    for event in events:
        if event != b"[DONE]":
            json.loads(event)
    assert [int(found[1]) for found in payloads.STAMP.finditer(text)] == [12345]
