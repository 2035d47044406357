"""Collecting problems."""

from __future__ import annotations

from gatewayd.config.checks.report import MAX_REPORTED, MAX_SUGGESTIONS, Report
from gatewayd.config.document import Document, Path, Position
from gatewayd.config.problems import Problem


def document(*problems: Problem) -> Document:
    def locate(path: Path, key: bool) -> Position:
        return Position("c.yaml", len(path) + 1, 9 if key else 20)

    return Document(tree={}, revision="r", problems=list(problems), locate=locate)


def test_places_are_looked_up() -> None:
    report = Report(document())
    report.error("invalid_value", ("a", 0), "m")
    report.warning("unknown_key", ("b",), "m", "h", at_key=True)
    one, two = report.problems()
    assert (one.path, one.line, one.column, one.severity) == ("a[0]", 3, 20, "error")
    assert (two.path, two.line, two.column, two.severity, two.hint) == ("b", 2, 9, "warning", "h")


def test_findings_of_the_reading_come_first_and_count() -> None:
    read = Problem("yaml_key", "m")
    report = Report(document(read))
    report.warning("unknown_key", ("b",), "m")
    assert report.has_errors
    assert report.problems()[0] is read


def test_failed_paths_are_remembered() -> None:
    report = Report(document())
    report.warning("unknown_key", ("a",), "m")
    assert not report.failed(("a",))
    assert not report.has_errors
    report.error("invalid_value", ("a",), "m")
    assert report.failed(("a",))
    assert not report.failed(("a", "b"))


def test_a_flood_is_cut_and_counted_for_each_severity() -> None:
    report = Report(document())
    for index in range(MAX_REPORTED + 7):
        report.warning("unknown_key", ("a", index), "m")
    report.error("invalid_value", ("z",), "m")
    problems = report.problems()
    assert len(problems) == MAX_REPORTED + 2
    assert problems[-1].code == "too_many_problems"
    assert problems[-1].severity == "warning"
    assert "7 more warnings" in problems[-1].message
    for index in range(MAX_REPORTED):
        report.error("invalid_value", ("y", index), "m")
    assert [p.severity for p in report.problems() if p.code == "too_many_problems"] == ["warning", "error"]


def test_once_counts_what_stands_in_many_entries() -> None:
    report = Report(document())
    for index in range(3):
        report.once("ignored_key", ("model_list", index, "tags"), "no tags")
    report.once("ignored_key", ("other",), "another")
    assert [p.message for p in report.problems()] == ["no tags (3 times in all)", "another"]


def test_quotes_are_short_printable_and_never_of_referenced_values() -> None:
    report = Report(document())
    assert report.quote(("a",), "gpt") == "'gpt'"
    assert report.quote(("a",), "two\nlines") == "'two\\nlines'"
    assert len(report.quote(("a",), "x" * 500)) < 100
    report.referenced.add(("a",))
    assert "gpt" not in report.quote(("a",), "gpt")


def test_suggestions_end_before_they_cost_seconds() -> None:
    report = Report(document())
    known = frozenset({"timeout"})
    assert report.suggest("timeotu", known) == "did you mean 'timeout'?"
    for number in range(MAX_SUGGESTIONS):
        report.suggest(f"timeou{number}", known)
    assert report.suggest("tiemout", known) is None
    assert report.suggest("timeotu", known) == "did you mean 'timeout'?"
