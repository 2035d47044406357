"""Heads and errors as bytes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.engine.render import failure, head, last_words, new_request_id, request_id, success_headers
from gatewayd.errors import (
    CODES,
    GatewayError,
    InternalError,
    InvalidApiKey,
    MethodNotAllowed,
    NoDeploymentAvailable,
    ServerBusy,
    UpstreamConnection,
    UpstreamStatus,
)
from gatewayd.observe.record import Attempt, Record

_LINE = re.compile(rb"[\x20-\x7e]*")


@given(st.lists(st.tuples(st.sampled_from(["x-a", "content-type"]), st.text(st.characters(), max_size=400))))
def test_no_value_can_break_out_of_its_line(headers: list[tuple[str, str]]) -> None:
    """D-11, F9"""
    text = head(200, headers, "content-length: 0\r\n")
    assert text.endswith(b"\r\n\r\n")
    lines = text.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert len(lines) == 1 + len(headers) + 2
    assert all(_LINE.fullmatch(line) and len(line) < 300 for line in lines)


@pytest.mark.parametrize(
    ("status", "line"), [(200, b"HTTP/1.1 200 OK"), (529, b"HTTP/1.1 529 "), (404, b"HTTP/1.1 404 Not Found")]
)
def test_the_status_line(status: int, line: bytes) -> None:
    assert head(status, [], "").startswith(line + b"\r\n")


@given(st.text(st.characters()))
def test_a_request_id_is_kept_if_it_is_sane_and_is_always_sane(told: str) -> None:
    kept = request_id(told)
    assert re.fullmatch(r"[!-~]{1,128}", kept)
    if re.fullmatch(r"[!-~]{1,128}", told):
        assert kept == told


def test_new_request_ids_differ() -> None:
    assert len({new_request_id() for _ in range(1000)}) == 1000
    assert request_id(None).startswith("req_")


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (UpstreamConnection("x"), {"x-should-retry": "false"}),
        (InternalError("x"), {"x-should-retry": "false"}),
        (NoDeploymentAvailable("x", retry_after=3.2), {"retry-after": "4"}),
        (ServerBusy("x", retry_after=0), {"retry-after": "1"}),
        (InvalidApiKey("x"), {"www-authenticate": "Bearer"}),
        (MethodNotAllowed("x", allow=["GET", "HEAD"]), {"allow": "GET, HEAD"}),
        (GatewayError("x"), {}),
    ],
)
def test_headers_of_errors(error: GatewayError, headers: dict[str, str]) -> None:
    status, sent, body = failure(error, Record("id-1"))
    assert dict(sent) == {"content-type": "application/json", "x-request-id": "id-1", **headers}
    assert status == error.status
    shown = json.loads(body)["error"]
    assert shown == {"message": "x", "type": error.type, "param": None, "code": error.code}
    assert error.code in CODES


def test_a_long_list_of_attempts_is_cut_short() -> None:
    errors = [UpstreamConnection("x") for _ in range(13)]
    record = Record("id", attempts=[Attempt(f"d{i}", "chat", 0.0, error=error) for i, error in enumerate(errors)])
    _, headers, body = failure(errors[-1], record)
    assert dict(headers)["x-gatewayd-attempts"] == "13"
    assert json.loads(body)["error"]["message"].endswith("d9: x, and 3 more)")


def test_tries_with_one_reason_are_counted() -> None:
    """U-D1: names and reasons, but no words of an upstream that answered another try."""
    refused = UpstreamConnection("No connection to the upstream: Connection refused.")
    other = UpstreamStatus("its own words", status=503)
    tried = [("west", refused), ("east", other), ("west", refused), ("west", refused)]
    record = Record("id", attempts=[Attempt(name, "chat", 0.0, error=error) for name, error in tried])
    message = json.loads(failure(refused, record)[2])["error"]["message"]
    assert message.endswith("Connection refused. (tried west x3: connection refused, east: answered 503)")


def test_an_upstreams_own_body_is_not_touched() -> None:
    error = UpstreamStatus("x", status=400, body=b"{}")
    assert failure(error, Record("id", attempts=[Attempt("d1", "chat", 0.0, error=error)]))[2] == b"{}"


def test_a_relayed_error_names_the_deployments_that_failed() -> None:
    """The body is the upstream's own, so the headers say where it comes from. Reported as BerriAI/litellm#17083."""
    own = UpstreamStatus("x", status=404, body=b"{}")
    tried = [("west", UpstreamConnection("x")), ("east", own)]
    record = Record("id", group="chat", attempts=[Attempt(name, "chat", 0.0, error=error) for name, error in tried])
    _, headers, body = failure(own, record)
    assert body == b"{}"
    assert {
        "x-gatewayd-tried": "west: x, east: answered 404",
        "x-litellm-model-id": "east",
        "x-litellm-model-group": "chat",
    }.items() <= dict(headers).items()


def test_last_words_close_the_connection() -> None:
    text, _, body = last_words(ServerBusy("full")).partition(b"\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close" in text
    assert b"content-length: %d\r\n" % len(body) in text


def test_success_headers_name_the_fallback_only_if_there_was_one() -> None:
    record = Record("id", group="chat", attempts=[Attempt("d1", "chat", 0.0, status=200)])
    assert "x-gatewayd-fallback" not in dict(success_headers(record, 0.001, 0.2))
    down = [Attempt(name, "chat", 0.0, error=UpstreamConnection("x")) for name in ("d1", "d2")]
    record.attempts = [*down, Attempt("d3", "spare", 0.0, status=200)]
    headers = dict(success_headers(record, 0.00123, 0.2))
    assert headers["x-gatewayd-fallback"] == "spare"
    assert headers["x-litellm-attempted-retries"] == "1"
    assert headers["x-gatewayd-overhead-ms"] == "1.23"
    assert headers["x-litellm-response-duration-ms"] == "200.00"
