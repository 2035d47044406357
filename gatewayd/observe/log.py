"""Log lines on stderr, as text or JSON: how they look, what must never be in them, and the access record.

Control characters of whatever was logged are escaped, so that nobody can forge a line; what is said in several lines
(a traceback, a list of problems) is indented behind its first, or one JSON string.
Known secrets are replaced in the finished text, tracebacks included: the second defence, `Secret` being the first.
A log that cannot be written (closed, disk full) costs lines and nothing else; they are counted, and told of later.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_SHORTEST_SECRET = 8
"""Anything shorter would be found inside ordinary words."""
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a terminal or a reader of lines may act on, and what UTF-8 cannot carry (undecodable bytes of a path)."""

_access = logging.getLogger("gatewayd.access")
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """How one request went. Never what was asked or answered. Empty values are left out of the line."""

    request_id: str
    revision: str
    key: str
    """Name of the key, not the key."""
    peer: str
    method: str
    path: str
    status: int
    outcome: str
    code: str
    """`error.code` of what the client was told."""
    group: str
    answered_by: str
    deployment: str
    attempts: int
    fallbacks: int
    duration: float
    """Seconds, as is `ttft`, the time to the first event of a stream."""
    ttft: float | None
    prompt_tokens: int | None
    completion_tokens: int | None

    def fields(self) -> dict[str, Any]:
        """What the line shows, in order."""
        shown: dict[str, Any] = {
            "request_id": self.request_id,
            "status": self.status,
            "outcome": self.outcome,
            "method": self.method,
            "path": self.path,
            "group": self.group,
            "deployment": self.deployment,
        }
        if self.answered_by != self.group:
            shown["answered_by"] = self.answered_by
        shown["attempts"] = self.attempts
        if self.fallbacks:
            shown["fallbacks"] = self.fallbacks
        shown["code"] = self.code
        shown["duration_ms"] = round(self.duration * 1000, 2)
        if self.ttft is not None:
            shown["ttft_ms"] = round(self.ttft * 1000, 2)
        shown["prompt_tokens"] = self.prompt_tokens
        shown["completion_tokens"] = self.completion_tokens
        shown["key"] = self.key
        shown["peer"] = self.peer
        shown["revision"] = self.revision
        return {name: value for name, value in shown.items() if value not in ("", None)}


def access(record: AccessRecord, *, quiet: bool = False) -> None:
    """Logs the one record of a request, `quiet` ones (health checks) at debug level."""
    level = logging.DEBUG if quiet else logging.INFO
    if _access.isEnabledFor(level):
        line = logging.LogRecord(_access.name, level, "", 0, "request", None, None)
        line.fields = record.fields()
        _access.handle(line)


class Redactor:
    """Replaces known secrets in finished text, also in the form that JSON gives them."""

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()

    def know(self, secrets: Iterable[str]) -> None:
        """Adds secrets. None is ever forgotten: a line about an old key can come late."""
        known = set(self._texts)
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                known.add(secret)
                known.add(_encode(secret.encode("utf-8", "replace").decode()).decode()[1:-1])
        self._texts = tuple(sorted(known, key=len, reverse=True))

    def clean(self, text: str) -> str:
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, "***")
        return text


class LineFormatter(logging.Formatter):
    """One record, one line; in text form further lines of its message and a traceback follow, marked so that none of
    them looks like a record.

    `extra={"fields": {...}}` of a log call adds named values.
    """

    def __init__(self, form: Format, redactor: Redactor) -> None:
        super().__init__()
        self.form = form
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        text = self._as_json(record) if self.form == "json" else self._as_text(record)
        return self._redactor.clean(text)

    def _as_json(self, record: logging.LogRecord) -> str:
        line = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if trace := self._trace(record):
            line["trace"] = trace
        try:
            text = _encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # lone surrogates
            text = json.dumps(line, default=str)
        return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    def _as_text(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        message, *more = record.getMessage().split("\n")
        text = f"{_stamp(record)} {record.levelname:7} {record.name}: {message}"
        if fields:
            text = f"{text} {' '.join([f'{name}={_value(value)}' for name, value in fields.items()])}"
        if trace := self._trace(record):
            more += trace.split("\n")
        return _escape(text) + "".join([f"\n  | {_escape(line)}" for line in more])

    def _trace(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return f"{trace}\n{record.stack_info}" if record.stack_info else trace


class LineHandler(logging.Handler):
    """Writes whole lines to a stream and never raises, blocks on nothing but the stream, prints nothing by itself."""

    def __init__(self, stream: TextIO | None, formatter: LineFormatter) -> None:
        super().__init__()
        self.formatter: LineFormatter = formatter
        self._stream = stream
        self.dropped = 0
        """Lines lost since the last one that could be written."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.formatter.format(record)
        except Exception as error:
            text = f"a log line of {record.name} could not be formatted: {type(error).__name__}"
        try:
            if self._stream is None:
                raise ValueError("there is no stderr")
            if self.dropped:
                text = f"{self._notice()}\n{text}"
            self._stream.write(f"{text}\n")
            self._stream.flush()
            self.dropped = 0
        except (OSError, ValueError):  # full, closed, or its reader is gone
            self.dropped += 1

    def _notice(self) -> str:
        message = f"{self.dropped} log lines before this one were lost"
        return self.formatter.format(logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None))


def set_up(form: Format, level: Level, redactor: Redactor, *, stream: TextIO | None = None) -> LineHandler:
    """Makes the root logger write lines to `stream` (default: stderr) and nothing else. May be called again."""
    handler = LineHandler(stream or _standard_error(), LineFormatter(form, redactor))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # Costs of LogRecord that no line shows.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    return handler


def _standard_error() -> TextIO | None:
    """stderr without a buffer: a line that could not be written shall not turn up among later ones."""
    try:
        raw = io.FileIO(sys.__stderr__.fileno() if sys.__stderr__ else 2, "w", closefd=False)
    except (OSError, ValueError):
        return None
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escape(text: str) -> str:
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def _value(value: object) -> str:
    text = str(value)
    return (
        text
        if text.isprintable() and text and not set(text) & {" ", '"', "="}
        else json.dumps(text, ensure_ascii=False)
    )
