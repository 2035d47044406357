"""The access log: the line that each request leaves. It is written for every request: it has to be cheap.

A `LineFormatter` makes the lines. Those of requests that succeeded at the first attempt differ in a few numbers, so
they are made once, with gaps. A program's own log handlers get a log record as from every logger.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from gatewayd.observe.escape import escape
from gatewayd.observe.log import ACCESS, LineFormatter, LineHandler, LogFormat, stamp
from gatewayd.observe.record import Attempt, Record

_logger = logging.getLogger(ACCESS)
_TO_QUOTE: Final = re.compile(r"""[^!#-<>-~]""")
"""Anything but visible ASCII, and what has a meaning in a line: space, double quote, equals sign."""
_MOST_PREPARED: Final = 1024
_TEXT: Final = secrets.token_hex(16)
_NUMBER: Final = secrets.token_hex(16)
"""Marks of the gaps in a prepared line: random, so that no client can put one into a line."""
_GAPS: Final = dict.fromkeys(("request_id", "peer"), _TEXT) | dict.fromkeys(
    ("duration_ms", "ttft_ms", "prompt_tokens", "completion_tokens"), _NUMBER
)

_prepared: dict[tuple[object, ...], str] = {}


def log(record: Record) -> None:
    """Logs one request (an observer); a health check that succeeded at debug level."""
    level = logging.DEBUG if record.kind == "open" and record.outcome == "ok" else logging.INFO
    if not _logger.isEnabledFor(level):
        return
    logger: logging.Logger | None = _logger
    while logger is not None:
        for handler in logger.handlers:
            if type(handler) is LineHandler:
                formatter = handler.formatter
                if level == logging.INFO and formatter.form != "terminal":
                    handler.write_soon(_line(record, formatter))
                elif level >= handler.level:
                    handler.handle(_log_record(record, level, formatter.form))
            elif level >= handler.level:
                handler.handle(_log_record(record, level, None))
        logger = logger.parent if logger.propagate else None


def fields(record: Record, form: LogFormat = "json") -> dict[str, Any]:
    """What the line shows, in order. Empty values are left out."""
    failed, usage, answered = record.failed, record.usage, record.answered
    shown: dict[str, Any] = {
        "request_id": record.request_id,
        "status": record.status,
        "outcome": record.outcome,
        "method": record.method,
        "path": record.path,
        "group": record.group,
        "deployment": "" if answered is None else answered.deployment,
        "answered_by": "" if answered is None or answered.group == record.group else answered.group,
        "attempts": len(record.attempts),
        "fallbacks": record.fallbacks or None,
        "failed": ",".join(map(str, failed)) if form == "text" else [_failed(attempt) for attempt in failed],
        "code": "" if record.error is None else record.error.code,
        "duration_ms": round(record.duration * 1000, 2),
        "ttft_ms": None if record.ttft is None else round(record.ttft * 1000, 2),
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "key": record.key,
        "peer": record.peer,
        "revision": record.revision,
    }
    return {name: value for name, value in shown.items() if value not in ("", None, [])}


def _failed(attempt: Attempt) -> dict[str, Any]:
    assert attempt.error is not None
    shown: dict[str, Any] = {"deployment": attempt.deployment, "code": attempt.error.code}
    shown["reason"] = attempt.error.reason
    return shown if attempt.status is None else {**shown, "status": attempt.status}


def summary(record: Record) -> str:
    """For people: `200 POST /v1/chat/completions gpt-4o -> west 812 ms (tried east x2: answered 503)`."""
    answered, seconds = record.answered, record.duration
    names = (record.group, *(() if answered is None else (answered.group, answered.deployment)))
    route = " -> ".join(dict.fromkeys(filter(None, names)))
    took = f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
    what = "" if record.outcome in ("ok", "error") else record.outcome
    tries = [
        f"{name}{f' x{count}' if count > 1 else ''}: {reason}"
        for (name, reason), count in Counter(
            (attempt.deployment, attempt.error.reason) for attempt in record.failed if attempt.error is not None
        ).items()
    ]
    code = "" if record.error is None or (tries and not what) else record.error.code
    parts = (str(record.status), record.method, record.path, route, took, what, code)
    return " ".join(filter(None, parts)) + (f" (tried {', '.join(tries)})" if tries else "")


def _line(record: Record, formatter: LineFormatter) -> str:
    attempts, request_id, usage = record.attempts, record.request_id, record.usage
    if (
        record.outcome != "ok"
        or len(attempts) != 1
        or (record.told and (_TO_QUOTE.search(request_id) or formatter.redactor.clean(request_id) != request_id))
    ):
        return formatter.format(_log_record(record, logging.INFO, formatter.form))
    one, ttft = attempts[0], record.ttft
    key = (
        formatter, record.path, one.deployment, one.group, record.group, record.key, record.revision, record.status,
        ttft is None, usage is None,
    )  # fmt: skip
    line = _prepared.get(key)
    if line is None:
        line = _prepare(record, formatter)
        if len(_prepared) >= _MOST_PREPARED:
            del _prepared[next(iter(_prepared))]
        _prepared[key] = line
    took = int(record.duration * 100_000 + 0.5) / 100  # `round` takes five times as long
    if usage is None:
        if ttft is None:
            return line % (_now(), request_id, took, record.peer)
        return line % (_now(), request_id, took, round(ttft * 1000, 2), record.peer)
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if ttft is None:
        return line % (_now(), request_id, took, prompt, completion, record.peer)
    return line % (_now(), request_id, took, round(ttft * 1000, 2), prompt, completion, record.peer)


def _prepare(record: Record, formatter: LineFormatter) -> str:
    """The record's line with `%s` for the time of day and for what `_GAPS` names."""
    sample = _log_record(record, logging.INFO, formatter.form)
    sample.created = 0.0
    sample.fields = {name: _GAPS.get(name, value) for name, value in fields(record, formatter.form).items()}
    line = formatter.format(sample).replace("%", "%%").replace(stamp(0.0), "%s", 1)
    return line.replace(f'"{_NUMBER}"', "%s").replace(_NUMBER, "%s").replace(_TEXT, "%s")


def _log_record(record: Record, level: int, form: LogFormat | None) -> logging.LogRecord:
    """`form` is the line's; None is a program's own log. On a terminal and there, the message is readable by itself."""
    message = "request" if form in ("text", "json") else escape(summary(record))
    made = logging.LogRecord(_logger.name, level, "", 0, message, None, None)
    made.fields = fields(record, form or "json")
    return made


class _Clock:
    """UTC to the millisecond (RFC 3339), put together once for all lines of a millisecond."""

    def __init__(self) -> None:
        self._tick = -1
        self._text = ""

    def now(self) -> str:
        tick = int(time.monotonic() * 1000)
        if tick != self._tick:
            self._tick = tick
            self._text = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        return self._text


_now = _Clock().now
