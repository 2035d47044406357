"""Token counts."""

from __future__ import annotations

import json

import pytest

from gatewayd.wire.openai import Usage
from gatewayd.wire.usage import read_usage, usage_of

COUNTS = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 1}}


def test_usage_near_the_end() -> None:
    body = json.dumps({"data": ["x" * 10_000], "usage": COUNTS, "system_fingerprint": "fp"}).encode()
    assert usage_of(body) == Usage(3, 4, 7)
    assert usage_of(body + b"\n") == Usage(3, 4, 7)


def test_embeddings_tell_no_completion() -> None:
    assert usage_of(b'{"usage":{"prompt_tokens":3,"total_tokens":3}}') == Usage(3, 0, 3)
    assert usage_of(b'{"usage":{"prompt_tokens":3,"completion_tokens":null}}') == Usage(3, 0, 3)


def test_newer_endpoints_call_them_input_and_output() -> None:
    assert usage_of(b'{"usage":{"type":"tokens","input_tokens":3,"output_tokens":4,"total_tokens":7}}') == Usage(
        3, 4, 7
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"usage":null}',
        b'{"usage":{"prompt_tokens":"3"}}',
        b'{"usage":[]}',
        json.dumps({"choices": [{"usage": COUNTS}]}).encode(),
        json.dumps({"usage": COUNTS, "data": "x" * 10_000}).encode(),
        b'"usage"',
        b'{"usage":{"prompt_tokens":3',
    ],
)
def test_no_usage(body: bytes) -> None:
    assert usage_of(body) is None


def test_a_document() -> None:
    assert read_usage(b' {"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}') == Usage(1, 2, 3)
    assert read_usage(b"\xff") is None
