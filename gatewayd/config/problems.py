"""One finding of the validator, and the three ways to print findings (text, JSON, GitHub annotations)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]
ProblemFormat = Literal["text", "json", "github"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what to do. `message` and `hint` never hold a secret's text.

    `path` is dotted with list indices in brackets: `model_list[2].litellm_params.rpm`. `line` and `column` count
    from 1; 0 means the problem has no place in a file (a dict given from code).
    """

    code: str
    message: str
    path: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    hint: str | None = None
    severity: Severity = "error"

    def as_text(self) -> str:
        """`file:line:col: error[code] path: message`, and the hint on a line of its own."""
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        subject = f" {self.path}" if self.path else ""
        text = f"{place}{self.severity}[{self.code}]{subject}: {self.message}"
        return text if self.hint is None else f"{text}\n    hint: {self.hint}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "code": self.code,
            "path": self.path,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }

    def as_github(self) -> str:
        """A workflow command that annotates the line in a pull request."""
        text = self.message if self.hint is None else f"{self.message} ({self.hint})"
        return (
            f"::{self.severity} file={_escape(self.file, True)},line={self.line},col={self.column},"
            f"title={_escape(f'{self.code} {self.path}'.strip(), True)}::{_escape(text, False)}"
        )


def errors(problems: Iterable[Problem]) -> list[Problem]:
    return [p for p in problems if p.severity == "error"]


def warnings(problems: Iterable[Problem]) -> list[Problem]:
    return [p for p in problems if p.severity == "warning"]


def render(problems: Sequence[Problem], form: ProblemFormat = "text") -> str:
    """All problems, errors first, each group in file order. An empty sequence gives `""` (`[]` as JSON)."""
    ordered = sorted(problems, key=lambda p: (p.severity != "error", p.file, p.line, p.column, p.path))
    if form == "json":
        return json.dumps([p.as_dict() for p in ordered], ensure_ascii=False, indent=1)
    return "\n".join(p.as_github() if form == "github" else p.as_text() for p in ordered)


def _escape(text: str, is_property: bool) -> str:
    for char, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(char, code)
    if is_property:
        text = text.replace(":", "%3A").replace(",", "%2C")
    return text
