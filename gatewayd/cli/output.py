"""Output for a terminal: colours only on a terminal, and the one way to print problems."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TextIO

from gatewayd.config.problems import Problem, ProblemFormat, render

_PLACE = re.compile(r"^(?P<place>\S+?:\d+:\d+: )?(?P<severity>error|warning)(?P<code>\[\w+\])", re.MULTILINE)
_COLOURS = {"error": "31", "warning": "33", "ok": "32", "bold": "1", "dim": "2"}


def paint(text: str, style: str, stream: TextIO) -> str:
    """`text` in a colour or weight (`_COLOURS`), if `stream` is a terminal and NO_COLOR is not set (no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m"


def problems_text(problems: Sequence[Problem], form: ProblemFormat, stream: TextIO) -> str:
    """All problems, with a line feed at the end; "" if there are none (JSON: an empty list)."""
    text = render(problems, form)
    if form == "text":
        text = _PLACE.sub(
            lambda found: (
                paint(found["place"] or "", "bold", stream) * bool(found["place"])
                + paint(found["severity"], found["severity"], stream)
                + paint(found["code"], "dim", stream)
            ),
            text,
        )
    return f"{text}\n" if text else ""


def complain(text: str) -> None:
    """One line for a person, on stderr."""
    tell(f"gatewayd: {text}\n")


def tell(text: str) -> None:
    """Prints text to stderr; never fails if stderr is closed or full (F-09)."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # The interpreter would write the rest of the stream again at exit, fail, and change the exit code.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for the life of the process
