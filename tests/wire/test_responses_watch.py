"""The watcher of Responses streams against what upstreams do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseFailedEvent

from gatewayd.errors import UpstreamIncomplete, UpstreamStatus
from gatewayd.wire.openai import Usage
from gatewayd.wire.responses_watch import ResponsesWatcher, failure_in, responses_error_event, responses_usage
from gatewayd.wire.sse import StreamWatcher
from tests.replies import chat_chunk
from tests.replies import event as chat_event
from tests.work import steps

USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 12,
}
FAILURE = {"code": "server_error", "message": "out of memory"}


def event(type: str, **members: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **members}, separators=(',', ':'))}\n\n".encode()


def response(status: str = "in_progress", **members: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "error": None, "usage": None, **members}


CREATED = event("response.created", sequence_number=0, response=response())
IN_PROGRESS = event("response.in_progress", sequence_number=1, response=response())
COMPLETED = event("response.completed", response=response("completed", usage=USAGE, metadata={"a": "usage"}))
INCOMPLETE = event("response.incomplete", response=response("incomplete", usage=USAGE))
FAILED = event("response.failed", response=response("failed", error=FAILURE))


def delta(text: str) -> bytes:
    return event("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)


def watch(*chunks: bytes) -> tuple[ResponsesWatcher, bytes]:
    watcher = ResponsesWatcher(whole=True)
    out = b""
    for chunk in chunks:
        out += watcher.feed(chunk)
        if watcher.over:
            break
    return watcher, out


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def one_event_each(stream: bytes) -> list[bytes]:
    return [piece + b"\n\n" for piece in stream.split(b"\n\n")[:-1]]


SPLITS = [lambda stream: [stream], single_bytes, one_event_each]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("last", [COMPLETED, INCOMPLETE])
def test_a_good_stream_passes_whole(split: Any, last: bytes) -> None:
    texts = ("Hello", "response", '"response"', "response.completed", " error", '"error"', "event: error")
    stream = CREATED + IN_PROGRESS + b"".join(map(delta, texts)) + last
    watcher, out = watch(*split(stream))
    assert out == stream
    assert (watcher.done, watcher.over, watcher.started, watcher.surplus) == (True, True, True, False)
    assert watcher.error is None
    assert watcher.end() == b""
    assert watcher.usage() == Usage(5, 7, 12)


@pytest.mark.parametrize("split", SPLITS)
def test_a_failed_response_is_an_error_and_before_any_output_a_failed_start(split: Any) -> None:
    """200 with `status: failed` is a failed try."""
    watcher, _ = watch(*split(CREATED + IN_PROGRESS + FAILED))
    assert (watcher.started, watcher.done, watcher.over) == (False, False, True)
    assert watcher.error is not None
    assert json.loads(watcher.error)["error"] == {**FAILURE, "type": "server_error", "param": None}
    watcher, out = watch(*split(CREATED + delta("a") + FAILED))
    assert (watcher.started, watcher.done, watcher.over) == (True, False, True)
    assert out == CREATED + delta("a") + FAILED, "the client gets the upstream's own event"
    assert watcher.end() is None


def test_completed_with_status_failed_has_failed() -> None:
    watcher, _ = watch(CREATED + event("response.completed", response=response("failed", error=FAILURE)))
    assert watcher.error is not None
    assert not watcher.done
    assert failure_in(b'{"status":"failed","error":null}') is not None
    assert failure_in(b'{"status":"completed","error":null}') is None
    assert failure_in(b"nothing") is None


@pytest.mark.parametrize(
    ("code", "type"),
    [
        ("server_error", "server_error"),
        ("rate_limit_exceeded", "server_error"),
        ("invalid_prompt", "invalid_request_error"),
        ("context_length_exceeded", "invalid_request_error"),
        (None, "server_error"),
    ],
)
def test_whose_fault_a_failure_is(code: str | None, type: str) -> None:
    found = failure_in(json.dumps({"status": "failed", "error": {"code": code, "message": "m"}}).encode())
    assert found is not None
    assert json.loads(found)["error"]["type"] == type


@pytest.mark.parametrize(
    "bad",
    [
        event("error", code="server_error", message="overloaded", param=None, sequence_number=3),
        event("error", error={"type": "server_error", "code": None, "message": "overloaded"}),
        b'data: {"type":"error","message":"overloaded"}\n\n',
        b'data: {"error": {"message": "overloaded"}}\n\n',
        b'event:error\ndata: {"message": "overloaded"}\n\n',
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_an_error_event_ends_the_stream(bad: bytes, split: Any) -> None:
    for before in (b"", CREATED, CREATED + delta("a")):
        watcher, out = watch(*split(before + bad + delta("b") + COMPLETED))
        assert watcher.error is not None
        assert json.loads(watcher.error)["error"]["message"] == "overloaded"
        assert out == before + bad
        assert watcher.started == before.endswith(delta("a"))


ERROR = event("error", code="server_error", message="overloaded", param=None, sequence_number=3)


@pytest.mark.parametrize("split", SPLITS)
def test_a_failed_response_may_follow_an_error_event(split: Any) -> None:
    """OpenAI sends both. Codex reads the second one only."""
    for bad in (ERROR, b"event: error\ndata: broken\n\n"):
        for behind in (b"", delta("b"), FAILED):
            watcher, out = watch(*split(CREATED + delta("a") + bad + FAILED + behind))
            assert out == CREATED + delta("a") + bad + FAILED
            assert (watcher.over, watcher.done, watcher.ending) == (True, False, False)
            assert watcher.error is not None
            assert watcher.end() is None
        watcher, out = watch(*split(CREATED + delta("a") + bad + b"data: [DONE]\n\n"))
        assert out == CREATED + delta("a") + bad
        assert watcher.over


def test_behind_an_error_event_a_stream_is_over_but_for_one_event() -> None:
    watcher, out = watch(CREATED, delta("a"), ERROR)
    assert out.endswith(ERROR)
    assert (watcher.over, watcher.ending) == (False, True)
    assert watcher.end() is None
    assert watcher.feed(FAILED[:20]) == b""
    assert watcher.feed(FAILED[20:]) == FAILED
    assert watcher.over
    watcher, _ = watch(CREATED, ERROR)
    assert watcher.over, "nothing has been passed on: another deployment can be asked"
    watcher, _ = watch(CREATED, delta("a"), ERROR, b"data: " + b"x" * 2_000_000)
    assert watcher.over
    hiding = ResponsesWatcher(whole=True, hides=lambda data: b"out of memory" in data)
    assert hiding.feed(CREATED + delta("a") + ERROR + FAILED) == CREATED + delta("a") + ERROR


def test_an_error_event_that_is_no_json() -> None:
    watcher, _ = watch(CREATED, b"event: error\ndata: broken\n\n")
    assert watcher.error == b"broken"
    watcher, _ = watch(CREATED, b"event: error\ndata: []\n\n")
    assert watcher.error is not None


@pytest.mark.parametrize(
    "fine",
    [
        event("response.output_item.done", item={"type": "mcp_call", "error": "no such tool"}),
        event("response.output_item.done", item={"type": "mcp_call", "error": None}),
        event("response.custom", response="x", error={}),
        b'data: {"error": null}\n\n',
        b'data: not json but "error" and "response"\n\n',
    ],
)
def test_what_only_looks_like_an_end_passes(fine: bytes) -> None:
    watcher, out = watch(CREATED, fine, COMPLETED)
    assert watcher.done
    assert out == CREATED + fine + COMPLETED


def test_what_comes_before_output_does_not_start_a_stream() -> None:
    watcher, out = watch(b": comment\n\n", CREATED, IN_PROGRESS, event("response.queued", response=response()))
    assert not watcher.started
    assert out
    assert watcher.alive, "but it is a sign of life"
    watcher, _ = watch(b'data: {"type":"response.created"}\n\n')
    assert not watcher.started
    watcher, _ = watch(CREATED, event("response.output_item.added", item={"type": "reasoning"}))
    assert watcher.started


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_passes_behind_the_end(split: Any) -> None:
    watcher, out = watch(*split(CREATED + delta("a") + COMPLETED + delta("b")))
    assert out == CREATED + delta("a") + COMPLETED
    watcher, out = watch(*split(CREATED + delta("a") + COMPLETED + b"data: [DONE]\n\n"))
    assert out == CREATED + delta("a") + COMPLETED
    assert not watcher.surplus
    assert watch(COMPLETED + delta("b"))[0].surplus


@pytest.mark.parametrize("split", SPLITS)
def test_the_end_mark_of_chat_is_no_end(split: Any) -> None:
    """SDKs stop reading there, so it must not pass before the error does."""
    watcher, out = watch(*split(CREATED + delta("a") + b"data: [DONE]\n\n"))
    assert out == CREATED + delta("a")
    assert (watcher.over, watcher.done, watcher.withheld) == (True, False, True)
    assert watcher.error is not None
    hiding = ResponsesWatcher(whole=True, hides=lambda data: False)
    assert hiding.feed(CREATED + delta("a") + b"data: [DONE]\n\n") == CREATED + delta("a")
    assert hiding.withheld


def test_a_secret_in_an_error_does_not_pass() -> None:
    watcher = ResponsesWatcher(whole=True, hides=lambda data: b"out of memory" in data)
    assert watcher.feed(CREATED + delta("a") + FAILED) == CREATED + delta("a")
    assert watcher.withheld


def test_an_end_whose_empty_line_is_missing() -> None:
    for cut, missing in ((1, b"\n"), (2, b"\n\n")):
        watcher, out = watch(CREATED, delta("a"), COMPLETED[:-cut])
        rest = watcher.end()
        assert rest is not None
        assert rest.endswith(missing)
        assert out + rest == CREATED + delta("a") + COMPLETED
        assert watcher.usage() == Usage(5, 7, 12)
        watcher, _ = watch(CREATED, FAILED[:-cut])
        assert watcher.end() is None
        assert watcher.error is not None
    for stream in (b"", CREATED, CREATED + delta("a"), CREATED + COMPLETED[:-9]):
        assert watch(stream)[0].end() is None


def test_a_last_event_that_is_too_large_is_still_the_end() -> None:
    big = event("response.completed", response={"output": ["x" * 3_000_000], "usage": USAGE, "metadata": {}})
    for size in (65_536, 1_000):
        watcher, out = watch(CREATED, delta("a"), *(big[at : at + size] for at in range(0, len(big), size)))
        assert out == CREATED + delta("a") + big
        assert watcher.done
        assert watcher.usage() == Usage(5, 7, 12)
    big = event("response.failed", response=response("failed", output=["x" * 3_000_000]))
    watcher, _ = watch(CREATED, *(big[at : at + 65_536] for at in range(0, len(big), 65_536)))
    assert watcher.error is not None
    assert watcher.usage() is None


def test_a_chunk_takes_no_more_work_than_of_chat() -> None:
    ours, chat = ResponsesWatcher(whole=True), StreamWatcher(whole=True)
    ours.feed(CREATED + delta("a"))
    chat.feed(chat_event(chat_chunk("a")))
    assert steps(lambda: ours.feed(delta("b"))) <= steps(lambda: chat.feed(chat_event(chat_chunk("b"))))


pieces = st.lists(st.sampled_from([delta("a"), delta('"response"'), delta("ä\u2028"), b": alive\n\n"]), max_size=5)


@given(pieces, st.sampled_from([COMPLETED, INCOMPLETE, FAILED, b"data: [DONE]\n\n", b""]), st.data())
def test_any_segments_are_the_same_stream(events: Iterable[bytes], last: bytes, data: st.DataObject) -> None:
    stream = CREATED + b"".join(events) + last + delta("behind") * bool(last)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    expected, out = watch(stream)
    watcher, others = watch(*(stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])))
    assert others == out
    for name in ("started", "done", "over", "error", "withheld"):
        assert getattr(watcher, name) == getattr(expected, name)
    assert watcher.usage() == expected.usage()


# --- whole answers and errors


@pytest.mark.parametrize("behind", [{}, {"user": None, "metadata": {"usage": "mine"}}, {"x": {"usage": {}}}])
def test_usage_of_a_whole_answer(behind: dict[str, Any]) -> None:
    tools = [{"type": "function", "parameters": {"properties": {"usage": {"type": "string"}}}}]
    for output in ("x", "x" * 50_000):
        body = json.dumps({**response("completed", output=[output], tools=tools), "usage": USAGE, **behind}).encode()
        assert responses_usage(body) == Usage(5, 7, 12)
    first = json.dumps({"usage": USAGE, "output": ["x" * 50_000]}).encode()
    assert responses_usage(first) == Usage(5, 7, 12)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"usage":null}', b'{"usage":{"input_tokens":"3"}}', b'{"usage":[]}', b"\xff", b'{"usage": ', b""]
)
def test_no_usage(body: bytes) -> None:
    assert responses_usage(body) is None
    assert responses_usage(body + b" " * 20_000) is None


def test_the_error_event_has_the_forms_that_clients_read() -> None:
    """Codex reads `response.failed`; OpenAI's SDKs raise for `error`."""
    error = UpstreamIncomplete("The upstream's stream ended before its end mark.")
    watcher, out = watch(CREATED, delta("a"), responses_error_event(error))
    assert out.endswith(responses_error_event(error))
    name, _, text = responses_error_event(error).strip().partition(b"\ndata: ")
    ResponseFailedEvent.model_validate_json(text, strict=True)
    data = json.loads(text)
    assert name == b"event: response.failed"
    assert data["response"]["error"] == {"code": "server_error", "message": error.message}
    assert data["error"]["message"] == error.message
    assert data["error"]["code"] == "upstream_incomplete"
    assert watcher.error is not None
    error.told = True
    assert responses_error_event(error) == b""


def test_codes_by_which_clients_decide_are_kept() -> None:
    error = UpstreamStatus("too long", status=400, code="context_length_exceeded")
    assert b'"error":{"code":"context_length_exceeded"' in responses_error_event(error)
    assert b'"error":{"code":"rate_limit_exceeded"' in responses_error_event(UpstreamStatus("slow", status=429))
