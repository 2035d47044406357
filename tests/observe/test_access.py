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

from gatewayd.errors import GatewayError, UnknownModel, UpstreamConnection, UpstreamStatus
from gatewayd.observe.access import fields, log
from gatewayd.observe.log import SOON, LineFormatter, LineHandler, LogFormat, set_up
from gatewayd.observe.record import Attempt, Record
from gatewayd.observe.redact import Redactor
from gatewayd.wire.openai import Usage


@pytest.fixture(autouse=True)
def _root_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    flags = logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags


def record_of(*failed: Attempt, answered: str | None = "chat", **changes: Any) -> Record:
    """A request that the deployment d1 of the group `answered` answered, after these attempts."""
    values: dict[str, Any] = {
        "request_id": "req_1",
        "revision": "abc",
        "key": "master_key",
        "peer": "127.0.0.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "group": "chat",
        "duration": 0.12345,
    }
    last = [] if answered is None else [Attempt("d1", answered, 0.0, status=200)]
    return Record(**(values | changes), attempts=[*failed, *last])


def failed(name: str, error: GatewayError, group: str = "chat") -> Attempt:
    attempt = Attempt(name, group, 0.0)
    attempt.fail(error, 1.0)
    return attempt


def test_the_access_record_leaves_out_what_is_empty() -> None:
    stream = io.StringIO()
    set_up("json", "info", Redactor(), stream=stream)
    log(record_of(answered="spare", ttft=0.0123, usage=Usage(0, 7)))
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
        "prompt_tokens": 0,
        "completion_tokens": 7,
        "key": "master_key",
        "peer": "127.0.0.1",
        "revision": "abc",
    }


def test_health_checks_are_for_the_debug_level() -> None:
    stream = io.StringIO()
    set_up("text", "info", Redactor(), stream=stream)
    log(record_of(kind="open"))
    assert stream.getvalue() == ""
    set_up("text", "debug", Redactor(), stream=stream)
    log(record_of(kind="open"))
    assert "DEBUG" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
@given(
    path=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20) | st.sampled_from(["/v1/models", "/100%/é"]),
    group=st.text(max_size=10) | st.sampled_from(["chat", "a b"]),
    key=st.text(max_size=10) | st.sampled_from(["50%s", "sk-0123456789"]),
    request_id=st.none() | st.sampled_from(["mine", 'a "b" c=d', "id-sk-0123456789", "%s"]),
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    ttft=st.none() | st.floats(0, 9),
    answered=st.sampled_from([None, "chat", "spare"]),
    revision=st.sampled_from(["", "abc"]),
    names=st.lists(st.text(max_size=10)),
    error=st.sampled_from([None, UnknownModel("x")]),
)
def test_a_prepared_line_is_what_the_formatter_makes(
    form: LogFormat,
    path: str,
    group: str,
    key: str,
    request_id: str | None,
    usage: Usage | None,
    ttft: float | None,
    answered: str | None,
    revision: str,
    names: list[str],
    error: GatewayError | None,
) -> None:
    """C-07, D-02: also with everything in it that a client may send; the second time it is prepared."""
    stream = io.StringIO()
    redactor = Redactor()
    redactor.know(["sk-0123456789"])
    set_up(form, "info", redactor, stream=stream)
    attempts = [failed(name, UpstreamStatus("x", status=500)) for name in names]
    record = record_of(*attempts, answered=answered, path=path, group=group, key=key, revision=revision)
    record.usage, record.ttft, record.error = usage, ttft, error
    if error is not None:
        record.outcome = "rejected"
    if request_id is not None:
        record.request_id, record.told = request_id, True
    expected = []
    for duration, peer in ((0.0123456, "127.0.0.1"), (12.0, "unix")):
        record.duration, record.peer = duration, peer
        log(record)
        slow = logging.LogRecord("gatewayd.access", logging.INFO, "", 0, "request", None, None)
        slow.fields = fields(record, form)
        expected.append(_timeless(LineFormatter(form, redactor).format(slow)))
    assert _timeless(stream.getvalue()).splitlines() == expected
    assert stream.getvalue().count("\n") == 2
    assert "sk-0123456789" not in stream.getvalue()


def _timeless(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", line)


def test_a_secret_that_a_client_put_into_its_url_is_replaced() -> None:
    stream, redactor = io.StringIO(), Redactor()
    redactor.know(["sk-very-secret"])
    set_up("text", "info", redactor, stream=stream)
    log(record_of(path="/v1/sk-very-secret"))
    log(record_of(request_id="sk-very-secret", told=True))
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
        log(record_of(request_id=f"req_{number}"))
    assert writes == []
    logging.getLogger("gatewayd.x").info("in between")
    log(record_of(request_id="req_last"))
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
        log(record_of())

    asyncio.run(short_life())
    logging.getLogger().handlers[0].flush()
    assert "req_1" in stream.getvalue()


def test_a_programs_own_handler_gets_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """U-E5: whose message is readable by itself: `logging.basicConfig` shows nothing else."""
    with caplog.at_level(logging.INFO, "gatewayd.access"):
        log(record_of())
    (record,) = caplog.records
    assert record.getMessage() == "200 POST /v1/chat/completions chat -> d1 123 ms"
    assert record.__dict__["fields"]["request_id"] == "req_1"


REFUSED = UpstreamConnection("No connection to the upstream: Connection refused.")
FAILED = (failed("west", REFUSED), failed("west", REFUSED), failed("east", UpstreamStatus("its words", status=503)))


def test_json_has_failed_tries_as_objects_and_text_as_one_value() -> None:
    """U-D1: and nothing is lost in either."""
    record = record_of(*FAILED)
    stream = io.StringIO()
    set_up("json", "info", Redactor(), stream=stream)
    log(record)
    assert json.loads(stream.getvalue())["failed"] == [
        {"deployment": "west", "code": "upstream_connection_error", "reason": "connection refused"},
        {"deployment": "west", "code": "upstream_connection_error", "reason": "connection refused"},
        {"deployment": "east", "code": "upstream_error", "reason": "answered 503", "status": 503},
    ]
    stream = io.StringIO()
    set_up("text", "info", Redactor(), stream=stream)
    log(record)
    failed = "west:upstream_connection_error,west:upstream_connection_error,east:upstream_error:503"
    assert f" failed={failed} " in stream.getvalue()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (record_of(), "200 POST /v1/chat/completions chat -> d1 123 ms"),
        (record_of(group="d1", answered="d1"), "200 POST /v1/chat/completions d1 123 ms"),
        (record_of(answered="spare"), "200 POST /v1/chat/completions chat -> spare -> d1 123 ms"),
        (record_of(duration=75.0), "200 POST /v1/chat/completions chat -> d1 75.0 s"),
        (
            record_of(answered=None, status=404, outcome="rejected", error=UnknownModel("x"), group=""),
            "404 POST /v1/chat/completions 123 ms rejected model_not_found",
        ),
        (
            record_of(*FAILED, answered=None, status=502, outcome="error", error=FAILED[-1].error),
            "502 POST /v1/chat/completions chat 123 ms (tried west x2: connection refused, east: answered 503)",
        ),
        (record_of(path="/v1/\x1b[2J\n"), "200 POST /v1/\\x1b[2J\\n chat -> d1 123 ms"),
    ],
)
def test_the_line_on_a_terminal_is_short(record: Record, expected: str) -> None:
    """U-D1: time, status, call, group and deployment, duration, tries with reasons."""
    stream = io.StringIO()
    handler = LineHandler(stream, LineFormatter("terminal", Redactor()))
    logger = logging.getLogger("gatewayd.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        log(record)
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
