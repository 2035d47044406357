"""Models that litellm's price table says are switched off."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gatewayd.config.listing import retired
from gatewayd.config.problems import Problem
from gatewayd.config.validator import ConfigValidator
from tests.config.corpus import CONFIGS, ROOT
from tests.config.test_validator_corpus import CONFIG_ENVIRON

TODAY = date(2026, 12, 1)
"""When the examples were last looked through."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_name_no_retired_model(path: Path) -> None:
    """U-E6"""
    made = ConfigValidator(environ=CONFIG_ENVIRON).validate(path)
    assert [d.model for d in made.deployments if retired(d.provider, d.model, TODAY) is not None] == []


def problems(model: str) -> list[Problem]:
    entry = {"model_name": "a", "litellm_params": {"model": model, "api_key": "sk-0123456789abcdef"}}
    return list(ConfigValidator(environ={}).check({"model_list": [entry]}).problems)


@pytest.mark.parametrize("model", ["openai/gpt-3.5-turbo", "gpt-4", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"])
def test_a_retired_model_is_a_warning(model: str) -> None:
    """U-E6"""
    (problem,) = problems(model)
    assert (problem.code, problem.severity) == ("retired_model", "warning")


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-5-5", "openai/gpt-5.5", "openai/no-such-model"])
def test_others_are_not(model: str) -> None:
    """U-E6"""
    assert [problem.code for problem in problems(model)] == []
