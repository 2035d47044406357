"""Streams of the Gemini API: every split of the bytes gives the same, and events keep their order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire import gemini
from gatewayd.wire.conversation import Request, TextBlock, ThinkingBlock, ToolUseBlock
from gatewayd.wire.events import BlockStart, BlockStop, Delta, End, Start, Stop, StreamError, StreamEvent, UsageReport
from gatewayd.wire.sse_decoder import Decoder
from tests.wire.gemini_cases import CASES, PNG, SIGNATURE, Object, called, event, said, stream

_request = Request(dialect="gemini", model="m", turns=())


def events_of(*pieces: bytes) -> list[StreamEvent]:
    decoder, reader = Decoder(), gemini.Reader()
    events: list[StreamEvent] = []
    for piece in pieces:
        for one in decoder.feed(piece):
            assert one.data is not None
            events += reader.feed(one.type, one.data)
    return events + reader.end()


@pytest.mark.parametrize("name", CASES)
def test_every_split_gives_the_same_events(name: str) -> None:
    data = stream(CASES[name].answered)
    whole = events_of(data)
    assert isinstance(whole[-1], End)
    for at in range(0, len(data), 7):
        assert events_of(data[:at], data[at:]) == whole


_text = st.text(max_size=5)
_parts = st.one_of(
    st.builds(lambda text: {"text": text}, _text),
    st.builds(lambda text: {"text": text, "thought": True}, _text),
    st.builds(lambda text: {"text": text, "thoughtSignature": SIGNATURE}, _text),
    st.builds(lambda text: {"text": text, "thought": True, "thoughtSignature": SIGNATURE}, _text),
    st.just(called("f", {"a": 1})),
    st.just(called("g", thoughtSignature=SIGNATURE)),
    st.just({"inlineData": {"mimeType": "image/png", "data": PNG}}),
    st.just({"executableCode": {"code": "1"}}),
)
_answers = st.lists(_parts, min_size=1, max_size=8)


def _blocks(events: list[StreamEvent]) -> list[tuple[Any, ...]]:
    """What the blocks of a stream say when they are complete, and that each begins once and ends once."""
    blocks: dict[int, list[Any]] = {}
    open_blocks: set[int] = set()
    for one in events:
        match one:
            case BlockStart(index, block):
                assert index == len(blocks)
                open_blocks.add(index)
                text = block.text if isinstance(block, TextBlock | ThinkingBlock) else getattr(block, "arguments", "")
                blocks[index] = [type(block), text, getattr(block, "signature", None), getattr(block, "call_id", None)]
            case Delta(index, kind, text):
                assert index in open_blocks
                if kind == "signature":
                    blocks[index][2] = text
                else:
                    blocks[index][1] += text
            case BlockStop(index):
                open_blocks.remove(index)
            case Stop():
                assert not open_blocks
            case _:
                pass
    return [tuple(block) for block in blocks.values()]


def _whole(answer: Object) -> list[tuple[Any, ...]]:
    found = gemini.read_answer(json.dumps(answer).encode()).choices[0].blocks
    return [
        (
            type(block),
            getattr(block, "text", getattr(block, "arguments", "")),
            getattr(block, "signature", None),
            getattr(block, "call_id", None),
        )
        for block in found
    ]


@given(_answers)
def test_a_stream_says_what_the_whole_answer_says(parts: list[Object]) -> None:
    answer = said(*parts)
    events = events_of(stream(answer))
    assert _blocks(events) == _whole(answer)
    assert isinstance(events[0], Start)
    kinds = [type(one) for one in events[-3:]]
    assert kinds[-1] is End
    assert Stop in kinds


@given(_answers)
def test_what_is_written_says_what_was_read(parts: list[Object]) -> None:
    events = events_of(stream(said(*parts)))
    writer = gemini.Writer(_request)
    again = events_of(*(piece for one in events for piece in writer.feed(one)))
    expected = [(kind, text, signature) for kind, text, signature, _ in _blocks(events)]
    assert [(kind, text, signature) for kind, text, signature, _ in _blocks(again)] == expected
    assert [one for one in again if isinstance(one, Stop)] == [one for one in events if isinstance(one, Stop)]


@given(_answers)
def test_the_common_answer_is_read_as_any_other(parts: list[Object]) -> None:
    answer = said(*parts, avgLogprobs=-0.5)
    common, other = (gemini.read_answer(json.dumps(one).encode()) for one in (answer, {**answer, "somethingNew": 1}))
    assert common.choices == other.choices
    assert (common.usage, common.answer_id, common.model) == (other.usage, other.answer_id, other.model)
    streams = [events_of(stream(one)) for one in (answer, {**answer, "somethingNew": 1})]
    assert streams[0] == streams[1]


def test_several_candidates() -> None:
    def candidate(index: int, text: str, **more: Any) -> Object:
        return {"content": {"parts": [{"text": text}], "role": "model"}, "index": index, **more}

    first = {"candidates": [candidate(0, "a"), candidate(1, "b")], "responseId": "r"}
    last = {"candidates": [candidate(1, "c", finishReason="STOP")], "responseId": "r"}
    half = events_of(event(first) + event(last))
    assert not any(isinstance(one, End) for one in half)  # the first candidate has not finished
    done = {"candidates": [candidate(0, "d", finishReason="MAX_TOKENS")], "responseId": "r"}
    events = events_of(event(first) + event(last) + event(done))
    texts: dict[int, str] = {}
    for one in events:
        if isinstance(one, Delta):
            texts[one.choice] = texts.get(one.choice, "") + one.text
    assert texts == {0: "ad", 1: "bc"}
    assert len([one for one in events if isinstance(one, Stop)]) == 2
    writer = gemini.Writer(_request)
    written = [json.loads(piece.removeprefix(b"data: ")) for one in events for piece in writer.feed(one)]
    assert [one["finishReason"] for one in written[-1]["candidates"]] == ["MAX_TOKENS", "STOP"]


def test_ids_of_calls_are_made_once_and_differ() -> None:
    events = events_of(event(said(called("f", {}), called("f", {}))) + event(said(called("f", {}))))
    calls = [one.block.call_id for one in events if isinstance(one, BlockStart) and isinstance(one.block, ToolUseBlock)]
    assert len(set(calls)) == 3
    assert all(len(call) <= 40 and call.isascii() for call in calls)  # what OpenAI takes


def test_nothing_follows_an_error_or_the_end() -> None:
    reader = gemini.Reader()
    (error,) = reader.feed(b"", b'{"error":{"message":"m"}}')
    assert isinstance(error, StreamError)
    assert reader.feed(b"", json.dumps(said({"text": "a"})).encode()) == []
    assert reader.end() == []
    reader = gemini.Reader()
    reader.feed(b"", json.dumps(said({"text": "a"})).encode())
    assert isinstance(reader.end()[-1], End)
    assert reader.end() == reader.feed(b"", b"{}") == []


def test_an_answer_without_an_id_gets_one() -> None:
    answer = said({"text": "a"})
    del answer["responseId"]
    start = events_of(event(answer))[0]
    assert isinstance(start, Start)
    assert start.answer_id.startswith("gemini-")


def test_line_ends_within_json_do_not_end_the_event() -> None:
    answer = json.dumps(said({"text": "a"}, safetyRatings=[{"a": 1}]), indent=1)
    reader, writer = gemini.Reader(), gemini.Writer(_request)
    events = reader.feed(b"", answer.encode()) + reader.end()
    assert any(isinstance(one, UsageReport) for one in events)
    for piece in [piece for one in events for piece in writer.feed(one)]:
        assert b"\n" not in piece.removesuffix(b"\r\n\r\n")
