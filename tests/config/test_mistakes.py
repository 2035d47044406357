"""The mistakes people make, and whether they are told what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.config.problems import Problem
from gatewayd.config.validator import ConfigValidator

ENTRY = "  - model_name: gpt\n    litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY}\n"
GOOD = f"model_list:\n{ENTRY}"
CANARY = "4815162342481516"


def problems(folder: Path, text: str) -> tuple[bool, list[Problem]]:
    """Whether the file is refused, and what is told about it."""
    file = folder / "gatewayd.yaml"
    file.touch(mode=0o600)
    file.write_text(text)
    result = ConfigValidator(environ={"KEY": "sk-0123456789abcdef"}).check(file)
    return result.snapshot is None, list(result.problems)


TYPOS = {
    "the list of models": (GOOD.replace("model_list", "modle_list"), "modle_list", "model_list", True),
    "a section": (GOOD + "router_setings: {num_retries: 1}\n", "router_setings", "router_settings", False),
    "of an entry": (GOOD + ENTRY.replace("model_name", "modelname"), "modelname", "model_name", True),
    "of the router": (GOOD + "router_settings: {num_retrys: 1}\n", "num_retrys", "num_retries", False),
    "of litellm's settings": (GOOD + "litellm_settings: {falbacks: []}\n", "falbacks", "fallbacks", False),
    "of the general settings": (GOOD + "general_settings: {mater_key: x}\n", "mater_key", "master_key", True),
    "of gatewayd's own": (GOOD + "gatewayd: {lissten: '127.0.0.1:1'}\n", "lissten", "listen", True),
    "of a part of gatewayd's own": (GOOD + "gatewayd: {log: {levle: info}}\n", "levle", "level", True),
}


@pytest.mark.parametrize("name", TYPOS)
def test_an_unknown_key_is_told_with_a_suggestion(name: str, tmp_path: Path) -> None:
    """E-13: an error where it matters, which is in gatewayd's own section and where something is missing then."""
    text, written, meant, refused = TYPOS[name]
    is_refused, told = problems(tmp_path, text)
    assert is_refused is refused
    assert any(p.path.rpartition(".")[2] == written or written in f"{p.message} {p.hint}" for p in told), told
    assert any(f"'{meant}'" in f"{p.message} {p.hint}" or f"{meant} " in f"{p.message} {p.hint}" for p in told), told
    line = next(number for number, line in enumerate(text.splitlines(), 1) if written in line)
    assert line in [p.line for p in told]


TRAPS = {
    f"api_key: {CANARY}": "api_key",
    "api_version: 2024-10-21": "api_version",
    "rpm: 12:30": "rpm",
    "tpm: 1e3": "tpm",
    "order: 010": "order",
    "weight: 0x1F": "weight",
    "organization: 1_000": "organization",
    "num_retries: yes": "num_retries",
    "timeout: 1:30": "timeout",
}


@pytest.mark.parametrize("line", TRAPS)
def test_what_yaml_reads_otherwise_is_refused_and_told_how_to_write(line: str, tmp_path: Path) -> None:
    """E-11: at its place, and without repeating what may be a key."""
    text = GOOD.replace("api_key: os.environ/KEY", "api_key: os.environ/KEY, rpm: 5")
    name = TRAPS[line]
    text = text.replace(f"{name}: os.environ/KEY", line) if name == "api_key" else text.replace("rpm: 5", line)
    is_refused, told = problems(tmp_path, text)
    assert is_refused
    (problem,) = [p for p in told if p.severity == "error"]
    assert (problem.code, problem.path, problem.line) == ("yaml_trap", f"model_list[0].litellm_params.{name}", 3)
    assert problem.hint or "must be a whole number" in problem.message
    assert CANARY not in f"{problem.message} {problem.hint}"
    if name in ("api_key", "api_version", "organization"):
        assert "quote" in (problem.hint or "")
