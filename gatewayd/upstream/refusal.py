"""From an upstream's error answer to the exception that the plan and the client understand.

An error in OpenAI's shape passes through as its author wrote it, unless the deployment's own key is in it. What is not
in that shape is wrapped, with the few words it has for us if it is JSON, with none if it is not: login pages and stack
traces are nobody's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from gatewayd.errors import (
    FallbackKind,
    LoopDetected,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRedirect,
    UpstreamStatus,
)
from gatewayd.routing.health import MAX_RETRY_AFTER
from gatewayd.upstream.hiding import NONE, Secrets
from gatewayd.wire.responses_watch import failure_in

MAX_ERROR: Final = 256 * 1024
"""Bytes of an error that are looked into; a larger one says nothing that could be quoted."""
WITH_200: Final = "200 with an error"
"""How an upstream answered whose error came inside of a good answer."""
_WITHOUT: Final = "200 with no result"
_MAX_TEXT: Final = 500
_MAX_COMPLAINTS: Final = 10

# Codes and words by which upstreams say that the prompt is too long. The words are those that litellm 1.106.2 looks for
# (`litellm_core_utils/exception_mapping_utils.py`) and those of vLLM, llama.cpp and LM Studio.
_CONTEXT_CODES: Final = {"context_length_exceeded", "exceed_context_size_error"}
_CONTEXT_WORDS: Final = re.compile(
    r"maximum context length|maximum context limit|exceed context limit|longer than the model's context length"
    r"|longer than the maximum model length|input tokens exceed the configured limit|available context size"
    r"|`inputs` tokens \+ `max_new_tokens` must be|exceeds the maximum number of tokens allowed"
    r"|context (?:length|window) (?:exceeded|overflow)|exceeds? (?:the|its) (?:model'?s? )?context (?:length|window)"
    r"|current length is .{0,80} while limit is|maximum input length is .{0,80} tokens|prompt is too long",
    re.IGNORECASE | re.DOTALL,
)
_POLICY_CODES: Final = {
    "content_policy_violation",
    "content_filter",
    "responsibleaipolicyviolation",
    "moderation_blocked",
}
_POLICY_WORDS: Final = re.compile(
    r"content_policy_violation|responsibleaipolicyviolation|content_filter_policy|azure openai's content management"
    r"|filtered due to the prompt triggering|(?:as a result of|rejected by) (?:our|the) safety system"
    r"|the model produced invalid content",
    re.IGNORECASE,
)
# Two troubles of the gateway's own account that come as if the caller had asked wrongly, with status 400.
_NO_SUCH_KEY: Final = b'"API_KEY_INVALID"'
"""Google's reason."""
_NO_CREDIT: Final = "Your credit balance is too low"
"""Anthropic's words."""
_LOOP: Final = LoopDetected.code.encode()
_SEEN: Final = 4096
"""Bytes of a refusal that are searched for it."""
_SIGNIFICANT: Final = (400, 413, 422, 500)
"""Statuses with which a prompt that is too long or not allowed is refused (500: older TGI and some gateways)."""


def refused(
    status: int, fields: Mapping[bytes, bytes], body: bytes, secrets: Secrets = NONE, *, came: str = ""
) -> UpstreamError:
    """The exception for an answer whose status is not 2xx. `secrets` are the deployment's: they never pass. `came`: how
    the upstream answered, if not with this status."""
    if len(body) > MAX_ERROR:
        body = b""
    if 300 <= status < 400:
        return UpstreamRedirect("The upstream answered with a redirect; the gateway does not follow them.")
    if status in (401, 403) or (status == 400 and _NO_SUCH_KEY in body):
        return UpstreamAuth(f"The upstream rejected the gateway's credentials ({status}).")
    return _status(status, came or f"{status}", _parsed(body), body, secrets, retry_after(fields))


def failed_body(body: bytes, secrets: Secrets = NONE, *, whole: bool = False) -> UpstreamError | None:
    """The exception for an error that came as an answer of status 200; None if the body is no error.

    `whole`: the body is a whole answer. Without any choice, or with a message in place of choices or vectors, it has
    failed too: OpenAI's SDKs accept it, and the program that looks at the first choice breaks.
    """
    try:
        top = _top_level.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if (told := failure_in(body) if whole else None) is not None:
        return failed_event(told, told=False, secrets=secrets)
    error = bytes(top.error)
    is_error = bytes(top.object) == b'"error"' or len(error) > MAX_ERROR or bool(_parsed(error))
    if not is_error:
        choices = bytes(top.choices)
        if not whole or bytes(top.data) or (choices != b"null" and choices[1:-1].strip()):
            return None
        if choices:
            return UpstreamBadResponse("The upstream's answer holds no choices.")
        if not any(map(bytes, (top.message, top.msg, top.detail))):
            return None
    if len(body) > MAX_ERROR:  # what is beside the error matters to nobody, and the error itself may be small
        body = b'{"error":%b}' % error if len(error) <= MAX_ERROR else b""
    tree = _parsed(body)
    return _status(_told_status(tree), WITH_200 if is_error else _WITHOUT, tree, body, secrets, None)


def failed_event(data: bytes, *, told: bool, secrets: Secrets = NONE) -> UpstreamError:
    """The exception for an error event of a stream. `told`: the event has been relayed. Then the client knows, if the
    event has the one form that OpenAI's SDKs raise for."""
    tree = _parsed(data)
    error = _status(_told_status(tree), WITH_200, tree, data, secrets, None)
    error.told = told and isinstance(tree, dict) and bool(tree.get("error"))
    return error


def retry_after(fields: Mapping[bytes, bytes]) -> float | None:
    """Seconds to wait, from `retry-after-ms` (OpenAI's) or `retry-after` (RFC 9110, 10.2.3: seconds or a date).

    Negative values and garbage count as absent, long times as MAX_RETRY_AFTER.
    """
    seconds = _number(fields.get(b"retry-after-ms"), 0.001)
    told = fields.get(b"retry-after")
    if seconds is None and told is not None:
        seconds = _number(told, 1.0)
        if seconds is None:
            seconds = _until(told)
    return None if seconds is None or seconds < 0 else min(seconds, MAX_RETRY_AFTER)


def _delay(detail: Mapping[str, Any]) -> float | None:
    """Google's way to say it: `{"@type": ".../google.rpc.RetryInfo", "retryDelay": "27.5s"}` in an error's details."""
    found = detail.get("details")
    for entry in found if isinstance(found, list) else ():
        told = entry.get("retryDelay") if isinstance(entry, dict) else None
        if isinstance(told, str) and (seconds := _number(told.removesuffix("s").encode(), 1.0)) is not None:
            return min(seconds, MAX_RETRY_AFTER) if seconds >= 0 else None
    return None


def _number(told: bytes | None, unit: float) -> float | None:
    try:
        value = math.nan if told is None else float(told) * unit
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _until(told: bytes) -> float | None:
    try:
        date = parsedate_to_datetime(told.decode("latin-1"))
    except (ValueError, TypeError, IndexError):
        return None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return (date - datetime.now(UTC)).total_seconds()


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _status(status: int, came: str, tree: Any, body: bytes, secrets: Secrets, wait: float | None) -> UpstreamStatus:
    """`came`: with which status the upstream answered, in words; `status`: what it meant."""
    listed = isinstance(tree, list) and bool(tree)  # so comes an error from Google's API that is like OpenAI's
    tree = tree[0] if listed else tree
    tree = tree if isinstance(tree, dict) else {}
    error = tree.get("error")
    shaped = isinstance(error, dict) and isinstance(error.get("message"), str)
    safe = not secrets.found_in(body)
    detail = error if isinstance(error, dict) else tree
    words = _words(error, _complaints(detail.get("message")), _complaints(tree.get("detail")), detail.get("msg"))
    if status == 400 and words.startswith(_NO_CREDIT):  # what a caller wrote may be repeated further on
        status = 402
    kind = _kind(status, detail, words)
    message = words if shaped else f"The upstream answered {came}" + (f": {words}" if words else ".")
    return UpstreamStatus(
        message if safe else f"The upstream answered {came}.",
        status=status if status < 600 else 502,
        body=body if shaped and safe and not listed else None,
        # Others say 508 for other things: cPanel for a limit that was reached.
        code=LoopDetected.code if status == LoopDetected.status and _LOOP in body[:_SEEN] else _CODES[kind],
        fallback=kind,
        retry_after=_delay(detail) if wait is None else wait,
        answered=came,
    )


_NULL: Final = msgspec.Raw(b"null")
_ABSENT: Final = msgspec.Raw(b"")


class _TopLevel(msgspec.Struct):
    error: msgspec.Raw = _NULL
    object: msgspec.Raw = _NULL
    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    msg: msgspec.Raw = _ABSENT
    detail: msgspec.Raw = _ABSENT


_top_level: Final = msgspec.json.Decoder(_TopLevel)

_CODES: Final = {
    FallbackKind.GENERAL: None,
    FallbackKind.CONTEXT_WINDOW: "context_length_exceeded",
    FallbackKind.CONTENT_POLICY: "content_policy_violation",
}


def _complaints(told: Any) -> Any:
    """FastAPI's list of what is wrong with a request as words; anything else as it is. Mistral has it in `message`."""
    complaints = told.get("detail") if isinstance(told, dict) else told
    if not isinstance(complaints, list):
        return told
    texts = []
    for complaint in complaints[:_MAX_COMPLAINTS]:
        if isinstance(complaint, dict) and isinstance(complaint.get("msg"), str):
            place = complaint.get("loc")
            places = [str(part) for part in place] if isinstance(place, list) else []
            texts.append(": ".join([*filter(None, [".".join(places)]), complaint["msg"]]))
    return "; ".join(texts) or None


def _words(*candidates: Any) -> str:
    text = next((candidate for candidate in candidates if isinstance(candidate, str)), "")
    return " ".join(text[:_MAX_TEXT].split())


def _kind(status: int, detail: Mapping[str, Any], words: str) -> FallbackKind:
    if status not in _SIGNIFICANT:
        return FallbackKind.GENERAL
    inner = detail.get("innererror")  # where Azure says which of its filters struck
    names = (detail.get("code"), detail.get("type"), inner.get("code") if isinstance(inner, dict) else None)
    codes = {name.lower() for name in names if isinstance(name, str)}
    if codes & _CONTEXT_CODES or _CONTEXT_WORDS.search(words):
        return FallbackKind.CONTEXT_WINDOW
    if codes & _POLICY_CODES or _POLICY_WORDS.search(words):
        return FallbackKind.CONTENT_POLICY
    return FallbackKind.GENERAL


def _told_status(tree: Any) -> int:
    """The status an error would have had, had it not come after a 200."""
    error = tree.get("error") if isinstance(tree, dict) else None
    detail = error if isinstance(error, dict) else tree if isinstance(tree, dict) else {}
    for told in (detail.get("code"), detail.get("status")):
        if isinstance(told, int | str) and re.fullmatch("[45][0-9][0-9]", str(told)):
            return int(told)
    names = {name for name in (detail.get("type"), detail.get("code")) if isinstance(name, str)}
    if names & {"rate_limit_error", "rate_limit_exceeded", "insufficient_quota", "tokens", "requests"}:
        return 429
    if "overloaded_error" in names:  # Anthropic's
        return 529
    return 400 if "invalid_request_error" in names else 502
