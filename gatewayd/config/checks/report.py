"""Collects problems and gives each its place in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gatewayd.config.document import Document, Path, dotted, shortened
from gatewayd.config.problems import Problem, Severity
from gatewayd.config.secrets import without_keys
from gatewayd.suggest import did_you_mean

MAX_REPORTED = 500
"""Of each severity. More than anyone reads; limits time and memory for a file full of mistakes."""

MAX_SUGGESTIONS = 200


NEVER_SKIPPED = frozenset({"unsupported_key", "file_writable", "exposed_without_key"})
"""Codes of errors that refuse the file despite `on_invalid_deployment`, because the key would protect something."""


class Report:
    """The findings of one validation, in the order they were made."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.skips = False
        """Whether an entry of `model_list` or `credential_list` with an error is left out, and the error a warning."""
        self.left_out: dict[int, str] = {}
        """Entries of `model_list` with such an error: their index, and the first message."""
        self._problems: list[Problem] = []
        self._counts: Counter[Severity] = Counter()
        self._repeated: dict[tuple[str, str], tuple[int, int]] = {}
        self._failed: set[Path] = set()
        self.referenced: set[Path] = set()
        """Paths with a resolved reference: the resolved value is never shown."""
        self._suggestions: dict[tuple[str, frozenset[str]], str | None] = {}
        self.has_errors = any(problem.severity == "error" for problem in document.problems)
        self._stops = self.has_errors

    def error(self, code: str, path: Path, message: str, hint: str | None = None, *, at_key: bool = False) -> None:
        self._failed.add(path)
        index = _entry_of(path) if code not in NEVER_SKIPPED else None
        if index is not None and path[0] == "model_list":
            self.left_out.setdefault(index, message)
        if index is None or not self.skips:
            self._stops |= index is None
            self._add(code, path, message, hint, "error", at_key)
        else:
            what = "credential" if path[0] == "credential_list" else "deployment"
            self._add(code, path, f"this {what} is left out: {message}", hint, "warning", at_key)

    def warning(self, code: str, path: Path, message: str, hint: str | None = None, *, at_key: bool = False) -> None:
        self._add(code, path, message, hint, "warning", at_key)

    def once(self, code: str, path: Path, message: str, hint: str | None = None) -> None:
        """A warning about a key that may be in thousands of entries: reported for the first, with a count."""
        group = code, dotted(tuple(0 if isinstance(part, int) else part for part in path))
        if group in self._repeated:
            index, count = self._repeated[group]
            self._repeated[group] = index, count + 1
        elif self._add(code, path, message, hint, "warning", True):
            self._repeated[group] = len(self._problems) - 1, 1

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Adds problems that already have their places."""
        for problem in problems:
            self._counts[problem.severity] += 1
            if self._counts[problem.severity] <= MAX_REPORTED:
                self._problems.append(problem)
            self.has_errors |= problem.severity == "error"
            self._stops |= problem.severity == "error"

    def offer_to_skip(self, entries: int) -> None:
        """Adds the setting that would skip the invalid entries to the first error's hint, if there are no other
        errors."""
        if self.skips or self._stops or not self.left_out or len(self.left_out) >= entries:
            return
        first = next((index for index, problem in enumerate(self._problems) if problem.severity == "error"), None)
        if first is None:
            return
        rest = entries - len(self.left_out)
        setting = "`gatewayd: {on_invalid_deployment: skip}` or --on-invalid-deployment skip"
        offer = f"to serve the other {rest} of model_list meanwhile, use {setting}"
        problem = self._problems[first]
        self._problems[first] = replace(problem, hint=offer if problem.hint is None else f"{problem.hint}; {offer}")

    def failed_below(self, path: Path) -> bool:
        """Whether an error was found at this path or below it."""
        return any(failed[: len(path)] == path for failed in self._failed)

    def failed(self, path: Path) -> bool:
        """Whether there is an error at exactly this path, so that a second one would not help."""
        return path in self._failed

    def suggest(self, name: str, candidates: frozenset[str]) -> str | None:
        """`did you mean '...'?`, or None. Stops after some hundred different names, because each costs milliseconds."""
        asked = name, candidates
        if asked not in self._suggestions and len(self._suggestions) < MAX_SUGGESTIONS:
            self._suggestions[asked] = did_you_mean(name, candidates)
        return self._suggestions.get(asked)

    def quote(self, path: Path, text: str) -> str:
        """The text at `path` for a message: quoted, shortened, without control characters or keys; or a replacement."""
        if path in self.referenced:
            return "of the name it refers to"
        return f"'{shortened(without_keys(text))}'"

    def spelling(self, path: Path) -> str | None:
        return self._document.spelling(path)

    def problems(self) -> tuple[Problem, ...]:
        """All problems, those from reading first."""
        found = list(self._problems)
        for index, count in self._repeated.values():
            if count > 1:
                found[index] = replace(found[index], message=f"{found[index].message} ({count} times in all)")
        for severity, count in self._counts.items():
            if count > MAX_REPORTED:
                message = f"{count - MAX_REPORTED} more {severity}s are not shown"
                found.append(Problem("too_many_problems", message, severity=severity))
        return (*self._document.problems, *found)

    def _add(self, code: str, path: Path, message: str, hint: str | None, severity: Severity, at_key: bool) -> bool:
        self.has_errors |= severity == "error"
        self._counts[severity] += 1
        if self._counts[severity] > MAX_REPORTED:
            return False
        place = self._document.locate(path, at_key)
        problem = Problem(code, message, dotted(path), place.file, place.line, place.column, hint, severity)
        self._problems.append(problem)
        return True


def _entry_of(path: Path) -> int | None:
    """The index of the entry that contains a path, if it is in a list that may have invalid entries."""
    if len(path) > 1 and path[0] in ("model_list", "credential_list") and isinstance(path[1], int):
        return path[1]
    return None
