"""Errors of Bedrock's Converse API."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest

from gatewayd.wire.converse import read_error
from gatewayd.wire.events import StreamError


def error(name: str, message: str, status: int | None) -> StreamError:
    return StreamError(message=message, type=name, code=name, status=status)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ({"message": "m"}, "ThrottlingException", error("ThrottlingException", "m", 429)),
        ({"message": "m"}, "ValidationException:http://internal.amazon.com/x", error("ValidationException", "m", 400)),
        ({"Message": "m", "__type": "aws#ExpiredTokenException"}, "", error("ExpiredTokenException", "m", 403)),
        ({}, "modelTimeoutException", error("ModelTimeoutException", "ModelTimeoutException", 504)),
        ({"message": "m"}, "SomethingNewException", error("SomethingNewException", "m", None)),
        (
            {"message": "m", "originalMessage": "too long", "originalStatusCode": 400},
            "modelStreamErrorException",
            error("ModelStreamErrorException", "too long", 400),
        ),
        (
            {"message": "m", "originalStatusCode": 200},
            "modelStreamErrorException",
            error("ModelStreamErrorException", "m", 502),
        ),
        ({"message": "m"}, "", StreamError(message="m")),
        ({"message": 3, "__type": 4}, "", None),
        ([], "", None),
    ],
)
def test_errors(body: Any, kind: str, expected: StreamError | None) -> None:
    assert read_error(json.dumps(body).encode(), kind) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff"])
def test_bodies_that_say_nothing(body: bytes) -> None:
    assert read_error(body) is None
    assert read_error(body, "ThrottlingException") == error("ThrottlingException", "ThrottlingException", 429)


def test_each_exception_of_the_api_has_a_status() -> None:
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    operation = service.operation_model("ConverseStream")
    names = [shape.name for shape in operation.error_shapes]
    names += [name for name in operation.output_shape.members["stream"].members if name.endswith("Exception")]
    assert len(names) > 10
    for name in names:
        found = read_error(b"{}", name)
        assert found is not None
        assert found.status is not None, name
