"""What an answer looks like on the wire: the one renderer of errors, the response headers, the head's bytes.

Pure: values in, bytes out. Every value that gets into a header is made harmless on its way out: a line break in one
would split the response.
"""

from __future__ import annotations

import http
import itertools
import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from gatewayd.errors import (
    GatewayError,
    InternalError,
    InvalidApiKey,
    LoopDetected,
    MethodNotAllowed,
    UpgradeRefused,
    UpstreamError,
)
from gatewayd.observe.record import Attempt, Record
from gatewayd.wire.dialect import dialect_of
from gatewayd.wire.headers import MAX_VALUE, Header, sanitised

JSON: Header = ("content-type", "application/json")
EVENTS = "text/event-stream"
STREAM_HEADERS: tuple[Header, ...] = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
"""Keep caches and nginx from holding events back."""

UPGRADE_TO: tuple[Header, ...] = (("upgrade", "HTTP/1.1"),)
"""Of an answer 426 (RFC 9110, 15.5.22); `web.relay` names it in `connection`, as RFC 9110, 7.8 demands."""

_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SHOWN_TRIES = 10

_status_lines = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in http.HTTPStatus}


def new_request_id() -> str:
    # Not a secret, only unlikely to occur twice: uuid4 costs ten times as much and gives nothing more here.
    return f"req_{random.getrandbits(128):032x}"


def is_sane_id(told: str) -> bool:
    """Whether a client's id can be used as it is: visible ASCII, at most 128."""
    return _SANE_ID.fullmatch(told) is not None


def request_id(told: str | None) -> str:
    """The client's own id if it is a sane one, else a new one."""
    return told if told is not None and is_sane_id(told) else new_request_id()


def failure(error: GatewayError, record: Record) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of an answer that is an error, in the shape of the API whose path was asked.

    An upstream's own error passes with its status and body if it has that shape. `retry-after` is an integer >= 1 (RFC
    9110, 10.2.3). `x-should-retry: false` keeps OpenAI's SDKs from multiplying our tries by theirs.
    """
    request_id = record.request_id
    headers = [JSON, ("x-request-id", request_id)]
    if record.attempts:
        headers.append(("x-gatewayd-attempts", str(len(record.attempts))))
    if failed := record.failed:
        headers += [
            ("x-gatewayd-tried", _tries(failed)),
            ("x-litellm-model-id", failed[-1].deployment),
            ("x-litellm-model-group", record.group),
        ]
    if isinstance(error, MethodNotAllowed):
        headers.append(("allow", ", ".join(error.allow)))
    if isinstance(error, InvalidApiKey):
        headers.append(("www-authenticate", "Bearer"))
    if isinstance(error, UpgradeRefused):
        headers += UPGRADE_TO
    if error.retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after)))))
    if isinstance(error, UpstreamError | InternalError | LoopDetected):
        headers.append(("x-should-retry", "false"))
    dialect = dialect_of(record.path)
    if dialect.request_id_header:
        headers.append((dialect.request_id_header, request_id))
    if error.body is not None and dialect.is_error(error.body):
        return error.status, headers, error.body
    message = error.message
    if failed:
        message = f"{message} (tried {_tries(failed)})"
    return error.status, headers, dialect.error_body(error, message, request_id)


def _tries(failed: Iterable[Attempt]) -> str:
    """`west x3: connection refused, east: answered 503`: names and reasons, no addresses and no words of upstreams."""
    counts = Counter((attempt.deployment, attempt.error.reason) for attempt in failed if attempt.error is not None)
    shown = [
        f"{name}{f' x{count}' if count > 1 else ''}: {reason}"
        for (name, reason), count in itertools.islice(counts.items(), _SHOWN_TRIES)
    ]
    if (more := len(counts) - len(shown)) > 0:
        shown.append(f"and {more} more")
    return ", ".join(shown)


def success_headers(record: Record, overhead: float, duration: float) -> list[Header]:
    """How the answer came about. `overhead` and `duration` in seconds; duration counts to the start of the answer."""
    answered, request_id = record.answered, record.request_id
    overhead_ms = f"{overhead * 1000:.2f}"
    deployment = "" if answered is None else answered.deployment
    headers = [
        ("x-request-id", request_id),
        ("x-gatewayd-revision", record.revision),
        ("x-gatewayd-deployment", deployment),
        ("x-gatewayd-attempts", str(len(record.attempts))),
        ("x-gatewayd-overhead-ms", overhead_ms),
        ("x-litellm-call-id", request_id),
        ("x-litellm-model-id", deployment),
        ("x-litellm-model-group", record.group),
        ("x-litellm-attempted-retries", str(record.retries)),
        ("x-litellm-attempted-fallbacks", str(record.fallbacks)),
        ("x-litellm-overhead-duration-ms", overhead_ms),
        ("x-litellm-response-duration-ms", f"{duration * 1000:.2f}"),
    ]
    if answered is not None and answered.group != record.group:
        headers.append(("x-gatewayd-fallback", answered.group))
    if name := dialect_of(record.path).request_id_header:
        headers.append((name, request_id))
    return headers


class SuccessHead:
    """Heads of whole answers that came from one deployment at the first try: they differ in what `_VARIABLE` names."""

    __slots__ = ("_named_again", "_template")

    def __init__(self, sample: Record) -> None:
        headers = _harmless(success_headers(sample, 0.0, 0.0))
        self._named_again = bool(dialect_of(sample.path).request_id_header)
        fields = [f"{name}: {_VARIABLE.get(name) or value.replace('%', '%%')}\r\n" for name, value in headers]
        self._template = "%s%s" + "".join(fields) + "date: %s\r\ncontent-length: %d\r\n\r\n"

    def render(
        self, status: int, relayed: str, request_id: str, overhead: float, duration: float, length: int
    ) -> bytes:
        """`relayed`: lines of the upstream's head. Seconds, as for `success_headers`."""
        line = _status_lines.get(status) or f"HTTP/1.1 {status} \r\n"
        overhead *= 1000
        values: tuple[str | float, ...] = (request_id, overhead, request_id, overhead, duration * 1000)
        if self._named_again:
            values = (*values, request_id)
        return (self._template % (line, relayed, *values, _date.now(), length)).encode("ascii")


_VARIABLE = {
    "x-request-id": "%s",
    "x-gatewayd-overhead-ms": "%.2f",
    "x-litellm-call-id": "%s",
    "x-litellm-overhead-duration-ms": "%.2f",
    "x-litellm-response-duration-ms": "%.2f",
    "request-id": "%s",
}
"""Of the headers above, those that differ from answer to answer, in their order."""


def head(status: int, headers: Iterable[Header], framing: str) -> bytes:
    """Status line and header section (RFC 9112). `framing` is ready text: length or coding, and `connection`."""
    line = _status_lines.get(status) or f"HTTP/1.1 {status} \r\n"
    fields = "".join([f"{name}: {value}\r\n" for name, value in _harmless(headers)])
    return f"{line}{fields}date: {_date.now()}\r\n{framing}\r\n".encode("ascii")


def last_words(error: GatewayError, request_id: str | None = None) -> bytes:
    """A whole answer, the last on its connection, to what never became a request."""
    status, headers, body = failure(error, Record(request_id or new_request_id()))
    return head(status, headers, f"content-length: {len(body)}\r\nconnection: close\r\n") + body


def _harmless(headers: Iterable[Header]) -> Sequence[Header]:
    pairs = headers if isinstance(headers, Sequence) else list(headers)
    values = [value for _, value in pairs]
    text = "".join(values)
    if text.isascii() and text.isprintable() and (len(text) <= MAX_VALUE or max(map(len, values)) <= MAX_VALUE):
        return pairs
    return [(name, sanitised(value)) for name, value in pairs]


class _Date:
    """The Date header's text (RFC 9110, 6.6.1), made anew once a second."""

    def __init__(self) -> None:
        self._until = 0.0
        self._text = ""

    def now(self) -> str:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + 1.0
            self._text = format_datetime(datetime.now(UTC), usegmt=True)
        return self._text


_date = _Date()
