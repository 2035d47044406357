"""The list of fault cases, the tests that name them, and the page that says which is which agree."""

from __future__ import annotations

import re

from docs import contracts

LISTED = {case.name: case for _, chapter in contracts.chapters() for case in chapter}
PAGE = (contracts.HERE / "developers" / "contracts.md").read_text(encoding="utf-8")

LETTERS = {"A": 43, "B": 27, "C": 14, "D": 20, "E": 34, "F": 12, "G": 13, "H": 6}

MODULE = '''
"""About A-09."""

# B-02: a table with a comment
TABLE = [("x", 1)]  # A-01
OTHER = {"y": "A-05"}


# C-01
@mark(TABLE)
def test_one():
    """Names A-02, and A-03: not XA-04, nor A-123, nor A-04-11."""


async def test_two():
    pass  # D-01


def helper():
    """E-01"""
'''


def test_every_case_is_listed_once_with_a_text() -> None:
    assert list(LISTED) == [f"{letter}-{n:02}" for letter, count in LETTERS.items() for n in range(1, count + 1)]
    assert all(case.text for case in LISTED.values())


def test_every_case_has_a_test_or_a_reason() -> None:
    pinned = contracts.pins()
    assert [name for name, case in LISTED.items() if name not in pinned and not case.open] == []


def test_whatever_names_a_case_names_a_real_one() -> None:
    assert contracts.pins().keys() <= LISTED.keys()
    assert {name for name in re.findall(r"\b[A-H]-\d\d\b", PAGE)} <= LISTED.keys()


def test_every_test_on_the_page_exists() -> None:
    rows = re.findall(r"\[([\w/.]+)\]\(\.\./\.\./tests/\1\): ([\w, ]+)", PAGE)
    assert len(rows) > 100
    for file, tests in rows:
        there = set(
            re.findall(r"^(?:async )?def test_(\w+)", (contracts.TESTS / file).read_text("utf-8"), re.MULTILINE)
        )
        assert {test.strip() for test in tests.split(",")} <= there, file


def test_every_promise_is_stated() -> None:
    assert re.findall(r"^\* \*\*([RS]\d+)\. ", PAGE, re.MULTILINE) == [
        *(f"R{n}" for n in range(1, 15)),
        *(f"S{n}" for n in range(1, 9)),
    ]


def test_a_test_names_a_case_in_its_text_or_in_a_table_it_uses() -> None:
    assert dict(contracts.named_in(MODULE)) == {
        "test_one": {"A-01", "A-02", "A-03", "B-02", "C-01"},
        "test_two": {"D-01"},
    }
