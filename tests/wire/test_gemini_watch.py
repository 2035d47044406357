"""Gemini's requests at their top level, and its streams as they pass: the end, errors, usage, however they are cut."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from gatewayd.errors import UpstreamIncomplete
from gatewayd.wire.gemini_watch import (
    GeminiWatcher,
    gemini_error,
    gemini_error_event,
    gemini_peek,
    gemini_peek_in_steps,
    gemini_usage,
    is_gemini_error,
)
from gatewayd.wire.openai import Intent, Usage
from tests.stand_ins import gemini

STREAM = gemini.chunk("an error: ") + gemini.chunk('says "usage"') + gemini.chunk("!", reason="STOP")
SAID = Usage(gemini.PROMPT_TOKENS, gemini.ANSWER_TOKENS, gemini.PROMPT_TOKENS + gemini.ANSWER_TOKENS)


def run_to_end(steps: Generator[None, None, Intent]) -> Intent:
    def run() -> Generator[None, None, None]:
        found.append((yield from steps))

    found: list[Intent] = []
    for _ in run():
        pass
    return found[0]


def fed(*chunks: bytes, **options: Any) -> tuple[GeminiWatcher, bytes]:
    watcher = GeminiWatcher(**options)
    passed = b""
    for chunk in chunks:
        if watcher.over:
            break
        passed += watcher.feed(chunk)
    return watcher, passed


@pytest.mark.parametrize("size", [1, 7, 64, 1000, len(STREAM)])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_passes_byte_for_byte(size: int, whole: bool, line_end: bytes) -> None:
    """A-16"""
    stream = STREAM.replace(b"\r\n", line_end)
    watcher, passed = fed(*(stream[at : at + size] for at in range(0, len(stream), size)), whole=whole)
    assert passed == stream
    assert (watcher.started, watcher.over, watcher.error, watcher.end()) == (True, False, None, b"")
    assert watcher.usage() == SAID


def test_a_stream_without_a_reason_to_finish_has_no_end() -> None:
    assert fed()[0].end() is None
    assert fed(gemini.chunk("a"))[0].end() is None
    assert fed(b"data: {broken\n\n", b'data: {"candidates": 7, "finishReason": 1}\n\n')[0].end() is None


@pytest.mark.parametrize("missing", [b"\n", b"\n\n"])
def test_a_last_event_may_lack_its_blank_line(missing: bytes) -> None:
    stream = STREAM.replace(b"\r\n", b"\n")
    watcher, passed = fed(stream.removesuffix(missing), whole=True)
    last = watcher.end()
    assert last is not None
    assert passed + last == stream


def test_each_candidate_must_have_finished() -> None:
    def chunk(index: int, reason: str | None) -> bytes:
        return gemini.event({"candidates": [{"index": index, "finishReason": reason}]})

    assert fed(chunk(0, None), chunk(1, None), chunk(0, "STOP"))[0].end() is None
    assert fed(chunk(0, None), chunk(1, "STOP"), chunk(0, "STOP"))[0].end() == b""


def test_a_blocked_prompt_is_a_whole_stream() -> None:
    watcher, passed = fed(gemini.blocked())
    assert (passed, watcher.error, watcher.end()) == (gemini.blocked(), None, b"")


@pytest.mark.parametrize("before", [b"", gemini.chunk("a")])
def test_an_error_ends_a_stream(before: bytes) -> None:
    """A-08, A-09"""
    watcher, passed = fed(before + gemini.error_event())
    assert (watcher.over, watcher.started, watcher.end()) == (True, bool(before), None)
    assert watcher.error == gemini.error_event().strip().removeprefix(b"data: ")
    assert passed == before + gemini.error_event()
    assert fed(gemini.error_event().rstrip())[0].end() is None


def test_a_model_that_failed_at_once_has_not_begun_a_stream() -> None:
    """U-B1"""
    failed = gemini.event({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]})
    watcher, passed = fed(failed)
    assert (passed, watcher.started, watcher.over, watcher.withheld) == (b"", False, True, True)
    assert b"MALFORMED_FUNCTION_CALL" in (watcher.error or b"")
    watcher, passed = fed(gemini.chunk("a"), failed)
    assert (passed, watcher.error) == (gemini.chunk("a") + failed, None)


def test_usage_of_whole_answers() -> None:
    body = json.dumps(gemini.body("a", reason="STOP")).encode()
    assert gemini_usage(body) == SAID
    far = json.dumps({**json.loads(body), "x": "y" * 5000}).encode()
    assert gemini_usage(far) == SAID
    thoughts = {"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 10}
    assert gemini_usage(json.dumps({"usageMetadata": thoughts}).encode()) == Usage(5, 5, 10)
    for none in (b"{}", b'{"usageMetadata": {}}', b'{"usageMetadata": {"promptTokenCount": "x"}}', b'"usageMetadata"'):
        assert gemini_usage(none) is None


def test_the_path_names_the_model() -> None:
    body = b'{"model":"models/other","contents":[]}'
    intent = gemini_peek(body, default_model="m")
    assert (intent.model, intent.stream, intent.body) == ("m", False, body)
    assert run_to_end(gemini_peek_in_steps(body, default_model="m")).model == "m"


def test_errors_have_googles_form() -> None:
    error = UpstreamIncomplete("It was cut.")
    told = json.loads(gemini_error_event(error).removeprefix(b"data: "))
    assert (told["error"]["code"], told["error"]["message"]) == (error.status, "It was cut.")
    assert is_gemini_error(gemini_error(error, "It was cut.", "r"))
    assert not is_gemini_error(b"{}")
    error.told = True
    assert gemini_error_event(error) == b""
