"""The one record that each request leaves, and its line. It is written for every request: it has to be cheap.

`LineHandler`s get a finished line, which they may write together with others; any other handler (a program's own) gets
a log record as from every logger. What a client or an operator chose (ids, paths, names) is looked at before it is put
into a line; where there is something to quote, escape or redact, the line is made the slow way.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from gatewayd.observe.escape import escape
from gatewayd.observe.log import ACCESS, LineFormatter, LineHandler, LogFormat

_logger = logging.getLogger(ACCESS)
_TO_QUOTE = re.compile(r"""[^!#-<>-~]""")
"""Anything but visible ASCII, and what has a meaning in a line: space, double quote, equals sign."""


class FailedTry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try that failed."""

    deployment: str
    code: str
    reason: str
    """In a few words, none of which an upstream wrote."""
    status: int | None = None
    """The upstream's, if it has answered with an error."""

    def __str__(self) -> str:
        return f"{self.deployment}:{self.code}{'' if self.status is None else f':{self.status}'}"


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
    failed: tuple[FailedTry, ...] = ()

    @property
    def failed_text(self) -> str:
        """Of each failed try the deployment, the code and the upstream's status: `west:upstream_error:503`."""
        return ",".join(map(str, self.failed))

    @property
    def summary(self) -> str:
        """For people: `200 POST /v1/chat/completions gpt-4o -> west 812 ms (tried east x2: answered 503)`."""
        route = " -> ".join(dict.fromkeys(filter(None, (self.group, self.answered_by, self.deployment))))
        seconds = self.duration
        took = f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
        what = "" if self.outcome in ("ok", "error") else self.outcome
        tries = [
            f"{name}{f' x{count}' if count > 1 else ''}: {reason}"
            for (name, reason), count in Counter((one.deployment, one.reason) for one in self.failed).items()
        ]
        parts = (str(self.status), self.method, self.path, route, took, what, self.code if what or not tries else "")
        return " ".join(filter(None, parts)) + (f" (tried {', '.join(tries)})" if tries else "")

    def fields(self, form: LogFormat = "json") -> dict[str, Any]:
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
        shown["failed"] = self.failed_text if form == "text" else [msgspec.to_builtins(one) for one in self.failed]
        shown["code"] = self.code
        shown["duration_ms"] = round(self.duration * 1000, 2)
        if self.ttft is not None:
            shown["ttft_ms"] = round(self.ttft * 1000, 2)
        shown["prompt_tokens"] = self.prompt_tokens
        shown["completion_tokens"] = self.completion_tokens
        shown["key"] = self.key
        shown["peer"] = self.peer
        shown["revision"] = self.revision
        return {name: value for name, value in shown.items() if value not in ("", None, [])}


def unreadable(request_id: str, peer: str) -> AccessRecord:
    """The record of what is no HTTP: nothing is known of it but who sent it."""
    return AccessRecord(
        request_id=request_id,
        revision="",
        key="",
        peer=peer,
        method="-",
        path="-",
        status=400,
        outcome="rejected",
        code="invalid_request",
        group="",
        answered_by="",
        deployment="",
        attempts=0,
        fallbacks=0,
        duration=0.0,
        ttft=None,
        prompt_tokens=None,
        completion_tokens=None,
    )


def access(record: AccessRecord, *, quiet: bool = False) -> None:
    """Logs the one record of a request, `quiet` ones (health checks) at debug level."""
    level = logging.DEBUG if quiet else logging.INFO
    if not _logger.isEnabledFor(level):
        return
    for handler in _handlers():
        if type(handler) is LineHandler and not quiet and (line := _line(record, handler)) is not None:
            handler.write_soon(line)
        else:
            _handle(handler, level, record)


class Tokens(Protocol):
    """What an answer used (`wire.openai.Usage`)."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def completion_tokens(self) -> int: ...


class SuccessLine:
    """The lines of requests of one kind that went well at once: they differ in a few numbers, so what is the same in
    all of them is looked at and put together once. `sample` is the record of such a request."""

    __slots__ = ("_formatter", "_sample", "_template", "_without_tokens")

    def __init__(self, sample: AccessRecord) -> None:
        self._sample = sample
        self._formatter: LineFormatter | None = None
        self._template = ""
        self._without_tokens = ""

    def log(self, request_id: str, duration: float, usage: Tokens | None, peer: str, *, told: bool = False) -> None:
        """`told`: the id is the client's. `duration` in seconds."""
        if not _logger.isEnabledFor(logging.INFO):
            return
        for handler in _handlers():
            if type(handler) is LineHandler:
                if handler.formatter is not self._formatter:
                    self._adapt(handler)
                if self._template and not (told and _is_special(request_id, handler.formatter)):
                    milliseconds = round(duration * 1000, 2)
                    if usage is None:
                        line = self._without_tokens % (_now(), request_id, milliseconds, peer)
                    else:
                        prompt, completion = usage.prompt_tokens, usage.completion_tokens
                        line = self._template % (_now(), request_id, milliseconds, prompt, completion, peer)
                    handler.write_soon(line)
                    continue
            _handle(handler, logging.INFO, self._record(request_id, duration, usage, peer))

    def _record(self, request_id: str, duration: float, usage: Tokens | None, peer: str) -> AccessRecord:
        return replace(
            self._sample,
            request_id=request_id,
            duration=duration,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
            peer=peer,
        )

    def _adapt(self, handler: LineHandler) -> None:
        """Makes the templates for this handler's form: lines with `%s` for what differs, or "" if there is something
        special in the rest."""
        self._formatter = handler.formatter
        self._template = self._without_tokens = ""
        if _line(self._sample, handler) is None:
            return
        is_json = handler.formatter.form == "json"
        sample = replace(self._sample, request_id="-", peer="-", prompt_tokens=0, completion_tokens=0)
        for name, value in sample.fields(handler.formatter.form).items():
            shown = msgspec.json.encode(value).decode() if is_json else str(value)
            shown = shown.replace("%", "%%")
            if name in ("request_id", "peer"):
                shown = '"%s"' if is_json else "%s"
            elif name in ("duration_ms", "prompt_tokens", "completion_tokens"):
                shown = "%s"
            piece = f',"{name}":{shown}' if is_json else f" {name}={shown}"
            self._template += piece
            if not name.endswith("_tokens"):
                self._without_tokens += piece
        begin, end = (_JSON, "}") if is_json else (_TEXT, "")
        self._template = begin + self._template + end
        self._without_tokens = begin + self._without_tokens + end


_JSON = '{"time":"%s","level":"info","logger":"gatewayd.access","message":"request"'
_TEXT = "%s INFO    gatewayd.access: request"


def _is_special(told: str, formatter: LineFormatter) -> bool:
    """Whether a client's text needs more than to be put into a line."""
    return _TO_QUOTE.search(told) is not None or formatter.redactor.clean(told) != told


def _handlers() -> Iterator[logging.Handler]:
    """Those of the access logger and of its parents."""
    logger: logging.Logger | None = _logger
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _handle(handler: logging.Handler, level: int, record: AccessRecord) -> None:
    """The way of any log record. Its message is readable by itself where the fields may not be shown: on a terminal,
    and in a program's own log."""
    if level >= handler.level:
        form = handler.formatter.form if type(handler) is LineHandler else None
        message = "request" if form in ("text", "json") else escape(record.summary)
        slow = logging.LogRecord(_logger.name, level, "", 0, message, None, None)
        slow.fields = record.fields(form or "json")
        handler.handle(slow)


def _line(record: AccessRecord, handler: LineHandler) -> str | None:
    """The record's line if there is nothing special in it, else None."""
    if handler.formatter.form == "terminal":
        return None
    failed = record.failed_text if record.failed else ""
    ours = f"{record.group}{record.deployment}{record.answered_by}{failed}{record.key}"
    chosen = f"{record.request_id}{record.path}{ours}"
    if _TO_QUOTE.search(chosen) is not None:
        return None
    formatter = handler.formatter
    told = f"{record.request_id} {record.path}"  # the rest is not the client's
    if formatter.redactor.clean(told) != told:
        return None
    if formatter.form == "json":
        fields = {"time": _now(), "level": "info", "logger": "gatewayd.access", "message": "request"}
        return msgspec.json.encode(fields | record.fields()).decode()
    return f"{_now()} INFO    gatewayd.access: request {_text(record)}"


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
            f" failed={r.failed_text}" if r.failed else "",
            f" code={r.code}" if r.code else "",
            f" duration_ms={round(r.duration * 1000, 2)}",
            "" if r.ttft is None else f" ttft_ms={round(r.ttft * 1000, 2)}",
            "" if r.prompt_tokens is None else f" prompt_tokens={r.prompt_tokens}",
            "" if r.completion_tokens is None else f" completion_tokens={r.completion_tokens}",
            f" key={r.key}" if r.key else "",
            f" peer={r.peer} revision={r.revision}" if r.revision else f" peer={r.peer}",
        )
    )
