"""`mock_response` in all its forms."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatewayd.config.schema.mock import MockResponse, normalise


def script(response: object, **others: Any) -> MockResponse:
    return MockResponse.model_validate(normalise(response, **others))


def test_a_text() -> None:
    assert script("Hello").text == "Hello"
    assert script(None).text == "This is a mock request"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("litellm.RateLimitError", 429, None),
        ("litellm.ContextWindowExceededError", 400, "context_length_exceeded"),
        ("litellm.InternalServerError", 500, None),
        ("Exception: content_filter_policy: no", 400, "content_policy_violation"),
        ("Exception: mock_streaming_error", 529, None),
    ],
)
def test_litellms_error_names(text: str, status: int, code: str | None) -> None:
    fail = script(text).fail
    assert fail is not None
    assert (fail.status, fail.code, fail.times) == (status, code, None)


def test_a_vector() -> None:
    made = script([0.5, 1])
    assert (made.embedding, made.dimensions) == ((0.5, 1.0), 2)


def test_litellms_other_mock_params() -> None:
    assert script("x", delay=0.5).delay == 0.5
    assert script("x", timeout=True).hang_after == 0
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}, {"name": "g"}]
    assert [(call.name, call.arguments) for call in script("x", tool_calls=calls).tool_calls] == [
        ("f", '{"a": 1}'),
        ("g", "{}"),
    ]


def test_the_mapping_wins_over_litellms_params() -> None:
    assert script({"delay": 1}, delay=0.5).delay == 1.0


def test_arguments_may_be_a_mapping() -> None:
    made = script({"tool_calls": [{"name": "f", "arguments": {"ä": [1]}}]})
    assert made.tool_calls[0].arguments == '{"ä": [1]}'


@pytest.mark.parametrize(
    "response",
    [
        True, 5, {"text": 5}, {"fail": {"status": 200}}, {"fail": 500}, {"chunks": 0}, {"delay": -1},
        {"dimensions": 0}, {"embedding": ["a"]}, {"tool_calls": [{}]}, {"cut_after": -1}, {"delay": float("inf")},
    ],
)  # fmt: skip
def test_refused(response: object) -> None:
    with pytest.raises(ValidationError):
        script(response)


def test_it_survives_the_way_through_a_snapshot() -> None:
    made = script({"text": "x", "fail": {"status": 503, "times": 2}, "tool_calls": [{"name": "f"}], "embedding": [1]})
    assert MockResponse.model_validate(made.model_dump(exclude_unset=True)) == made
