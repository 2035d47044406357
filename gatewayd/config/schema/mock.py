"""`litellm_params.mock_response`: an answer without a provider, for demos, tests and drills.

gatewayd accepts litellm's forms (a text, or one of its error names) and its own mapping form with more options. All of
them become a `MockResponse`, which `gatewayd.upstream.scripted` plays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WithJsonSchema

from gatewayd.config.schema.base import Count, Number, Seconds, Section, key, numeral


def _as_json(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


JsonText = Annotated[
    str, BeforeValidator(_as_json), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})
]


class MockFail(Section):
    """An HTTP error instead of an answer."""

    OWN: ClassVar[bool] = True

    status: Annotated[int, BeforeValidator(numeral)] = key(500, "HTTP status of the error, 400 to 599.", ge=400, le=599)
    code: str | None = key(None, "`error.code` of the error body.")
    message: str = key("This is a mock error", "`error.message` of the error body.")
    retry_after: Seconds | None = key(None, "Seconds in the `retry-after` header. Default: no header.")
    times: Count | None = key(None, "Number of calls that fail before calls succeed. Default: every call fails.")


class MockToolCall(Section):
    """One tool call in the answer."""

    OWN: ClassVar[bool] = True

    name: str = key(..., "Name of the function.")
    arguments: JsonText = key("{}", "Its arguments: JSON text, or a mapping.")


class MockResponse(Section):
    """The answer of a deployment with `mock_response`."""

    OWN: ClassVar[bool] = True

    text: str = key("This is a mock request", "The answer's text.", why="litellm's own text")
    tool_calls: Annotated[tuple[MockToolCall, ...], BeforeValidator(_as_tuple)] = key(
        (), "Tool calls in the answer; `finish_reason` is then `tool_calls`."
    )
    delay: Seconds = key(0.0, "Seconds before the first byte.")
    chunk_delay: Seconds = key(0.0, "Seconds between the chunks of a stream.")
    chunks: Annotated[int, BeforeValidator(numeral)] | None = key(
        None, "Number of content chunks of a stream. Default: one for each word.", ge=1, le=1_000_000
    )
    fail: MockFail | None = key(None, "An HTTP error instead of the answer.")
    cut_after: Count | None = key(
        None,
        "The connection breaks after this many chunks of a stream. With 0, or for a call without `stream`: before the "
        "first byte.",
    )
    hang_after: Count | None = key(
        None,
        "The upstream stops sending after this many chunks. With 0, or for a call without `stream`: it never answers.",
    )
    dimensions: Annotated[int, BeforeValidator(numeral)] = key(
        8, "Length of the vectors for embedding calls.", ge=1, le=65_536, why="short enough to read"
    )
    embedding: Annotated[tuple[Number, ...], BeforeValidator(_as_tuple)] | None = key(
        None, "The vector for embedding calls. Default: made from the input, the same for the same text."
    )


# Texts that mean an error: litellm 1.106.2, `_handle_mock_potential_exceptions` and `mock_completion`.
_ERRORS: dict[str, MockFail] = {
    "litellm.RateLimitError": MockFail(status=429, message="this is a mock rate limit error"),
    "litellm.ContextWindowExceededError": MockFail(
        status=400, code="context_length_exceeded", message="this is a mock context window exceeded error"
    ),
    "litellm.InternalServerError": MockFail(status=500, message="this is a mock internal server error"),
}
_ERROR_PREFIXES: dict[str, MockFail] = {
    "Exception: content_filter_policy": MockFail(
        status=400, code="content_policy_violation", message="this is a mock content filter error"
    ),
    "Exception: mock_streaming_error": MockFail(status=529, message="this is a mock overload error"),
}


def normalise(
    response: object,
    *,
    delay: float | None = None,
    timeout: bool = False,
    tool_calls: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """litellm's `mock_response`, `mock_delay`, `mock_timeout` and `mock_tool_calls` → the keys of a `MockResponse`.

    Does not validate the result. A mapping is our own form, a list is an embedding vector.
    """
    fields: dict[str, Any]
    if isinstance(response, Mapping):
        fields = dict(response)
    elif isinstance(response, list | tuple):
        fields = {"embedding": response, "dimensions": len(response) or 1}
    elif response is None:
        fields = {}
    else:
        fields = {"text": response}
        if isinstance(response, str):
            fail = _ERRORS.get(response) or next(
                (f for prefix, f in _ERROR_PREFIXES.items() if response.startswith(prefix)), None
            )
            if fail is not None:
                fields = {"fail": fail.model_dump(exclude_unset=True)}
    if delay:
        fields.setdefault("delay", delay)
    if timeout:  # litellm sleeps for the timeout and then reports it: the caller sees a silent upstream
        fields.setdefault("hang_after", 0)
    if tool_calls:
        functions = [call.get("function", call) for call in tool_calls]
        fields.setdefault("tool_calls", functions)
    return fields
