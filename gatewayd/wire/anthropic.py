"""Facts about the Anthropic API: which paths are its own, and what its errors look like."""

from __future__ import annotations

from typing import Final

from gatewayd.errors import GatewayError
from gatewayd.wire.openai import encode

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def is_path(path: str) -> bool:
    """Whether a request path is one of the Messages API."""
    name = path.removeprefix("/v1")
    return name == "/messages" or name.startswith("/messages/")


def anthropic_error_body(error: GatewayError, message: str, request_id: str) -> bytes:
    """Anthropic's error shape."""
    kind = _TYPES.get(error.status) or ("api_error" if error.status >= 500 else "invalid_request_error")
    return encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
