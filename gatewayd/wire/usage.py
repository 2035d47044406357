"""Token counts out of OpenAI's JSON, read without building the rest of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.openai import Usage

_TAIL: Final = 4096
"""Bytes at the end of a body in which `usage` is looked for: it stands last, after all that is long."""


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    """OpenAI's newer endpoints (images, transcriptions) count under these names."""
    output_tokens: int | None = None


class _Document(msgspec.Struct):
    usage: _Counts | None = None


_decoder = msgspec.json.Decoder(_Document)


def read_usage(document: bytes) -> Usage | None:
    """The top-level `usage` of a JSON object; None if there is none, or none that can be understood."""
    try:
        counts = _decoder.decode(document).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if counts is None:
        return None
    prompt = counts.prompt_tokens or counts.input_tokens or 0
    completion = counts.completion_tokens or counts.output_tokens or 0
    return Usage(prompt, completion, counts.total_tokens or prompt + completion)


def usage_of(body: bytes) -> Usage | None:
    """The usage of a whole answer, looked for near its end; the cost does not grow with the body."""
    at = body.rfind(b'"usage"', max(0, len(body) - _TAIL))
    if at < 0:
        return None
    # From a key of the top level to the end, with a brace before it, is an object again. If it was not of the top level
    # there is a brace too many.
    return read_usage(b"{" + body[at:])


def usage_from_dict(counts: Any) -> Usage | None:
    """The usage of an answer that has been decoded already; None if `counts` is no object."""
    if not isinstance(counts, dict):
        return None
    return Usage(*(counts.get(name) or 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens")))
