"""Errors of Bedrock's Converse API: as the body of an answer, and as an exception in a stream. Part of
`gatewayd.wire.converse`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatewayd.wire.events import StreamError

_STATUSES: Final = {
    "AccessDeniedException": 403, "ConflictException": 400, "ExpiredTokenException": 403,
    "InternalServerException": 500, "InvalidSignatureException": 403, "ModelErrorException": 502,
    "ModelNotReadyException": 503,
    "ModelStreamErrorException": 502, "ModelTimeoutException": 504, "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 429, "ServiceUnavailableException": 503, "ThrottlingException": 429,
    "UnrecognizedClientException": 403, "ValidationException": 400,
}  # fmt: skip
"""What each exception means. AWS gives 424 to errors of the model, for which clients would blame themselves."""
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def read_error(body: bytes, kind: str = "") -> StreamError | None:
    """An error body, or the payload of an exception; None if it is neither.

    `kind` is the header `x-amzn-errortype`, or the name of the exception in a stream.
    """
    try:
        found = _decoder.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = {}
    name = _name(kind) or _name(found.get("__type"))
    texts = (found.get(key) for key in ("originalMessage", "message", "Message", "errorMessage"))
    message = next((text for text in texts if isinstance(text, str) and text), None)
    if name is None and message is None:
        return None
    status = found.get("originalStatusCode")
    if not (isinstance(status, int) and 400 <= status < 600):
        status = _STATUSES.get(name or "")
    return StreamError(message=message or name or "", type=name, code=name, status=status)


def _name(kind: Any) -> str | None:
    """`throttlingException`, `ThrottlingException:http://...` and `aws#ThrottlingException` are the same."""
    if not isinstance(kind, str) or not kind:
        return None
    name = kind.partition(":")[0].rpartition("#")[2]
    return name[:1].upper() + name[1:] if name else None
