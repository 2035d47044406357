"""Error answers: what they mean for the plan, what of them reaches the client."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.errors import CODES, FallbackKind, UpstreamAuth, UpstreamRedirect, UpstreamStatus, Verdict
from gatewayd.routing.health import MAX_RETRY_AFTER
from gatewayd.secret import Secret
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.refusal import failed_body, failed_event, refused, retry_after

KEY = b"sk-secret-canary"
SECRETS = Secrets([Secret(KEY.decode())])


def openai(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **more}}).encode()


def status_error(status: int, body: bytes, fields: dict[bytes, bytes] | None = None) -> UpstreamStatus:
    error = refused(status, fields or {}, body, SECRETS)
    assert isinstance(error, UpstreamStatus)
    assert error.code in CODES
    return error


@pytest.mark.parametrize(
    ("status", "verdict", "blamed"),
    [
        (400, Verdict.FATAL, False),
        (404, Verdict.ELSEWHERE, True),
        (408, Verdict.RETRY, True),
        (409, Verdict.RETRY, False),
        (413, Verdict.FATAL, False),
        (418, Verdict.FATAL, False),
        (422, Verdict.FATAL, False),
        (429, Verdict.RETRY, True),
        (500, Verdict.RETRY, True),
        (503, Verdict.RETRY, True),
        (529, Verdict.RETRY, True),
    ],
)
def test_an_openai_error_passes_as_it_is(status: int, verdict: Verdict, blamed: bool) -> None:
    """A-28, A-29"""
    body = openai("something", code="odd_code")
    error = status_error(status, body)
    assert (error.status, error.verdict, error.blames_deployment) == (status, verdict, blamed)
    assert error.body == body
    assert error.message == "something"
    assert error.code == ("upstream_rate_limited" if status == 429 else "upstream_error")
    assert error.fallback is FallbackKind.GENERAL


@pytest.mark.parametrize("status", [401, 403])
def test_our_own_key_is_not_the_clients_business(status: int) -> None:
    error = refused(status, {}, openai(f"Incorrect API key provided: {KEY.decode()}"), SECRETS)
    assert isinstance(error, UpstreamAuth)
    assert error.status == 502
    assert error.body is None
    assert "canary" not in error.message


def test_a_key_that_google_does_not_know_is_not_the_clients_business() -> None:
    """It is refused with 400, as a wrong request would be."""
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [reason]}
    for tree in ({"error": error}, [{"error": error}]):  # of the API itself, and of the one that is like OpenAI's
        assert isinstance(refused(400, {}, json.dumps(tree, indent=2).encode()), UpstreamAuth)
    asked = {**error, "message": 'No such word: "API_KEY_INVALID".', "details": []}
    assert isinstance(refused(400, {}, json.dumps({"error": asked}).encode()), UpstreamStatus)


@pytest.mark.parametrize(
    ("told", "fields", "expected"),
    [
        ("27.5s", {}, 27.5),
        ("50000s", {}, MAX_RETRY_AFTER),
        ("27s", {b"retry-after": b"3"}, 3.0),
        ("-1s", {}, None),
        ("soon", {}, None),
        ("nans", {}, None),
        ("ü", {}, None),
        (27, {}, None),
    ],
)
def test_how_long_google_says_to_wait(told: Any, fields: dict[bytes, bytes], expected: float | None) -> None:
    """A-26: it stands in the body, and there is no header."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": told}
    error = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": ["x", {}, info]}
    assert status_error(429, json.dumps({"error": error}).encode(), fields).retry_after == expected


def test_an_error_in_a_list_keeps_its_words() -> None:
    """Google's API that is like OpenAI's sends errors so; clients could not read that."""
    error = status_error(
        429, b'[{"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}}]'
    )
    assert (error.status, error.message, error.body) == (429, "Quota exceeded.", None)


def test_an_account_without_credit_is_not_the_clients_fault() -> None:
    """Anthropic says it with 400; another provider may have the answer."""
    words = (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to purchase credits."
    )
    body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": words}}).encode()
    error = status_error(400, body)
    assert (error.status, error.message) == (402, words)
    assert (error.verdict, error.blames_deployment) == (Verdict.ELSEWHERE, True)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects(status: int) -> None:
    """A-34"""
    error = refused(status, {b"location": b"https://elsewhere"}, b"")
    assert isinstance(error, UpstreamRedirect)
    assert "elsewhere" not in error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"detail": "Not\\n found"}', "The upstream answered 404: Not found"),
        (b'{"message": "no such model"}', "The upstream answered 404: no such model"),
        (b'{"error": "no such model"}', "The upstream answered 404: no such model"),
        (b'{"object": "error", "message": "old vLLM"}', "The upstream answered 404: old vLLM"),
        (b'{"detail": [{"loc": 1}]}', "The upstream answered 404."),
        (
            b'{"detail": [{"loc": ["body", "n", 0], "msg": "too large", "input": "a prompt"}, 5, {"msg": "no"}]}',
            "The upstream answered 404: body.n.0: too large; no",
        ),
        (
            b'{"object": "error", "message": {"detail": [{"loc": ["body", "foo"], "msg": "not permitted"}]}}',
            "The upstream answered 404: body.foo: not permitted",
        ),
        (b'{"message": {"detail": 5}}', "The upstream answered 404."),
        (b"<html>secret page</html>", "The upstream answered 404."),
        (b"[]", "The upstream answered 404."),
        (b"", "The upstream answered 404."),
        (b"\xff", "The upstream answered 404."),
        (b'{"error": {"message": 5}}', "The upstream answered 404."),
        (b'{"detail": "' + b"x" * 2000 + b'"}', "The upstream answered 404: " + "x" * 500),
    ],
)
def test_other_shapes_are_wrapped(body: bytes, message: str) -> None:
    """A-38: text of a page is not repeated, words in JSON are."""
    error = status_error(404, body)
    assert error.body is None
    assert error.message == message


def test_a_secret_does_not_pass() -> None:
    """D-03, U-F8: neither in a body that has the right shape nor in words."""
    key = KEY.decode()
    escaped = "".join(f"\\u{ord(char):04x}" for char in key)
    for body in (
        openai(f"bad request with {key}"),
        json.dumps({"detail": f"url?key={key}"}).encode(),
        openai("X").replace(b"X", escaped.encode()),
        openai(json.dumps({"headers": "X"})).replace(b"X", escaped.replace("\\", "\\\\").encode()),
        *(openai(base64.b64encode(f"{user}{key}{user}".encode()).decode()) for user in ("", "a", "user:")),
    ):
        error = status_error(400, body)
        assert error.body is None
        assert error.message == "The upstream answered 400."


@pytest.mark.parametrize(
    "body",
    [
        openai("x", code="context_length_exceeded"),
        openai("the request exceeds the available context size, try increasing it", type="exceed_context_size_error"),
        openai("This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."),
        openai("Current length is 9000 while limit is 8192"),
        openai("Input is longer than the maximum model length of 4096."),
        b'{"detail": "This model\'s maximum context length is 10 tokens"}',
        b'{"object": "error", "message": "maximum context length", "code": 400}',
    ],
)
@pytest.mark.parametrize("status", [400, 413, 500])
def test_prompts_that_are_too_long(body: bytes, status: int) -> None:
    error = status_error(status, body)
    assert error.fallback is FallbackKind.CONTEXT_WINDOW
    assert error.verdict is Verdict.NEXT_GROUP
    assert not error.blames_deployment
    assert error.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body",
    [
        openai("x", code="content_policy_violation"),
        openai("x", code="content_filter"),
        openai("x", code="odd", innererror={"code": "ResponsibleAIPolicyViolation"}),
        openai("The response was filtered due to the prompt triggering Azure OpenAI's content management policy."),
        openai("Your request was rejected as a result of our safety system."),
    ],
)
def test_prompts_that_are_not_allowed(body: bytes) -> None:
    error = status_error(400, body)
    assert error.fallback is FallbackKind.CONTENT_POLICY
    assert error.verdict is Verdict.NEXT_GROUP
    assert error.code == "content_policy_violation"


def test_words_mean_nothing_with_other_statuses() -> None:
    assert status_error(429, openai("maximum context length")).fallback is FallbackKind.GENERAL
    assert status_error(404, openai("content_policy_violation")).fallback is FallbackKind.GENERAL


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b"0.5"}, 0.5),
        ({b"retry-after": b"0"}, 0.0),
        ({b"retry-after-ms": b"1500", b"retry-after": b"9"}, 1.5),
        ({b"retry-after-ms": b"x", b"retry-after": b"9"}, 9.0),
        ({b"retry-after": b"1e9"}, MAX_RETRY_AFTER),
        ({b"retry-after": b"9" * 400}, None),
        ({b"retry-after": b"-5"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b""}, None),
        ({b"retry-after": b"Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({b"retry-after": b"Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER),
        ({b"retry-after": b"Fri, 99 Dec 2026 23:59:59 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after(fields: dict[bytes, bytes], seconds: float | None) -> None:
    """A-26"""
    assert retry_after(fields) == seconds
    assert status_error(429, openai("slow"), fields).retry_after == seconds


def test_retry_after_as_a_date() -> None:
    """A-26"""
    for zone in (UTC, None):
        date = (datetime.now(UTC) + timedelta(seconds=30)).replace(tzinfo=zone)
        seconds = retry_after({b"retry-after": format_datetime(date).encode()})
        assert seconds is not None
        assert 20 < seconds <= 30


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_no_retry_after_is_too_odd(value: bytes) -> None:
    """A-26"""
    seconds = retry_after({b"retry-after": value})
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "object", "innererror", "status"]), inner
        )
    ),
    max_leaves=8,
)


@given(json_values | st.binary(max_size=30), st.sampled_from([400, 404, 422, 429, 500, 599]))
@settings(max_examples=200)
def test_no_error_body_is_too_odd(value: Any, status: int) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    error = status_error(status, body)
    assert error.status == status
    failed_event(body, told=True)
    failed_body(body)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"id":"c","choices":[],"usage":{}}', 502, "answer holds no choices"),
        (b'{"choices": [ ]}', 502, "answer holds no choices"),
        (b'{"choices":null,"message":"m"}', 502, "answer holds no choices"),
        (b'{"code":1001,"msg":"the model is busy"}', 502, "answered 200 with no result: the model is busy"),
        (b'{"code":429,"message":"slow down"}', 429, "answered 200 with no result: slow down"),
        (b'{"detail":"Not Found"}', 502, "answered 200 with no result: Not Found"),
    ],
)
def test_a_200_with_no_result(body: bytes, status: int, told: str) -> None:
    """Others relay it as a success and try nobody else: ENTERPILOT/GoModel#947, HKUDS/nanobot#4287,
    diegosouzapw/OmniRoute#3424, decolua/9router#3242."""
    error = failed_body(body, whole=True)
    assert error is not None
    assert (error.status, error.detail) == (status, told)
    assert error.verdict is Verdict.RETRY
    assert failed_body(body) is None


@pytest.mark.parametrize(
    "body",
    [b'{"choices":[{}],"message":"m"}', b'{"data":[],"message":"m"}', b'{"n":1}', b"{}", b'{"choices":[{}],"msg":"m"}'],
)
def test_a_200_with_a_result(body: bytes) -> None:
    assert failed_body(body, whole=True) is None


def test_errors_that_came_with_a_200() -> None:
    """A-08"""
    assert failed_body(b'{"choices": []}') is None
    assert failed_body(b'{"error": null}') is None
    assert failed_body(b"not json") is None
    error = failed_body(openai("overloaded", code=529))
    assert isinstance(error, UpstreamStatus)
    assert (error.status, error.body) == (529, openai("overloaded", code=529))
    for detail, status in (
        ({"code": "429"}, 429),
        ({"type": "insufficient_quota"}, 429),
        ({"type": "invalid_request_error"}, 400),
        ({"code": 200}, 502),
        ({"code": 99999}, 502),
        ({"code": True}, 502),
        ({"status": 503}, 503),
        ({}, 502),
    ):
        assert failed_event(openai("x", **detail), told=False).status == status


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "boom"}', "The upstream answered 200 with an error: boom"),
        (b'{"error": {"code": 503}}', "The upstream answered 200 with an error."),
        (b'\n {"id": "x", "object": "error", "message": "boom"}', "The upstream answered 200 with an error: boom"),
        (b'{"id": "%b", "error": {"message": "boom"}}' % (b"x" * 300_000), "boom"),
        (b'{"error": {"message": "%b"}}' % (b"x" * 300_000), "The upstream answered 200 with an error."),
    ],
    ids=["a text", "no words", "its object", "a large body", "a large error"],
)
def test_an_error_that_came_with_a_200_is_told_as_such(body: bytes, message: str) -> None:
    """U-F14, U-B5: wherever in the body it is."""
    error = failed_body(body)
    assert error is not None
    assert error.message == message


@pytest.mark.parametrize(
    "body",
    [b'{"error": null}', b'{"error": { } }', b'{"a": {"error": "x"}}', b'{"a": "\\"error\\": 1"}', b'{"object": "x"}'],
)
def test_no_error(body: bytes) -> None:
    """U-B5"""
    assert failed_body(body) is None


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b'{"error": {"message": "x"}}', True),
        (b'{"error": "x"}', True),
        (b'{"object": "error", "message": "x"}', False),
        (b'{"message": "x"}', False),
        (b"x", False),
    ],
)
def test_a_client_knows_of_an_error_event_if_its_sdk_does(data: bytes, known: bool) -> None:
    assert failed_event(data, told=True).told is known
    assert not failed_event(data, told=False).told
