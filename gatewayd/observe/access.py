"""The one record that each request leaves, and its line. It is written for every request: it has to be cheap.

`LineHandler`s get a finished line, which they may write together with others; any other handler (a program's own) gets
a log record as from every logger. What a client or an operator chose (ids, paths, names) is looked at before it is put
into a line; where there is something to quote, escape or redact, the line is made the slow way.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewayd.observe.log import LineHandler

_logger = logging.getLogger("gatewayd.access")
_TO_QUOTE = re.compile(r"""[^!#-<>-~]""")
"""Anything but visible ASCII, and what has a meaning in a line: space, double quote, equals sign."""


@dataclass(slots=True)
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
        """What the line shows, in order. `_text` has the same."""
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
    if not _logger.isEnabledFor(level):
        return
    slow: logging.LogRecord | None = None
    logger: logging.Logger | None = _logger
    while logger is not None:
        for handler in logger.handlers:
            if type(handler) is LineHandler and not quiet and (line := _line(record, handler)) is not None:
                handler.write_soon(line)
                continue
            if slow is None:
                slow = logging.LogRecord(_logger.name, level, "", 0, "request", None, None)
                slow.fields = record.fields()
            if level >= handler.level:
                handler.handle(slow)
        logger = logger.parent if logger.propagate else None


def _line(record: AccessRecord, handler: LineHandler) -> str | None:
    """The record's line if there is nothing special in it, else None."""
    chosen = f"{record.request_id}{record.path}{record.group}{record.deployment}{record.answered_by}{record.key}"
    if _TO_QUOTE.search(chosen) is not None:
        return None
    formatter = handler.formatter
    told = f"{record.request_id} {record.path}"  # the rest is not the client's
    if formatter.redactor.clean(told) != told:
        return None
    now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    if formatter.form == "json":
        fields = {"time": f"{now}Z", "level": "info", "logger": "gatewayd.access", "message": "request"}
        return msgspec.json.encode(fields | record.fields()).decode()
    return f"{now}Z INFO    gatewayd.access: request {_text(record)}"


def _text(r: AccessRecord) -> str:
    """`AccessRecord.fields` as text, when nothing in it needs quoting; half the price of going through the mapping."""
    return "".join(
        (
            f"request_id={r.request_id} status={r.status} outcome={r.outcome} method={r.method} path={r.path}",
            f" group={r.group}" if r.group else "",
            f" deployment={r.deployment}" if r.deployment else "",
            f" answered_by={r.answered_by}" if r.answered_by and r.answered_by != r.group else "",
            f" attempts={r.attempts}",
            f" fallbacks={r.fallbacks}" if r.fallbacks else "",
            f" code={r.code}" if r.code else "",
            f" duration_ms={round(r.duration * 1000, 2)}",
            "" if r.ttft is None else f" ttft_ms={round(r.ttft * 1000, 2)}",
            "" if r.prompt_tokens is None else f" prompt_tokens={r.prompt_tokens}",
            "" if r.completion_tokens is None else f" completion_tokens={r.completion_tokens}",
            f" key={r.key}" if r.key else "",
            f" peer={r.peer} revision={r.revision}" if r.revision else f" peer={r.peer}",
        )
    )
