"""Anthropic's streams as they pass: the end, errors, usage, and nothing after the end mark, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.wire.messages_watch import MESSAGE_STOP, MessagesWatcher, messages_usage
from gatewayd.wire.openai import Usage
from tests.stand_ins import anthropic

STREAM = b"".join(anthropic.stream("error", 'says "usage"', tool="get"))
SAID = Usage(anthropic.INPUT_TOKENS, anthropic.OUTPUT_TOKENS, anthropic.INPUT_TOKENS + anthropic.OUTPUT_TOKENS)


def fed(*chunks: bytes, **options: Any) -> tuple[MessagesWatcher, bytes]:
    watcher = MessagesWatcher(**options)
    passed = b""
    for chunk in chunks:
        if watcher.over:
            break
        passed += watcher.feed(chunk)
    return watcher, passed


def usages(**counts: int) -> bytes:
    message = {"type": "message", "role": "assistant", "content": [], "usage": counts}
    return anthropic.event("message_start", message=message)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, len(STREAM)])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_passes_byte_for_byte(size: int, whole: bool, line_end: bytes) -> None:
    """A-16"""
    stream = STREAM.replace(b"\n", line_end)
    watcher, passed = fed(*(stream[at : at + size] for at in range(0, len(stream), size)), whole=whole)
    assert passed == stream
    assert (watcher.started, watcher.done, watcher.over, watcher.error) == (True, True, True, None)
    assert watcher.usage() == SAID
    assert watcher.end() == b""


def test_whole_events_of_a_stream_need_no_decoder() -> None:
    events = anthropic.stream("error", "an \\ error: {}")
    watcher, passed = fed(*events)
    assert passed == b"".join(events)
    assert watcher.done
    assert watcher.usage() == SAID


def test_nothing_passes_behind_the_end_mark() -> None:
    """A-10"""
    watcher, passed = fed(STREAM + anthropic.error_event())
    assert passed == STREAM
    assert watcher.done
    assert watcher.surplus


@pytest.mark.parametrize("missing", [1, 2])
def test_an_end_mark_without_its_empty_line_is_completed(missing: int) -> None:
    watcher, passed = fed(STREAM[:-missing], whole=True)
    rest = watcher.end()
    assert rest is not None
    assert (passed + rest).endswith(b'{"type": "message_stop"}\n\n')
    assert watcher.done


@pytest.mark.parametrize("cut", [3, 30, 60])
def test_a_cut_stream_has_no_good_end(cut: int) -> None:
    """A-01"""
    watcher, _ = fed(STREAM[:-cut], whole=True)
    assert watcher.end() is None


@pytest.mark.parametrize("name", [b"event: error\n", b""])
def test_an_error_ends_the_stream(name: bytes) -> None:
    """A-09"""
    error = name + b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    watcher, passed = fed(anthropic.start(), error, MESSAGE_STOP)
    assert passed == anthropic.start() + error
    assert watcher.over
    assert not watcher.done
    assert watcher.error is not None
    assert watcher.end() is None


def test_a_secret_in_an_error_does_not_pass() -> None:
    watcher, passed = fed(anthropic.start(), anthropic.error_event(message="sk-x"), hides=lambda data: b"sk-x" in data)
    assert passed == anthropic.start()
    assert watcher.withheld


def test_an_end_mark_is_known_by_its_type_alone() -> None:
    watcher, _ = fed(anthropic.start(), b'data: {"type":"message_stop"}\n\n')
    assert watcher.done
    watcher, _ = fed(anthropic.start(), b'data: {"type":"ping","text":"message_stop"}\n\n')
    assert not watcher.done


def test_cached_tokens_are_part_of_the_prompt() -> None:
    start = usages(input_tokens=3, cache_read_input_tokens=100, cache_creation_input_tokens=10, output_tokens=1)
    delta = anthropic.event("message_delta", delta={}, usage={"output_tokens": 9, "input_tokens": 0})
    assert fed(start, delta)[0].usage() == Usage(113, 9, 122)


def test_usage_that_comes_at_the_end_only_counts() -> None:
    """As from servers that convert: they do not know the input at the start."""
    delta = anthropic.event("message_delta", delta={}, usage={"output_tokens": 9, "input_tokens": 4})
    assert fed(usages(input_tokens=0, output_tokens=0), delta)[0].usage() == Usage(4, 9, 13)
    assert fed(b"data: {}\n\n")[0].usage() is None


def test_usage_of_a_whole_answer() -> None:
    counts = {"input_tokens": 2, "output_tokens": 3, "server_tool_use": {"web_search_requests": 1}}
    body = json.dumps({"content": [{"type": "text", "text": "usage"}], "usage": counts, "stop_reason": "end_turn"})
    assert messages_usage(body.encode()) == Usage(2, 3, 5)
    assert messages_usage(b'{"input_tokens":3}') is None
    assert messages_usage(b'{"usage":{"input_tokens":"x"}}') is None
