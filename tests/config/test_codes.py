"""The list of problem codes is closed: none is used that is not listed, none is listed that is not used."""

from __future__ import annotations

import re
from pathlib import Path

import gatewayd.config
from gatewayd.config.codes import PROBLEM_CODES

PACKAGE = Path(gatewayd.config.__file__).parent
READING = re.compile(r'"((?:config|yaml|include|reference|environment)_[a-z_]+)"')
READERS = ["rawfile.py", "source.py", "include.py", "secrets.py", "child.py", "loader.py", "yaml_*.py"]


def codes_in(pattern: str) -> set[str]:
    return {code for path in PACKAGE.rglob(pattern) for code in READING.findall(path.read_text())}


def test_codes_of_reading_are_listed() -> None:
    used = {code for pattern in READERS for code in codes_in(pattern)}
    assert used - {"environment_variables"} - set(PROBLEM_CODES) == set()


def test_listed_codes_of_reading_are_used() -> None:
    used = {code for path in PACKAGE.rglob("*.py") if path.name != "codes.py" for code in codes_in(path.name)}
    assert {code for code in PROBLEM_CODES if READING.fullmatch(f'"{code}"')} - used == set()


def test_every_code_has_one_sentence() -> None:
    for code, meaning in PROBLEM_CODES.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
        assert meaning[0].isupper() or meaning[0] == "`"
        assert meaning.endswith(".")
