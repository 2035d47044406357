"""Log lines: one record, one line, no secret, no exception."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.observe.log import LineFormatter, LogFormat, set_up
from gatewayd.observe.redact import Redactor

SECRET = 'sk-live-"quoted"-é-0123456789'


@pytest.fixture(autouse=True)
def _root_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    flags = logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags


def line_of(form: LogFormat, message: str, *args: object, redactor: Redactor | None = None, **extra: Any) -> str:
    record = logging.LogRecord("gatewayd.test", logging.INFO, "", 0, message, args, extra.pop("exc_info", None))
    record.__dict__.update(extra)
    return LineFormatter(form, redactor or Redactor()).format(record)


def test_a_text_line_has_time_level_logger_message_and_fields() -> None:
    line = line_of("text", "loaded %d", 3, fields={"revision": "abc", "why": "a save", "empty": ""})
    stamp, rest = line.split(" ", 1)
    assert stamp.endswith("Z")
    assert rest == 'INFO    gatewayd.test: loaded 3 revision=abc why="a save" empty=""'


def test_a_json_line_is_one_object() -> None:
    line = json.loads(line_of("json", "loaded %d", 3, fields={"revision": "abc", "odd": {1}}))
    assert line["message"] == "loaded 3"
    assert (line["level"], line["logger"], line["revision"], line["odd"]) == ("info", "gatewayd.test", "abc", [1])


def test_setting_up_again_replaces_what_was() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up("text", "info", Redactor(), stream=first)
    set_up("json", "warning", Redactor(), stream=second)
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "yes"


def test_details_of_other_packages_are_not_written() -> None:
    """D-04: they hold prompts and tokens."""
    stream = io.StringIO()
    set_up("json", "debug", Redactor(), stream=stream)
    for name in ("gatewayd.test", "gatewayd", "openai._base_client", "botocore.auth", "gatewaydish"):
        logging.getLogger(name).debug("a detail")
        logging.getLogger(name).info("a detail")
        logging.getLogger(name).warning("a warning")
    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in written if line["message"] == "a detail"] == ["gatewayd.test"] * 2 + [
        "gatewayd"
    ] * 2
    assert len(written) == 9


@pytest.mark.parametrize("form", ["text", "json"])
@given(text=st.text(st.characters(), max_size=60))
def test_no_text_can_forge_a_line(form: LogFormat, text: str) -> None:
    """C-07: whatever a client sends; lone surrogates too."""
    fields = {"path": text, "request_id": text}
    try:
        raise ValueError(text)
    except ValueError:
        trace = sys.exc_info()
    line, *more = line_of(form, "seen %s", text, fields=fields, exc_info=trace).split("\n")
    for part in (line, *more):
        assert not any(char in part for char in map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029]))
        part.encode()
    if form == "json":
        assert not more
        assert json.loads(line)["message"].encode("utf-16", "surrogatepass") == f"seen {text}".encode(
            "utf-16", "surrogatepass"
        )
    else:
        assert all(part.startswith("  | ") for part in more)


@pytest.mark.parametrize("form", ["text", "json"])
def test_known_secrets_are_replaced_wherever_they_stand(form: LogFormat) -> None:
    """D-02, D-03, D-04: message, arguments, fields, tracebacks; the short ones are words."""
    redactor = Redactor()
    redactor.know([SECRET, "abc", "sk-live"])
    redactor.know(["another-secret", SECRET[:20]])
    try:
        raise ValueError(f"url?key={SECRET}")
    except ValueError:
        trace = sys.exc_info()
    line = line_of(
        form,
        f"abc Bearer {SECRET} %s another-secret",
        SECRET,
        redactor=redactor,
        fields={"key": SECRET, "list": [SECRET]},
        exc_info=trace,
    )
    assert "live" not in line
    assert "quoted" not in line
    assert "another" not in line
    assert "abc" in line
    assert line.count("***") >= 5


class Unreliable(io.StringIO):
    broken = True

    def write(self, text: str) -> int:
        if self.broken:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_log_that_cannot_be_written_loses_lines_and_says_how_many() -> None:
    """G-01"""
    stream = Unreliable()
    set_up("text", "info", Redactor(), stream=stream)
    for _ in range(3):
        logging.getLogger("x").warning("lost")
    stream.broken = False
    logging.getLogger("x").warning("written")
    logging.getLogger("x").warning("again")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("3 log lines before this one were lost")
    assert [line.rpartition(" ")[2] for line in lines[1:]] == ["written", "again"]


@pytest.mark.parametrize("stderr", ["/dev/full", "closed", "a pipe nobody reads", "/dev/null"])
def test_a_full_closed_or_broken_stderr_is_no_fault(stderr: str) -> None:
    """G-01, F-09: in a process of its own, to its very end."""
    program = """
import logging, os, sys
if sys.argv[1] == "a pipe nobody reads":
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 2)
from gatewayd.observe.log import set_up
from gatewayd.observe.redact import Redactor
handler = set_up("json", "info", Redactor())
logging.getLogger("x").error("a line")
logging.getLogger("x").error("a line")
print(handler.dropped)
"""
    redirect = {"closed": "2>&-", "a pipe nobody reads": ""}.get(stderr, f"2>{stderr}")
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" "$2" {redirect}', sys.executable, program, stderr],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["0" if stderr == "/dev/null" else "2"]
    assert done.stderr == ""


def test_a_call_with_wrong_arguments_is_told_not_raised() -> None:
    stream = io.StringIO()
    set_up("text", "info", Redactor(), stream=stream)
    logging.getLogger("gatewayd.x").info("%d", "no number")
    assert "could not be formatted: TypeError" in stream.getvalue()


def on_stderr(script: str, **environ: str) -> str:
    """What a program logs whose stderr is a terminal."""
    main, other = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "TERM": "xterm", **environ}
    done = subprocess.run([sys.executable, "-c", LOGS + script], stderr=other, env=environ, check=False)
    os.close(other)
    assert done.returncode == 0
    text = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while piece := os.read(main, 65536):
            text += piece
    os.close(main)
    return text.decode()


LOGS = """
import logging
from gatewayd.observe.log import finish, set_up
from gatewayd.observe.redact import Redactor
log = logging.getLogger("gatewayd.x")
"""


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_on_a_terminal_text_is_short_and_coloured(environ: dict[str, str], coloured: bool) -> None:
    """U-D1: NO_COLOR is honoured."""
    text = on_stderr('set_up("text", "info", Redactor()); log.warning("careful"); finish()', **environ)
    warning = "\x1b[33mwarning\x1b[0m" if coloured else "warning"
    assert re.fullmatch(rf"\S*\d\d:\d\d:\d\d\S* {re.escape(warning)}: careful\r\n", text)


def test_on_a_terminal_json_stays_json() -> None:
    """U-D1"""
    text = on_stderr('set_up("json", "info", Redactor()); log.info("hello"); finish()')
    assert json.loads(text)["message"] == "hello"


@pytest.mark.parametrize("of_stderr", [True, False])
def test_lines_for_the_journal_begin_with_their_priority(tmp_path: Path, of_stderr: bool) -> None:
    """U-D2: so that `journalctl -p warning` works; not where stderr was redirected."""
    script = f"""{LOGS}
set_up("text", "debug", Redactor())
for level in (10, 20, 30, 40, 50):
    log.log(level, "first\\nsecond")
finish()
"""
    with open(tmp_path / "journal", "w+b") as file:
        status = os.fstat(file.fileno())
        told = f"{status.st_dev}:{status.st_ino + (not of_stderr)}"
        environ = {**os.environ, "JOURNAL_STREAM": told}
        subprocess.run([sys.executable, "-c", script], stderr=file, env=environ, check=True)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert [line.rsplit(" ", 1)[-1] for line in lines] == ["first", "second"] * 5
    found = [match[1] if (match := re.match(r"<(\d)>", line)) else "" for line in lines]
    assert found == (["7", "7", "", "", "4", "4", "3", "3", "2", "2"] if of_stderr else [""] * 10)
