"""The tables of docs/developers/contracts.md: which test covers which fault case.

A test covers a case by naming it (`A-03`) in its docstring, in a comment, or in a table at the top of its module that
it uses. The cases are listed in docs/contracts.toml.
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
BEGIN = "<!-- Made by docs/contracts.py from contracts.toml and the tests. -->"
END = "<!-- End of the made part. -->"

_NAME = re.compile(r"\b[A-H]-\d\d\b(?!-)")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    text: str
    open: str
    """What is not tested, and why; "" if everything is."""


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A test that names a case."""

    file: str
    """Path below tests/."""
    test: str


def chapters() -> list[tuple[str, list[Case]]]:
    """(title, cases) as listed."""
    listed = tomllib.loads((HERE / "contracts.toml").read_text(encoding="utf-8"))
    return [
        (
            chapter["title"],
            [Case(name, text, chapter.get("open", {}).get(name, "")) for name, text in chapter["case"].items()],
        )
        for chapter in listed["chapter"]
    ]


@functools.cache
def pins() -> dict[str, list[Pin]]:
    """Case names in tests, each with the tests that name it."""
    found: dict[str, set[Pin]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path.name == "test_contracts.py":  # names cases to test this module, and pins none
            continue
        for test, names in named_in(path.read_text(encoding="utf-8")):
            for name in names:
                found.setdefault(name, set()).add(Pin(path.relative_to(TESTS).as_posix(), test))
    return {name: sorted(tests) for name, tests in sorted(found.items())}


def named_in(source: str) -> Iterator[tuple[str, set[str]]]:
    """Every test of a module with the cases it names itself or through the module's tables it uses."""
    lines = source.splitlines()
    tables: dict[str, set[str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names = _names(lines, node)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and names:
                    tables[target.id] = names
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            yield node.name, _names(lines, node).union(*(tables[name] for name in used & tables.keys()))


def _names(lines: list[str], node: ast.stmt) -> set[str]:
    """The cases named from a statement's first decorator, or the comment right above it, to its end."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return set(_NAME.findall("\n".join(lines[first : node.end_lineno])))


def contracts() -> str:
    """The page with new tables; the rest of it is written by hand."""
    page = (HERE / "developers" / "contracts.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def table() -> str:
    listed, pinned = chapters(), pins()
    cases = [case for _, chapter in listed for case in chapter]
    named = sum(case.name in pinned for case in cases)
    parts = [
        f"Tests cover {named} of {len(cases)} cases; the others say what they wait for. We compared each case with\n"
        "its tests, and broke more than a hundred behaviours by hand to see a test fail, but not for every test.\n"
    ]
    for title, chapter in listed:
        parts.append(f"### {title}\n\n| Case | What happens | Tests |\n|---|---|---|")
        parts.extend(
            f"| {case.name} | {_cell(case.text)} | {_where(case, pinned.get(case.name, []))} |" for case in chapter
        )
        parts.append("")
    return "\n".join(parts)


def _where(case: Case, tests: list[Pin]) -> str:
    files: dict[str, list[str]] = {}
    for pin in tests:
        files.setdefault(pin.file, []).append(pin.test.removeprefix("test_"))
    cells = [f"[{file}](../../tests/{file}): {', '.join(names)}" for file, names in files.items()]
    if case.open:
        cells.append(f"*not tested{' yet' if not tests else ''}: {_cell(case.open)}*")
    return "<br>".join(cells)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
