"""Errors of Google's APIs, both ways. Part of `gatewayd.wire.gemini`."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec

from gatewayd.errors import GatewayError
from gatewayd.wire.events import StreamError
from gatewayd.wire.openai import encode

_STATUSES: Final = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_NUMBERS: Final = {
    **{name: status for status, name in _STATUSES.items()},
    "UNAVAILABLE": 503, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "ALREADY_EXISTS": 409, "DATA_LOSS": 500,
    "UNKNOWN": 500,
}  # fmt: skip
_RETRY: Final = "type.googleapis.com/google.rpc.RetryInfo"
_decoder: Final = msgspec.json.Decoder()


def read_error(body: bytes) -> StreamError | None:
    """An error body, or the data of an error event; None if it is neither."""
    error = _error(body)
    if error is None:
        return None
    code, status, message = error.get("code"), error.get("status"), error.get("message")
    number = code if isinstance(code, int) and 400 <= code < 600 else None
    name = status if isinstance(status, str) else None
    return StreamError(
        message=message if isinstance(message, str) else name or "",
        type=name,
        code=_reason(error),
        status=_NUMBERS.get(name or "") if number is None else number,
    )


def retry_delay(body: bytes) -> float | None:
    """Seconds to wait, as Google says them in an error's details: `{"retryDelay": "27.5s"}`."""
    for detail in _details(_error(body)):
        told = detail.get("retryDelay")
        if isinstance(told, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", told):
            return float(told[:-1])
    return None


def _error(body: bytes) -> dict[str, Any] | None:
    try:
        found = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list) and found:  # so comes the error of a stream that was not asked for as events
        found = found[0]
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else None


def _details(error: dict[str, Any] | None) -> list[dict[str, Any]]:
    details = None if error is None else error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _reason(error: dict[str, Any]) -> str | None:
    """Google's name for the very cause: API_KEY_INVALID."""
    return next((detail["reason"] for detail in _details(error) if isinstance(detail.get("reason"), str)), None)


# --- for callers --------------------------------------------------------------------------------------------------


def gemini_error_body(error: GatewayError, message: str) -> bytes:
    """Google's error shape, with the time to wait where google-genai and others look for it."""
    body = _body(error.status, message, _STATUSES.get(error.status))
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code.upper(), "domain": "gatewayd"}
    ]
    if error.retry_after is not None:
        details.append({"@type": _RETRY, "retryDelay": f"{math.ceil(error.retry_after)}s"})
    body["error"]["details"] = details
    return encode(body)


def write_error(error: StreamError) -> bytes:
    """Google's error shape for an error of a stream. `error` comes first: that is how google-genai knows it."""
    status = error.status or _NUMBERS.get(error.type or "", 500)
    name = error.type if error.type in _NUMBERS else None
    return encode(_body(status, error.message, name or _STATUSES.get(status)))


def _body(status: int, message: str, name: str | None) -> dict[str, Any]:
    default = "INVALID_ARGUMENT" if status < 500 else "INTERNAL"
    return {"error": {"code": status, "message": message, "status": name or default}}
