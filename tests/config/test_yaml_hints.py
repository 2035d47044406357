"""The corpus of bad files: each names in its first line the code, the place and words of the hint it must earn."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gatewayd.config.source import read
from gatewayd.config.yaml_hints import explain_syntax_error

CORPUS = sorted((Path(__file__).parent / "bad_yaml").glob("*.yaml"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_bad_file(path: Path) -> None:
    """E-10, E-12, E-14."""
    expected, _, hint = path.read_text().splitlines()[0].removeprefix("# ").partition("|")
    (problem,) = read(path).problems
    assert f"{problem.code} {problem.line}:{problem.column}" == expected.strip()
    assert hint.strip() in (problem.hint or "")
    assert problem.file == str(path)


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) > 40


def test_hints_do_not_quote_values() -> None:
    """D-02: what follows a colon may be a key."""
    for text in ("api_key:sk-secret\nb: 1", 'api_key: "sk-secret', "api_key: sk-secret: x", "a: 1\n sk-secret: b"):
        with pytest.raises(yaml.YAMLError) as caught:
            yaml.safe_load(text)
        found = explain_syntax_error(caught.value, text.splitlines())
        assert "sk-secret" not in found.message + (found.hint or "")


def test_an_error_without_a_place_is_put_at_the_start() -> None:
    found = explain_syntax_error(ValueError("secret"), [])
    assert (found.line, found.column, found.hint) == (1, 1, None)
    assert "secret" not in found.message
