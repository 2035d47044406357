"""Streams of images, speech and transcripts: when they are whole, failed or cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.wire.media_watch import MediaWatcher
from gatewayd.wire.openai import Usage
from gatewayd.wire.sse_decoder import MAX_EVENT

PARTIAL = b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"AA"}\n\n'
COMPLETED = (
    b'data: {"type":"image_generation.completed","b64_json":"AA","usage":{"input_tokens":5,"output_tokens":7}}\n\n'
)
DELTA = b'data: {"type":"transcript.text.delta","delta":"\\"type\\":\\"x.done\\""}\n\n'
DONE = b'event: transcript.text.done\r\ndata: {"text":"a"}\r\n\r\n'


def watched(data: bytes, cuts: Sequence[int] = ()) -> tuple[bytes, bytes | None, MediaWatcher]:
    """What passed, what is missing, and the watcher."""
    watcher = MediaWatcher(whole=True)
    passed, at = b"", 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        if not watcher.over:
            passed += watcher.feed(data[at:cut])
        at = cut
    return passed, watcher.end(), watcher


@pytest.mark.parametrize("stream", [PARTIAL + COMPLETED, COMPLETED * 2, DELTA + DONE, DONE])
@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_is_whole_behind_a_result(stream: bytes, cuts: Sequence[int]) -> None:
    passed, missing, watcher = watched(stream, cuts)
    assert (passed, missing, watcher.started) == (stream, b"", True)
    assert not watcher.over


@pytest.mark.parametrize(
    "stream", [PARTIAL, DELTA, COMPLETED + PARTIAL, DONE[:-2], COMPLETED[:-1], COMPLETED + b"da", b""]
)
@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_a_cut_stream_is_not(stream: bytes, cuts: Sequence[int]) -> None:
    assert watched(stream, cuts)[1] is None


def test_an_end_mark_ends_it_too() -> None:
    passed, missing, watcher = watched(DELTA + b"data: [DONE]\n\n" + b"\n")
    assert (passed, missing) == (DELTA + b"data: [DONE]\n\n", b"")
    assert watcher.over


def test_an_error_is_one_whatever_came_before() -> None:
    _, missing, watcher = watched(COMPLETED + b'event: error\ndata: {"type":"error","error":{"message":"no"}}\n\n')
    assert missing is None
    assert watcher.error is not None


def test_a_large_image_is_a_result() -> None:
    body = b'data: {"type":"image_generation.completed","b64_json":"%b"}\n\n' % (b"A" * MAX_EVENT)
    assert watched(body)[:2] == (body, b"")
    named = b"event: image_generation.partial_image\n" + body
    assert watched(named)[1] is None


def test_usage_is_that_of_the_result() -> None:
    assert watched(PARTIAL + COMPLETED)[2].usage() == Usage(5, 7, 12)
    assert watched(DELTA + DONE)[2].usage() is None
