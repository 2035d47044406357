"""Forty LiteLLM files in the styles that people publish, and what `gatewayd check` reports about each.

Beside each file, `NN-name.report.yaml` has the exit code, the problems (code and path) and the table of LiteLLM's keys.
After a change that you have reviewed, `python -m tests.config.test_litellm_files` writes the reports again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayd.cli import exits
from gatewayd.config.checks import support
from gatewayd.config.problems import errors
from gatewayd.config.source import read
from gatewayd.config.validator import ConfigValidator
from tests.config.corpus import ABOUT_PERMISSIONS

HERE = Path(__file__).parent / "litellm_files"
FILES = sorted(path for path in HERE.glob("*.yaml") if not path.name.endswith(".report.yaml"))
KEYS = ("OPENAI", "ANTHROPIC", "GROQ", "GEMINI", "OPENROUTER", "AZURE")
ENVIRON = {f"{name}_API_KEY": "sk-0123456789abcdef0123" for name in KEYS} | {
    "LITELLM_MASTER_KEY": "sk-master-0123456789ab",
    "AWS_ACCESS_KEY_ID": "AKIA0123456789ABCDEF",
    "AWS_SECRET_ACCESS_KEY": "0123456789abcdef0123",
    "VERTEX_JSON": "{}",
}


def report(path: Path) -> dict[str, Any]:
    result = ConfigValidator(environ=ENVIRON).check(path)
    found = [problem for problem in result.problems if problem.code not in ABOUT_PERMISSIONS]
    tree = read(path).tree
    accepted = frozenset(tree.get("gatewayd", {}).get("ignore_unsupported", ()))
    table = support.rows(tree, result.problems, accepted)
    return {
        "exit": exits.CONFIG if errors(found) else exits.OK,
        "problems": [f"{problem.code} {problem.path}" for problem in found],
        "rows": {row: keys for row, keys in table.items() if keys},
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_report(path: Path) -> None:
    """U-D11: no key without effect counts as supported, and nothing that works is reported."""
    expected = yaml.safe_load(path.with_suffix(".report.yaml").read_text(encoding="utf-8"))
    assert report(path) == expected


def test_there_are_forty() -> None:
    assert len(FILES) == 40


if __name__ == "__main__":
    for file in FILES:
        text = yaml.safe_dump(report(file), sort_keys=False, width=120)
        file.with_suffix(".report.yaml").write_text(text, encoding="utf-8")
