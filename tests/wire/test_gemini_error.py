"""Errors of Google's APIs: what they say, and what callers of the Gemini API get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.errors import GatewayError, InvalidRequest, NoDeploymentAvailable, ServerBusy, UnknownModel
from gatewayd.upstream.refusal import refused
from gatewayd.wire.events import StreamError
from gatewayd.wire.gemini import gemini_error_body, read_error, retry_delay
from gatewayd.wire.gemini_error import write_error

QUOTA: dict[str, Any] = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "27.5s"},
        ],
    }
}
BAD_KEY: dict[str, Any] = {
    "error": {
        "code": 400,
        "message": "API key not valid.",
        "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}


def test_quota() -> None:
    body = json.dumps(QUOTA).encode()
    assert read_error(body) == StreamError(
        message="You exceeded your current quota.", type="RESOURCE_EXHAUSTED", status=429
    )
    assert retry_delay(body) == 27.5
    assert refused(429, {}, body).retry_after == 27.5  # what is read of an answer with this status says the same


def test_the_reason_is_the_code() -> None:
    assert read_error(json.dumps(BAD_KEY).encode()) == StreamError(
        message="API key not valid.", type="INVALID_ARGUMENT", code="API_KEY_INVALID", status=400
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"status": "UNAVAILABLE"}}, StreamError(message="UNAVAILABLE", type="UNAVAILABLE", status=503)),
        ([{"error": {"message": "m"}}], StreamError(message="m")),
        ({"error": {"code": "x", "message": 3, "status": 4, "details": 5}}, StreamError(message="")),
        ({"error": "text"}, None),
        ({"candidates": []}, None),
        ([], None),
    ],
)
def test_errors_of_other_shapes(body: Any, expected: StreamError | None) -> None:
    assert read_error(json.dumps(body).encode()) == expected
    assert retry_delay(json.dumps(body).encode()) is None


@pytest.mark.parametrize("delay", [3, "soon", "-1s", "1e9s", "infs", "99999999999s"])
def test_delays_that_are_none(delay: Any) -> None:
    body = json.dumps({"error": {"details": [{"retryDelay": delay}, 3]}}).encode()
    assert retry_delay(body) is None
    assert read_error(b"nothing") is None


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidRequest("m"), 400, "INVALID_ARGUMENT"),
        (UnknownModel("m"), 404, "NOT_FOUND"),
        (NoDeploymentAvailable("m", retry_after=2.1), 429, "RESOURCE_EXHAUSTED"),
        (ServerBusy("m"), 503, "UNAVAILABLE"),
    ],
)
def test_for_callers(error: GatewayError, code: int, status: str) -> None:
    body = gemini_error_body(error, "said")
    found = json.loads(body)["error"]
    assert (found["code"], found["status"], found["message"]) == (code, status, "said")
    assert found["details"][0]["reason"] == error.code.upper()
    assert retry_delay(body) == (3 if error.retry_after else None)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (StreamError(message="m", status=529), 529, "INTERNAL"),
        (StreamError(message="m", status=418), 418, "INVALID_ARGUMENT"),
        (StreamError(message="m", type="RESOURCE_EXHAUSTED"), 429, "RESOURCE_EXHAUSTED"),
        (StreamError(message="m", type="overloaded_error"), 500, "INTERNAL"),
    ],
)
def test_of_streams(error: StreamError, code: int, status: str) -> None:
    assert json.loads(write_error(error)) == {"error": {"code": code, "message": "m", "status": status}}
