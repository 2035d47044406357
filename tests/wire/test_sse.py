"""The event decoder against the WHATWG's grammar, and the watcher against what upstreams do."""

from __future__ import annotations

import re
import tracemalloc
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayd.wire.openai import DONE, Usage
from gatewayd.wire.sse import StreamWatcher
from gatewayd.wire.sse_decoder import Decoder, Event
from tests.replies import chat_chunk, chat_events, event
from tests.work import steps


def decode(*chunks: bytes) -> list[tuple[bytes, bytes | None]]:
    decoder = Decoder()
    return [(found.type, found.data) for chunk in chunks for found in decoder.feed(chunk)]


def by_the_book(stream: bytes) -> list[tuple[bytes, bytes | None]]:
    """The same grammar in the plainest form: all bytes at once, line by line."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\r|\n", stream)[:-1]
    events: list[tuple[bytes, bytes | None]] = []
    type: bytes = b""
    data: list[bytes] = []
    for line in lines:
        if not line:
            if data:
                events.append((type, b"\n".join(data)))
            type, data = b"", []
        elif not line.startswith(b":"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"event":
                type = value
    return events


# A stream is made of pieces that meet at the places where a decoder can go wrong.
pieces = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event: x", b"id: 1", b"retry: 5", b": comment", b"\n", b"\r", b"\r\n", b"\n\n",
     b"\xef", b"\xbb", b"\xbf", b"\xef\xbb\xbf", b"{}", b"[DONE]", "ä".encode(), b"\xff", b" ", b":"]
)  # fmt: skip
streams = st.lists(pieces, max_size=30).map(b"".join)


@given(streams, st.lists(st.integers(0, 100), max_size=6))
@example(b"\xef\xbb\xbfdata: a\n\n", [1])
@settings(max_examples=300)
def test_any_chunking_gives_the_events_of_the_book(stream: bytes, cuts: list[int]) -> None:
    """A-14, A-16"""
    expected = by_the_book(stream)
    assert decode(stream) == expected
    assert decode(*(stream[at : at + 1] for at in range(len(stream)))) == expected
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert decode(*(stream[a:b] for a, b in pairwise(places))) == expected


@given(streams)
@settings(max_examples=100)
def test_end_is_behind_the_empty_line(stream: bytes) -> None:
    decoder = Decoder()
    found = decoder.feed(stream)
    for index, one in enumerate(found):
        again = Decoder()
        assert len(again.feed(stream[: one.end])) == index + 1


def test_an_event_without_its_empty_line_is_no_event() -> None:
    assert decode(b"data: a\n\ndata: b\n") == [(b"", b"a")]


def test_data_of_several_lines_is_one_event() -> None:
    """A-14"""
    assert decode(b"event: e\r\ndata: a\r\ndata:  b\r\ndata\r\n\r\n") == [(b"e", b"a\n b\n")]


def test_an_event_larger_than_the_limit_is_not_kept() -> None:
    """A-15"""
    decoder = Decoder(limit=100)
    assert decoder.feed(b"data: " + b"x" * 90) == []
    for _ in range(1000):
        decoder.feed(b"y" * 1000)
    assert decoder.too_large
    assert len(decoder.pending[1]) <= 100
    assert [found.data for found in decoder.feed(b"\n\ndata: next\n\n")] == [None, b"next"]
    assert [found.data for found in decoder.feed(b"data: " + b"a" * 60 + b"\ndata: " + b"b" * 60 + b"\n\n")] == [None]
    assert decoder.between


def test_a_long_line_in_single_bytes_takes_linear_time() -> None:
    """A-15, A-16: 300 KB byte by byte, none of which copies or looks through what came before."""
    decoder = Decoder()
    for _ in range(300_000):
        decoder.feed(b"x")
    tracemalloc.start()
    for _ in range(1000):
        decoder.feed(b"x")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000
    assert steps(lambda: decoder.feed(b"x")) < 50


# --- the watcher


def watch(*chunks: bytes, choices: int = 0) -> tuple[StreamWatcher, bytes]:
    watcher = StreamWatcher(choices=choices)
    out = b""
    for chunk in chunks:
        out += watcher.feed(chunk)
        if watcher.over:
            break
    return watcher, out


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


@pytest.mark.parametrize("split", [lambda s: [s], single_bytes, lambda s: [e + b"\n\n" for e in s.split(b"\n\n")[:-1]]])
def test_a_good_stream_passes_whole(split: object) -> None:
    stream = b"".join(chat_events("Hello", " error", '"error"', "[DONE]", usage=USAGE))
    watcher, out = watch(*split(stream))  # type: ignore[operator]
    assert out == stream
    assert watcher.done
    assert watcher.started
    assert not watcher.surplus
    assert watcher.end() == b""
    assert watcher.usage() == Usage(5, 7, 12)


def test_nothing_passes_behind_done() -> None:
    """A-10"""
    for split in (lambda s: [s], single_bytes):
        watcher, out = watch(*split(event(chat_chunk("a")) + DONE + b"data: more\n\n"))
        assert out == event(chat_chunk("a")) + DONE
        assert watcher.done
    assert watch(event({}) + DONE + b"data: more\n\n")[0].surplus
    assert not watch(event({}) + DONE + b"\n\r\n")[0].surplus


def test_comments_do_not_start_a_stream() -> None:
    """A-08, A-14"""
    watcher, out = watch(b": processing\n\n", b": processing\n\n")
    assert not watcher.started
    assert out == b": processing\n\n" * 2
    watcher.feed(event({"choices": []}))
    assert watcher.started


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"error": {"message": "overloaded"}}\n\n',
        b'data: {"id": "x", "choices": [], "error": {"code": 502}}\n\n',
        b'data: {"error": "text"}\r\n\r\n',
        b'data: {"object":"error","message":"vLLM of old","code":400}\n\n',
        b'event: error\ndata: {"message": "no error key"}\n\n',
        b"event: error\ndata: not json\n\n",
    ],
)
def test_an_error_event_ends_the_stream(bad: bytes) -> None:
    """A-08 as the first event, A-09 in the middle, whatever the segments."""
    good = event(chat_chunk("a"))
    for before in (b"", good):
        stream = before + bad + good + DONE
        for chunks in ([stream], single_bytes(stream), [before, bad + good, DONE]):
            watcher, out = watch(*chunks)
            assert watcher.error is not None
            assert not watcher.done
            assert watcher.started == bool(before)
            assert out == before + bad
            assert watcher.end() is None


@pytest.mark.parametrize(
    "fine",
    [
        b'data: {"error": null, "choices": []}\n\n',
        b'data: {"choices":[{"delta":{"content":"{\\"error\\": 1}"}}]}\n\n',
        b'data: not json but "error"\n\n',
        b"event: completion\ndata: an error happened\n\n",
        b'data: ["error"]\n\n',
    ],
)
def test_what_only_looks_like_an_error_passes(fine: bytes) -> None:
    """A-13 too: what is not JSON passes."""
    watcher, out = watch(event({}), fine, DONE)
    assert watcher.done
    assert out == event({}) + fine + DONE


def test_done_is_good_without_its_empty_line() -> None:
    for cut, missing in ((1, b"\n"), (2, b"\n\n")):
        watcher, _ = watch(event({}), DONE[:-cut])
        assert not watcher.done
        assert watcher.end() == missing
        assert watcher.done
    for stream in (b"", event({}), event({}) + b"data: [DON", event({}) + b"data: [DONE]x"):
        assert watch(stream)[0].end() is None


def test_a_flagged_stream_may_end_with_its_finish_reasons() -> None:
    """A-11"""
    begun = event(chat_chunk("a"))
    ended = event({"choices": [{"index": 0, "finish_reason": "stop"}]})
    second = event({"choices": [{"index": 1, "finish_reason": "length"}]})
    assert watch(begun, ended)[0].end() is None, "not flagged"
    assert watch(begun, choices=1)[0].end() is None, "no reason"
    assert watch(begun, ended, choices=1)[0].end() == DONE
    assert watch(begun, ended, choices=2)[0].end() is None, "one of two"
    assert watch(begun, ended, second, choices=2)[0].end() == DONE
    assert watch(begun, ended, b"data: {", choices=1)[0].end() is None, "in the middle of an event"
    assert watch(begun, ended, event({"usage": USAGE}), choices=1)[0].usage() == Usage(5, 7, 12)
    assert watch(begun, b'data: {"finish_reason": "x", broken\n\n', choices=1)[0].end() is None


def test_a_line_without_end_passes_and_is_not_kept() -> None:
    """A-15"""
    watcher = StreamWatcher()
    block = b"x" * 65536
    assert watcher.feed(b"data: " + block) == b"data: " + block
    for _ in range(40):
        assert watcher.feed(block) is block
    assert watcher.started, "what is not looked into is not held back"
    assert watcher.feed(b"\n\n" + DONE) == b"\n\n" + DONE
    assert watcher.done


def whole(*chunks: bytes) -> list[bytes]:
    """What passes of each chunk when events have to be whole."""
    watcher = StreamWatcher(whole=True)
    return [watcher.feed(chunk) for chunk in chunks if not watcher.over]


def test_an_event_passes_when_all_of_it_is_there() -> None:
    """A-01: so that nothing of one that is cut goes out."""
    one, two = event(chat_chunk("a")), event(chat_chunk("b"))
    assert whole(one[:9], one[9:]) == [b"", one]
    assert whole(one + two[:9], two[9:-1], two[-1:]) == [one, b"", two]
    assert whole(one, b": alive\n", b": alive", b"\n\n", two) == [one, b": alive\n", b"", b": alive\n\n", two]
    assert whole(one, b"event: x\n", b"data: {}\n", b"\n") == [one, b"", b"", b"event: x\ndata: {}\n\n"]
    assert whole(one.replace(b"\n", b"\r\n")[:-1], b"\n" + two) == [one.replace(b"\n", b"\r\n")[:-1], b"\n" + two]


def test_an_end_mark_whose_empty_line_is_missing_passes_with_it() -> None:
    for cut, missing in ((1, b"\n"), (2, b"\n\n")):
        watcher = StreamWatcher(whole=True)
        assert watcher.feed(event({})) == event({})
        assert watcher.feed(DONE[:-cut]) == b""
        assert watcher.end() == DONE[:-cut] + missing
    watcher = StreamWatcher(whole=True)
    watcher.feed(event({}) + b"data: [DON")
    assert watcher.end() is None


def test_what_is_too_large_to_wait_passes_as_it_comes() -> None:
    """A-15: and the next event waits again."""
    block, good = b"x" * 20_000, event({})
    assert whole(good, b"data: " + block, block, block, b"\n\n" + good[:4], good[4:8], good[8:]) == [
        good, b"", b"data: " + block * 2, block, b"\n\n", b"", good,
    ]  # fmt: skip
    assert whole(good + b"data: " + block * 2, block + b"\n\n" + good) == [
        good + b"data: " + block * 2, block + b"\n\n" + good,
    ]  # fmt: skip


@given(st.lists(st.text(max_size=20), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_whole_events_are_the_same_bytes(texts: list[str], end: bytes, data: st.DataObject) -> None:
    """A-16, A-01: in any segments; and of a stream that is cut, all events that are whole and no others."""
    events = [piece.replace(b"\n", end) for piece in chat_events(*texts)]
    stream = b"".join(events)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    assert b"".join(whole(*chunks)) == stream
    cut = data.draw(st.integers(0, len(stream) - 1))
    out = b"".join(whole(*(stream[a:b] for a, b in pairwise([0, *(at for at in cuts if at < cut), cut]))))
    expected = max(at for at in accumulate(map(len, events), initial=0) if at <= cut)
    if stream[:cut].endswith(b"\n\r"):  # CRLF: the CR of an empty line ends an event already; its LF may be under way
        expected = len(stream) if cut == len(stream) - 1 else cut
    assert out == stream[:expected]


def test_bytes_that_are_no_text_pass() -> None:
    """A-17"""
    stream = event({}) + b"data: \xff\xfe\x00\n\n" + DONE
    assert watch(*single_bytes(stream))[1] == stream


def test_usage_that_makes_no_sense_is_no_usage() -> None:
    assert watch(event({"usage": None}), DONE)[0].usage() is None
    assert watch(event({"usage": "many"}), DONE)[0].usage() is None
    assert watch(event({"usage": USAGE}), event({"usage": None}), DONE)[0].usage() is None


def test_event_is_a_value() -> None:
    assert Event(b"", b"a", 3) == Event(b"", b"a", 3)


def test_the_error_field_of_older_llama_cpp_is_an_error_event() -> None:
    watcher = StreamWatcher()
    good, bad = b'data: {"choices": []}\n\n', b'error: {"code":400,"message":"the context is full"}\n\n'
    assert watcher.feed(good) == good
    assert watcher.feed(bad + b"data: [DONE]\n\n") == bad
    assert (watcher.over, watcher.done) == (True, False)
    assert watcher.error == b'{"code":400,"message":"the context is full"}'
