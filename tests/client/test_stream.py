from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.client.stream import BrokenStream, TextStream
from tests.replies import DONE, chat_chunk, chat_events, event, split


def read(*chunks: bytes) -> tuple[list[str], bool]:
    stream = TextStream()
    return [text for chunk in chunks for text in stream.feed(chunk)], stream.done


def test_a_whole_stream() -> None:
    assert read(*chat_events("Good ", "day", usage={"prompt_tokens": 1})) == (["Good ", "day"], True)


def test_without_its_end_mark_a_stream_is_not_done() -> None:
    """A-01: a finish reason is no end mark."""
    assert read(*chat_events("Good ", "day")[:-1]) == (["Good ", "day"], False)


def test_nothing_is_read_after_the_end_mark() -> None:
    """A-10"""
    assert read(DONE + event(chat_chunk("more"))) == ([], True)


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(min_size=1), max_size=5),
    offsets=st.lists(st.integers(0, 2000), max_size=12),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_any_chunking_and_any_line_end_give_the_same_text(
    texts: list[str], offsets: list[int], line_end: bytes
) -> None:
    """A-14, A-16"""
    data = b": a comment\n\nevent: x\n" + b"".join(chat_events(*texts))
    data = data.replace(b"\n", line_end)
    pieces, done = read(*split(data, offsets))
    assert (pieces, done) == (texts, True)


def test_text_with_separators_that_are_no_line_ends_on_the_wire_stays_whole() -> None:
    text = "a\u2028b\x85c\x0bd"
    data = b"data: " + json.dumps(chat_chunk(text), ensure_ascii=False).encode() + b"\n\n"
    assert read(data, DONE) == ([text], True)


def test_data_over_several_lines_is_one_event() -> None:
    data = json.dumps(chat_chunk("x"), indent=1).encode().replace(b"\n", b"\ndata: ")
    assert read(b"data: " + data + b"\n\n" + DONE) == (["x"], True)


def test_an_error_event_carries_its_body() -> None:
    """A-09"""
    with pytest.raises(BrokenStream, match="overloaded") as caught:
        read(event(chat_chunk("a")), event({"error": {"message": "overloaded", "code": "upstream_error"}}))
    assert caught.value.body["code"] == "upstream_error"


@pytest.mark.parametrize("error", ["text", {"code": 1}, ["x"]])
def test_errors_of_odd_shapes_are_errors_too(error: Any) -> None:
    with pytest.raises(BrokenStream, match="upstream failed"):
        read(event({"error": error}))


@pytest.mark.parametrize("data", [b"data: {oops\n\n", b"data: [1]\n\n", b"data: \xff\n\n"])
def test_events_nobody_can_read(data: bytes) -> None:
    """A-13"""
    with pytest.raises(BrokenStream) as caught:
        read(data)
    assert caught.value.body is None


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"index": 1, "delta": {"content": "other"}}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {"content": None, "tool_calls": []}}]},
    ],
)
def test_chunks_without_text_for_the_first_choice(chunk: Any) -> None:
    assert read(event(chunk), DONE) == ([], True)


def test_text_in_parts_is_that_of_the_text_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "one"}, 5]
    chunks = [event({"choices": [{"index": 0, "delta": {"content": given}}]}) for given in (parts[:1], parts, "two")]
    assert read(*chunks, DONE) == (["one", "two"], True)


def test_a_line_end_that_is_split_over_chunks_counts_once() -> None:
    data = event(chat_chunk("x")).replace(b"\n", b"\r\n")
    assert read(*(data[i : i + 1] for i in range(len(data))), b"", DONE) == (["x"], True)
    assert read(b"data: [DONE]\r", b"\n", b"\n") == ([], True)


@pytest.mark.parametrize("rest", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r\n"])
def test_an_end_mark_without_its_empty_line_is_a_good_end(rest: bytes) -> None:
    stream = TextStream()
    assert list(stream.feed(event(chat_chunk("x")) + rest)) == ["x"]
    assert stream.end()


@pytest.mark.parametrize("rest", [b"", b"data: [DO", b"data: {}\n", b": [DONE]\n"])
def test_any_other_end_is_a_cut(rest: bytes) -> None:
    """A-01, A-12"""
    stream = TextStream()
    assert list(stream.feed(rest)) == []
    assert not stream.end()


def test_a_byte_order_mark_is_skipped() -> None:
    assert read(b"\xef\xbb\xbf" + event(chat_chunk("x")), DONE) == (["x"], True)
