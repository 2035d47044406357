"""The access record: one line for each request, whoever reads the log and whatever the client sent."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.observe.access import AccessRecord, FailedTry, access
from gatewayd.observe.log import SOON, LineFormatter, LineHandler, LogFormat, set_up
from gatewayd.observe.redact import Redactor


@pytest.fixture(autouse=True)
def _root_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    flags = logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags


def record_of(**changes: Any) -> AccessRecord:
    values: dict[str, Any] = {
        "request_id": "req_1",
        "revision": "abc",
        "key": "master_key",
        "peer": "127.0.0.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "code": "",
        "group": "chat",
        "answered_by": "chat",
        "deployment": "d1",
        "attempts": 1,
        "fallbacks": 0,
        "duration": 0.12345,
        "ttft": None,
        "prompt_tokens": None,
        "completion_tokens": 0,
    }
    return AccessRecord(**(values | changes))


def test_the_access_record_leaves_out_what_is_empty() -> None:
    stream = io.StringIO()
    set_up("json", "info", Redactor(), stream=stream)
    access(record_of(code="", ttft=0.0123, fallbacks=1, answered_by="spare"))
    line = json.loads(stream.getvalue())
    for name in ("time", "level", "logger", "message"):
        del line[name]
    assert line == {
        "request_id": "req_1",
        "status": 200,
        "outcome": "ok",
        "method": "POST",
        "path": "/v1/chat/completions",
        "group": "chat",
        "deployment": "d1",
        "answered_by": "spare",
        "attempts": 1,
        "fallbacks": 1,
        "duration_ms": 123.45,
        "ttft_ms": 12.3,
        "completion_tokens": 0,
        "key": "master_key",
        "peer": "127.0.0.1",
        "revision": "abc",
    }


def test_quiet_records_are_for_the_debug_level() -> None:
    stream = io.StringIO()
    set_up("text", "info", Redactor(), stream=stream)
    access(record_of(), quiet=True)
    assert stream.getvalue() == ""
    set_up("text", "debug", Redactor(), stream=stream)
    access(record_of(), quiet=True)
    assert "DEBUG" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
@given(
    path=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20) | st.just("/v1/models"),
    group=st.text(max_size=10) | st.just("chat"),
    key=st.text(max_size=10),
    code=st.sampled_from(["", "model_not_found"]),
    counts=st.tuples(*[st.none() | st.integers(0, 9)] * 2),
    ttft=st.none() | st.floats(0, 9),
    fallbacks=st.integers(0, 2),
    revision=st.sampled_from(["", "abc"]),
    failed=st.lists(
        st.builds(FailedTry, st.text(max_size=10), st.just("code"), st.just("why"), st.none() | st.just(5))
    ),
)
def test_the_quick_line_is_the_slow_line(
    form: LogFormat,
    path: str,
    group: str,
    key: str,
    code: str,
    counts: tuple[int | None, int | None],
    ttft: float | None,
    fallbacks: int,
    revision: str,
    failed: list[FailedTry],
) -> None:
    """C-07: also with everything in it that a client may send."""
    stream = io.StringIO()
    redactor = Redactor()
    set_up(form, "info", redactor, stream=stream)
    record = record_of(
        path=path,
        group=group,
        key=key,
        code=code,
        prompt_tokens=counts[0],
        completion_tokens=counts[1],
        ttft=ttft,
        fallbacks=fallbacks,
        revision=revision,
        failed=tuple(failed),
    )
    access(record)
    line = stream.getvalue()
    slow = logging.LogRecord("gatewayd.access", logging.INFO, "", 0, "request", None, None)
    slow.fields = record.fields(form)
    assert _timeless(line) == _timeless(LineFormatter(form, redactor).format(slow) + "\n")
    assert line.count("\n") == 1


def _timeless(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", line)


def test_a_secret_that_a_client_put_into_its_url_is_replaced() -> None:
    stream, redactor = io.StringIO(), Redactor()
    redactor.know(["sk-very-secret"])
    set_up("text", "info", redactor, stream=stream)
    access(record_of(path="/v1/sk-very-secret"))
    access(record_of(request_id="sk-very-secret"))
    assert "very" not in stream.getvalue()
    assert stream.getvalue().count("***") == 2


async def test_lines_of_one_moment_share_a_write_and_keep_their_order() -> None:
    writes: list[str] = []

    class Counting(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    set_up("text", "info", Redactor(), stream=Counting())
    for number in range(5):
        access(record_of(request_id=f"req_{number}"))
    assert writes == []
    logging.getLogger("gatewayd.x").info("in between")
    access(record_of(request_id="req_last"))
    async with asyncio.timeout(100 * SOON):
        while len(writes) < 3:  # noqa: ASYNC110  # the handler tells nobody
            await asyncio.sleep(SOON)
    assert [found.split("=")[-1] for text in writes for found in re.findall(r"request_id=\w+|in between", text)] == [
        *(f"req_{number}" for number in range(5)),
        "in between",
        "req_last",
    ]


def test_lines_that_wait_are_written_at_the_end() -> None:
    stream = io.StringIO()

    async def short_life() -> None:
        set_up("text", "info", Redactor(), stream=stream)
        access(record_of())

    asyncio.run(short_life())
    logging.getLogger().handlers[0].flush()
    assert "req_1" in stream.getvalue()


def test_a_programs_own_handler_gets_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """U-E5: whose message is readable by itself: `logging.basicConfig` shows nothing else."""
    with caplog.at_level(logging.INFO, "gatewayd.access"):
        access(record_of())
    (record,) = caplog.records
    assert record.getMessage() == "200 POST /v1/chat/completions chat -> d1 123 ms"
    assert record.__dict__["fields"]["request_id"] == "req_1"


FAILED = (
    FailedTry("west", "upstream_connection_error", "connection refused"),
    FailedTry("west", "upstream_connection_error", "connection refused"),
    FailedTry("east", "upstream_error", "answered 503", 503),
)


def test_json_has_failed_tries_as_objects_and_text_as_one_value() -> None:
    """U-D1: and nothing is lost in either."""
    record = record_of(failed=FAILED)
    stream = io.StringIO()
    set_up("json", "info", Redactor(), stream=stream)
    access(record)
    assert json.loads(stream.getvalue())["failed"] == [
        {"deployment": "west", "code": "upstream_connection_error", "reason": "connection refused"},
        {"deployment": "west", "code": "upstream_connection_error", "reason": "connection refused"},
        {"deployment": "east", "code": "upstream_error", "reason": "answered 503", "status": 503},
    ]
    stream = io.StringIO()
    set_up("text", "info", Redactor(), stream=stream)
    access(record)
    failed = "west:upstream_connection_error,west:upstream_connection_error,east:upstream_error:503"
    assert f" failed={failed} " in stream.getvalue()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "200 POST /v1/chat/completions chat -> d1 123 ms"),
        ({"group": "d1", "answered_by": "d1"}, "200 POST /v1/chat/completions d1 123 ms"),
        ({"answered_by": "spare"}, "200 POST /v1/chat/completions chat -> spare -> d1 123 ms"),
        ({"duration": 75.0}, "200 POST /v1/chat/completions chat -> d1 75.0 s"),
        (
            {"status": 404, "outcome": "rejected", "code": "model_not_found", "group": "", "deployment": ""}
            | {"answered_by": ""},
            "404 POST /v1/chat/completions 123 ms rejected model_not_found",
        ),
        (
            {"status": 502, "outcome": "error", "code": "upstream_error", "failed": FAILED, "deployment": ""}
            | {"answered_by": ""},
            "502 POST /v1/chat/completions chat 123 ms (tried west x2: connection refused, east: answered 503)",
        ),
        ({"path": "/v1/\x1b[2J\n"}, "200 POST /v1/\\x1b[2J\\n chat -> d1 123 ms"),
    ],
)
def test_the_line_on_a_terminal_is_short(changes: dict[str, Any], expected: str) -> None:
    """U-D1: time, status, call, group and deployment, duration, tries with reasons."""
    stream = io.StringIO()
    handler = LineHandler(stream, LineFormatter("terminal", Redactor()))
    logger = logging.getLogger("gatewayd.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        access(record_of(**changes))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {re.escape(expected)}\n", stream.getvalue())


@pytest.mark.parametrize(("status", "colour"), [(200, 32), (404, 33), (499, 2), (502, 31)])
def test_a_terminal_shows_the_status_in_a_colour(status: int, colour: int) -> None:
    """U-D1"""
    record = logging.LogRecord("gatewayd.access", logging.INFO, "", 0, f"{status} GET /x", None, None)
    shown = LineFormatter("terminal", Redactor(), colours=True).format(record)
    assert shown.endswith(f" \x1b[{colour}m{status}\x1b[0m GET /x")
