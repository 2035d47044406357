"""Log lines on stderr, as text or JSON: how they look, and what must never be in them.

Control characters of whatever was logged are escaped, so that no client can forge a line; what is said in several lines
(a traceback, a list of problems) is indented behind its first, or one JSON string.
Known secrets are replaced in the finished text, tracebacks included: the second defence, `Secret` being the first.
A log that cannot be written (closed, disk full) costs lines and nothing else; they are counted, and told of later.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

from gatewayd.observe.escape import escape, escape_json
from gatewayd.observe.redact import Redactor
from gatewayd.observe.stderr import Unblocked, is_journal
from gatewayd.secret import MASK

LogFormat = Literal["text", "json", "terminal"]
"""terminal: for people, short and in colours; what `text` becomes where stderr is a terminal."""
Level = Literal["debug", "info", "warning", "error"]

SOON = 0.05
"""Seconds that a line about a request may wait for others, so that they share a system call."""
_MOST_AT_ONCE = 256
_lost = 0

ACCESS = "gatewayd.access"
"""The logger of requests (`observe.access`)."""
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
_DIM = "2"
_STATUS_COLOURS = {"2": "32", "4": "33", "5": "31"}
_LEVEL_COLOURS = {"warning": "33", "error": "31", "critical": "31"}

_HALF_ESCAPE = re.compile(rf"(?<!\\)\\(?:\\\\)*(?={re.escape(MASK)})")
"""An odd number of backslashes before what took a secret's place."""

_encode = msgspec.json.encode


class LineFormatter(logging.Formatter):
    """One record, one line; in text form further lines of its message and a traceback follow, marked so that none of
    them looks like a record.

    `extra={"fields": {...}}` of a log call adds named values; `extra={"details": {...}}` adds them to JSON only, where
    the message says the same in words.
    """

    def __init__(self, form: LogFormat, redactor: Redactor, *, colours: bool = False) -> None:
        super().__init__()
        self.form = form
        self.redactor = redactor
        self.colours = colours
        """Of the form `terminal`."""

    def format(self, record: logging.LogRecord) -> str:
        if self.form != "json":
            text = self._as_text(record) if self.form == "text" else self._as_terminal(record)
            return self.redactor.clean(text)
        text = self._as_json(record)
        clean = self.redactor.clean(text)
        # A secret that begins with an `n` is found behind the backslash of a line end too.
        return clean if clean is text else _HALF_ESCAPE.sub(r"\\\g<0>", clean)

    def _as_json(self, record: logging.LogRecord) -> str:
        line = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
            **getattr(record, "details", {}),
        }
        if trace := self._trace(record):
            line["trace"] = trace
        try:
            text = _encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # lone surrogates
            text = json.dumps(line, default=str)
        return escape_json(text)

    def _as_text(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        message, *more = record.getMessage().split("\n")
        text = f"{stamp(record.created)} {record.levelname:7} {record.name}: {message}"
        if fields:
            text = f"{text} {' '.join([f'{name}={_value(value)}' for name, value in fields.items()])}"
        if trace := self._trace(record):
            more += trace.split("\n")
        return escape(text) + "".join([f"\n  | {escape(line)}" for line in more])

    def _as_terminal(self, record: logging.LogRecord) -> str:
        """Time of day, level if it is worth one, message. Requests begin with their status."""
        first, *more = record.getMessage().split("\n")
        text = escape(first)
        fields = getattr(record, "fields", {})
        if record.name == ACCESS:
            status, rest = text[:3], text[3:]
            text = self._paint(status, _STATUS_COLOURS.get(status[:1], _DIM) if status != "499" else _DIM) + rest
        elif fields:
            values = " ".join([f"{name}={_value(value)}" for name, value in fields.items()])
            text = f"{text} {self._paint(escape(values), _DIM)}"
        if record.levelno != logging.INFO:
            level = record.levelname.lower()
            text = f"{self._paint(level, _LEVEL_COLOURS.get(level, _DIM))}: {text}"
        if trace := self._trace(record):
            more += trace.split("\n")
        time = f"{datetime.fromtimestamp(record.created).astimezone():%H:%M:%S}"
        return f"{self._paint(time, _DIM)} {text}" + "".join([f"\n  | {escape(line)}" for line in more])

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours else text

    def _trace(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return f"{trace}\n{record.stack_info}" if record.stack_info else trace


class LineHandler(logging.Handler):
    """Writes whole lines to a stream and never raises, blocks on nothing but the stream (stderr: on nothing), prints
    nothing by itself."""

    def __init__(self, stream: TextIO | Unblocked | None, formatter: LineFormatter, *, journal: bool = False) -> None:
        """`journal`: journald reads the stream, so lines begin with their priority unless it is journald's default."""
        super().__init__()
        self._journal = journal
        self.formatter: LineFormatter = formatter
        self._stream = stream
        self._soon: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.dropped = 0
        """Lines lost since the last one that could be written."""

    def write_soon(self, line: str) -> None:
        """Takes a finished line of which there are many: what comes within SOON seconds is written in one go, in order
        with all other lines. Without a running event loop it is written now."""
        self._soon.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if len(self._soon) >= _MOST_AT_ONCE:
            self.flush()
        elif self._loop is not loop:
            self._loop = loop
            loop.call_later(SOON, self.flush)

    def flush(self) -> None:
        self._loop = None
        if self._soon:
            lines, self._soon = self._soon, []
            self._write("\n".join(lines), len(lines))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.formatter.format(record)
        except Exception as error:
            text = f"a log line of {record.name} could not be formatted: {type(error).__name__}"
        self.flush()
        self._write(self._marked(text, record.levelno), 1)

    def _marked(self, text: str, level: int) -> str:
        """With the priority of syslog before each line (sd-daemon(3)): journald takes each for an entry of its own."""
        if not self._journal or level == logging.INFO:
            return text
        priority = next((priority for least, priority in _PRIORITIES if level >= least), 7)
        return "\n".join([f"<{priority}>{line}" for line in text.split("\n")])

    def _write(self, text: str, lines: int) -> None:
        try:
            if self._stream is None:
                raise ValueError("there is no stderr")
            if self.dropped:
                text = f"{self._notice()}\n{text}"
            self._stream.write(f"{text}\n")
            self._stream.flush()
            self.dropped = 0
        except (OSError, ValueError):  # full, closed, or its reader is gone
            global _lost
            self.dropped += lines
            _lost += lines

    def _notice(self) -> str:
        message = f"{self.dropped} log lines before this one were lost"
        text = self.formatter.format(logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None))
        return self._marked(text, logging.WARNING)


def lost_lines() -> int:
    """Lines that this process could not write."""
    return _lost


def set_up(form: LogFormat, level: Level, redactor: Redactor, *, stream: TextIO | None = None) -> LineHandler:
    """Makes the root logger write lines to `stream` (default: stderr) and nothing else. May be called again.

    On a terminal, `text` is short and coloured. Lines that journald reads have their priority.
    """
    colours = journal = False
    if stream is None and (error := _standard_error()) is not None:
        journal = is_journal(error.descriptor, os.environ.get("JOURNAL_STREAM", ""))
        if form == "text" and os.isatty(error.descriptor):
            form = "terminal"
            colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    formatter = LineFormatter(form, redactor, colours=colours)
    handler = LineHandler(stream or _standard_error(), formatter, journal=journal)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    handler.addFilter(_is_ours)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # Costs of LogRecord that no line shows.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    return handler


def _is_ours(record: logging.LogRecord) -> bool:
    """Of other packages only warnings are written: the openai package's details hold prompts, botocore's the session
    tokens that it found in the environment, which no redactor knows."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "gatewayd"


def finish(seconds: float = 1.0) -> None:
    """At the end of the process: gives a slow reader of stderr so long to take what is left."""
    if (stream := _standard_error()) is not None:
        for handler in logging.getLogger().handlers:
            handler.flush()
        stream.finish(seconds)


@functools.cache
def _standard_error() -> Unblocked | None:
    try:
        return Unblocked(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    except (OSError, ValueError):
        return None


def stamp(seconds: float) -> str:
    """UTC, to the millisecond (RFC 3339); `seconds` since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: object) -> str:
    text = str(value)
    return (
        text
        if text.isprintable() and text and not set(text) & {" ", '"', "="}
        else json.dumps(text, ensure_ascii=False)
    )
