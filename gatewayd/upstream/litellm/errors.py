"""litellm's exceptions → ours. The one place where they are looked at; by name, so that litellm is not needed for it.

What the exchange saw has precedence: a broken connection or an upstream's status is a fact, litellm's class is an
interpretation. litellm's class counts for what only litellm knows: context window, content policy, and requests that it
would not send. Texts that reach clients are the upstream's error message or ours, never litellm's, which contain URLs,
headers and tracebacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Protocol

from gatewayd.errors import (
    FallbackKind,
    GatewayError,
    InvalidRequest,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamConnection,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamStatus,
    UpstreamTimeout,
    Verdict,
)
from gatewayd.upstream.dial import unreachable
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.refusal import WITH_200, failed_body, failed_event, refused

_FALLBACK: dict[str, tuple[FallbackKind, str]] = {
    "ContextWindowExceededError": (FallbackKind.CONTEXT_WINDOW, "context_length_exceeded"),
    "ContentPolicyViolationError": (FallbackKind.CONTENT_POLICY, "content_policy_violation"),
}
_AUTH = frozenset({"AuthenticationError", "PermissionDeniedError"})
_PACKAGES = {"botocore": "boto3", "google": "google-auth"}
"""Modules → what to install, where the names differ."""
# AWS's exceptions in the middle of a stream, in its binary encoding: the name, and the status it would have had. Of
# 424, which means that the model failed, clients think that they are to blame.
_EXCEPTION = re.compile(rb":exception-type\x07..(\w+)", re.DOTALL)
_EXCEPTIONS = {
    b"internalServerException": 500,
    b"modelStreamErrorException": 502,
    b"modelTimeoutException": 504,
    b"serviceUnavailableException": 503,
    b"throttlingException": 429,
    b"validationException": 400,
}
_URL = re.compile(r"\b[a-z]+://\S+", re.IGNORECASE)


class Facts(Protocol):
    """What was seen of a call's traffic; `bridge.Exchange` records it."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> Mapping[bytes, bytes]: ...

    @property
    def error_body(self) -> bytes: ...

    @property
    def failure(self) -> GatewayError | None: ...

    @property
    def last(self) -> bytes:
        """The last piece of a stream, or the first 64 KiB of a whole answer."""


def translated(error: Exception, exchange: Facts, provider: str, secrets: Secrets) -> GatewayError:
    """What a failed call through litellm means. Raise it `from None`: litellm's exception holds keys and prompts.

    `provider` is named in texts about requests it cannot be asked; `secrets` are the deployment's and never pass.
    """
    if exchange.failure is not None:
        return exchange.failure
    told = _told(exchange.last, secrets) if exchange.status == 200 else None
    if told is None and (ours := raised_by_us(error)) is not None:
        return ours
    error = getattr(error, "original_exception", None) or error  # a stream's error comes wrapped
    names = [kind.__name__ for kind in type(error).__mro__]
    if exchange.status == 0:
        failure = _unsent(error, names, provider)
        failure.verdict = Verdict.ELSEWHERE  # another provider may be able to; and no caller can make this one look ill
        failure.blames_deployment = False
        return failure
    if exchange.status >= 400:
        return _refused(exchange, names, secrets)
    if not _AUTH.isdisjoint(names) or (told is not None and told.status in (401, 403)):
        return UpstreamAuth("The upstream rejected the gateway's credentials.")
    if told is not None:
        return _worded(told, names)
    if "Timeout" in names:
        return UpstreamTimeout("The upstream did not answer in time.", kind="first_byte")
    if (fallback := _fallback(names)) is not None:
        kind, code = fallback
        return UpstreamStatus("The upstream rejected the request.", status=400, code=code, fallback=kind)
    # litellm has a status for this too, often 400. The upstream answered 200, so the request was good and the answer
    # was not.
    return UpstreamBadResponse("The upstream's answer could not be understood.")


def raised_by_us(error: BaseException) -> GatewayError | None:
    """The GatewayError behind an exception of litellm's: a reader or a patch of ours raised it."""
    pending, seen = [error], set()
    while pending:
        one = pending.pop()
        if isinstance(one, GatewayError):
            one.__cause__ = one.__context__ = None
            return one
        seen.add(id(one))
        behind = (one.__cause__, one.__context__, getattr(one, "original_exception", None))
        pending += [other for other in behind if isinstance(other, BaseException) and id(other) not in seen]
    return None


def is_stream(fields: Mapping[bytes, bytes]) -> bool:
    """Whether an answer of status 200 to a streaming call may be a stream: not every provider names the type."""
    return not fields.get(b"content-type", b"").lower().startswith((b"application/json", b"text/html"))


def no_stream(exchange: Facts, secrets: Secrets) -> UpstreamError:
    """What a streaming call was answered with, when that held no event."""
    told = _told(exchange.last, secrets)
    if told is not None:
        return UpstreamAuth("The upstream rejected the gateway's credentials.") if told.status in (401, 403) else told
    if not is_stream(exchange.fields):
        return UpstreamBadResponse("The upstream answered a streaming call without a stream.")
    return UpstreamIncomplete("The upstream's answer ended before its first event.")


def _refused(exchange: Facts, names: list[str], secrets: Secrets) -> GatewayError:
    error = refused(exchange.status, exchange.fields, exchange.error_body, secrets)
    return _worded(error, names) if isinstance(error, UpstreamStatus) else error


def _worded(error: UpstreamStatus, names: list[str]) -> UpstreamStatus:
    """The provider's words and litellm's reading of them."""
    fallback = _fallback(names)
    kind, code = fallback if fallback is not None else (error.fallback, error.code)
    # The body is the provider's own shape, not OpenAI's: only its words go on.
    return UpstreamStatus(
        _URL.sub("(address)", error.message),
        status=error.status,
        code=code,
        fallback=kind,
        retry_after=error.retry_after,
        answered=error.answered,
    )


def _told(piece: bytes, secrets: Secrets) -> UpstreamStatus | None:
    """The error that a stream broke off with, if this piece of it is one: litellm keeps neither its words nor, mostly,
    what would have been its status."""
    error: UpstreamError | None = None
    if (exception := _EXCEPTION.search(piece)) is not None:
        error = refused(
            _EXCEPTIONS.get(exception[1], 502), {}, _payload(piece[exception.end() :]), secrets, came=WITH_200
        )
    else:
        for line in (piece, *piece.splitlines()):
            data = line.removeprefix(b"data:")
            if b'"error"' in data and failed_body(data, secrets) is not None:
                error = failed_event(data, told=False, secrets=secrets)
    return error if isinstance(error, UpstreamStatus) else None


def _payload(frame: bytes) -> bytes:
    """The JSON object in the rest of a binary frame, which has a checksum behind it."""
    text = frame[max(frame.find(b"{"), 0) :].decode(errors="replace")
    try:
        return text[: json.JSONDecoder().raw_decode(text)[1]].encode()
    except ValueError:
        return b""


def _unsent(error: Exception, names: list[str], provider: str) -> GatewayError:
    """No answer came: litellm would not send the request, lacks something for it, or has its own way of sending."""
    chain = _chain(error)
    cause = chain[-1]
    text = str(error)
    if isinstance(cause, ImportError):
        module = (cause.name or "").partition(".")[0]
        package = _PACKAGES.get(module, module)
        return UpstreamBadResponse(f"The provider needs the Python package '{package}', which is not installed.")
    kinds = [kind.__name__ for kind in type(cause).__mro__]
    if not _AUTH.isdisjoint(names) or "Credential" in kinds[0] or "GoogleAuthError" in kinds:
        return UpstreamAuth("The gateway has no credentials for the upstream.")
    if "UnsupportedParamsError" in names:
        fields, what = _untaken(text)
        return InvalidRequest(
            f"{provider} does not accept {what}; with 'drop_params' the gateway leaves it out.",
            param=fields[0] if fields else None,
        )
    if "LiteLLMUnknownProvider" in names or "Unmapped LLM provider" in text:
        return InvalidRequest(f"{provider} has no such endpoint.", code="endpoint_not_supported")
    if "Timeout" in names:
        return UpstreamTimeout("The upstream did not answer in time.", kind="first_byte")
    if any(type(one).__name__ == "ImageFetchError" for one in chain):
        return InvalidRequest("An image could not be fetched from its address.", param="messages")
    if isinstance(cause, OSError):  # a provider that does its own I/O, past the bridge
        return unreachable(cause) if cause.errno else UpstreamConnection("No connection to the upstream.")
    return InvalidRequest(f"{provider} cannot express this request.")


def _fallback(names: list[str]) -> tuple[FallbackKind, str] | None:
    return next((_FALLBACK[name] for name in names if name in _FALLBACK), None)


def _untaken(text: str) -> tuple[list[str], str]:
    """The fields that litellm says a provider does not take, and how to call them."""
    listed = re.search(
        r"(?:parameters:|Setting) (?:\[(.*?)\]|\{(.*?)\})", text, re.DOTALL
    )  # names, or names and values
    if listed is not None:
        fields = re.findall(r"'(\w+)'" if listed[2] is None else r"'(\w+)': ", listed[1] or listed[2])
        return fields, " and ".join(f"'{name}'" for name in fields) or "one of the fields"
    fields = re.findall(r"Invalid `(\w+)`", text)[:1]
    return fields, f"this value of '{fields[0]}'" if fields else "one of the fields"


def _chain(error: BaseException) -> list[BaseException]:
    """The exception, and those that led to it; the first one last."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    return chain
