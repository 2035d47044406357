"""Facts about the Anthropic API: which paths are its own, and what its errors look like."""

from __future__ import annotations

from typing import Final

import msgspec

from gatewayd.errors import GatewayError
from gatewayd.wire.openai import encode

VERSION: Final = "2023-06-01"
"""Sent as `anthropic-version` when the caller names none."""

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def is_path(path: str) -> bool:
    """Whether a request path is one of the Messages API."""
    name = path.removeprefix("/v1")
    return name == "/messages" or name.startswith("/messages/")


def anthropic_error_body(error: GatewayError, message: str, request_id: str) -> bytes:
    """Anthropic's error shape."""
    return encode({"type": "error", "error": _detail(error, message), "request_id": request_id})


def anthropic_error_event(error: GatewayError) -> bytes:
    """The same as the last event of a stream; empty if the upstream's own error event went through."""
    if error.told:
        return b""
    return b"event: error\ndata: %b\n\n" % encode({"type": "error", "error": _detail(error, error.message)})


def is_anthropic_error(body: bytes) -> bool:
    """Whether an error's body has the shape that Anthropic's clients read."""
    try:
        return _shape.decode(body).type == "error"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _detail(error: GatewayError, message: str) -> dict[str, str]:
    kind = _TYPES.get(error.status) or ("api_error" if error.status >= 500 else "invalid_request_error")
    return {"type": kind, "message": message}


class _Error(msgspec.Struct):
    message: str


class _Shape(msgspec.Struct):
    type: str
    error: _Error


_shape: Final = msgspec.json.Decoder(_Shape)
