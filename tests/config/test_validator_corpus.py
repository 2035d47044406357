"""The validator on the corpora: every bad file earns exactly what it announces, every good one means what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.codes import PROBLEM_CODES
from gatewayd.config.problems import Problem
from gatewayd.config.validator import ConfigValidator
from tests.config.corpus import ABOUT_PERMISSIONS, BAD, CONFIGS, GOOD, ROOT, Expected, expectations, facts, look_up

CONFIG_ENVIRON = {
    **dict.fromkeys(
        ("OPENAI_API_KEY", "OPENAI_KEY_A", "OPENAI_KEY_B", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"),
        "sk-0123456789abcdef0123",
    ),
    "AZURE_OPENAI_API_KEY": "0123456789abcdef0123",
    "AZURE_OPENAI_ENDPOINT": "https://my-resource.openai.azure.com",
    "GEMINI_API_KEY": "AIza0123456789abcdef",
    "GATEWAYD_MASTER_KEY": "sk-0123456789abcdef0123",
}

# Codes that no file in the corpora can earn, because the mistake is not in the file's text; other tests name them.
ELSEWHERE = {
    "config_missing", "config_unreadable", "config_not_a_file", "config_too_large", "config_limit", "config_value",
    "config_reader_failed", "yaml_encoding", "include_elsewhere", "too_many_problems", "file_writable",
    "secret_readable", "retired_model",
}  # fmt: skip
OF_THE_ENGINE = {
    "litellm_unavailable", "build_failed", "listen_failed", "reload_failed", "shutting_down",
    "last_good_secret", "last_good_unwritable", "last_good_missing", "last_good_served",
}  # fmt: skip


def found(problems: tuple[Problem, ...]) -> list[Expected]:
    mine = (p for p in problems if p.code not in ABOUT_PERMISSIONS)
    return sorted(Expected(p.code, p.path, p.line, p.column) for p in mine)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file_earns_what_it_announces(path: Path) -> None:
    """E-10 to E-16: all problems in one pass, each with its code, path, line and column."""
    expected, environ = expectations(path)
    result = ConfigValidator(environ=environ).check(path)
    assert found(result.problems) == expected
    assert expected
    severities = {problem.severity for problem in result.problems if problem.code not in ABOUT_PERMISSIONS}
    assert (result.snapshot is None) == ("error" in severities)
    for problem in result.problems:
        assert problem.code in PROBLEM_CODES
        assert Path(problem.file).is_relative_to(path.parent)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_means_what_stands_beside_it(path: Path) -> None:
    expected: Any = facts(path)
    result = ConfigValidator(environ=expected["environ"]).check(path)
    problems = [p for p in result.problems if p.code not in ABOUT_PERMISSIONS]
    assert sorted(f"{p.code} {p.path}" for p in problems) == sorted(expected.get("warnings", []))
    assert result.snapshot is not None
    wanted = expected["facts"]
    assert {place: look_up(result.snapshot, place) for place in wanted} == wanted


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_example_is_clean(path: Path) -> None:
    result = ConfigValidator(environ=CONFIG_ENVIRON).check(path)
    assert result.snapshot is not None
    assert [p for p in result.problems if p.code not in ABOUT_PERMISSIONS] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_example_names_the_environment_it_needs(path: Path) -> None:
    """A reader can find every variable in the file's own comments, or beside the file that includes it."""
    text = path.read_text(encoding="utf-8")
    told = text + "".join(other.read_text(encoding="utf-8") for other in path.parent.glob("gatewayd.yaml"))
    for name in set(re.findall(r"os\.environ/(\w+)", text)):
        assert re.search(rf"^ *#.*\b{name}\b", told, re.MULTILINE), name


def test_quickstart_needs_nothing() -> None:
    result = ConfigValidator(environ={}).check(ROOT / "configs" / "quickstart.yaml")
    assert result.snapshot is not None
    assert {d.kind for d in result.snapshot.deployments} == {"scripted"}


def test_every_problem_code_has_a_bad_file_or_a_named_test() -> None:
    codes = {expected.code for path in BAD for expected in expectations(path)[0]}
    for path in (ROOT / "tests" / "config" / "bad_yaml").glob("*.yaml"):
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        codes.add(first.removeprefix("# ").split()[0])
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    for code in ELSEWHERE:
        assert any(f'"{code}"' in text for text in tests), f"no test names {code}"
    assert set(PROBLEM_CODES) - codes - ELSEWHERE - OF_THE_ENGINE == set()
