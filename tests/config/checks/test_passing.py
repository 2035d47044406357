"""`gatewayd.pass_through`: which names it may have."""

from __future__ import annotations

from typing import Any

from gatewayd.config.result import Result
from gatewayd.config.validator import ConfigValidator

KEY = "sk-0123456789abcdef"


def entry(group: str, model: str, id: str | None = None, **params: Any) -> dict[str, Any]:
    info = {} if id is None else {"model_info": {"id": id}}
    return {"model_name": group, "litellm_params": {"model": model, "api_key": KEY, **params}, **info}


LIST = [
    entry("gpt", "openai/gpt-5"),
    entry("many", "openai/gpt-5", "first"),
    entry("many", "openai/gpt-5-mini", "second"),
    entry("claude", "anthropic/claude-opus-5-5"),
    entry("rank", "cohere/command-r"),
    entry("mock", "openai/x", mock_response="Hello"),
]


def checked(*names: str) -> Result:
    return ConfigValidator(environ={}).check(
        {"model_list": LIST, "gatewayd": {"admin": "off", "pass_through": list(names)}}
    )


def problems(*names: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in checked(*names).problems]


def test_deployments_and_groups_of_one() -> None:
    result = checked("gpt", "claude")
    assert result.problems == ()
    assert result.snapshot is not None
    assert result.snapshot.server.pass_through == ("gpt", "claude")
    assert problems("second", "claude") == []


def test_names_that_cannot_be_used() -> None:
    where = "gatewayd.pass_through[0]"
    assert problems("gpd") == [("unknown_group", where)]
    assert checked("gpd").problems[0].hint == "did you mean 'gpt'?"
    assert problems("many") == [("invalid_value", where)]
    assert "has 2 deployments" in checked("many").problems[0].message
    assert problems("rank") == [("invalid_value", where)]
    assert problems("mock") == [("invalid_value", where)]


def test_a_second_deployment_of_a_provider_has_no_effect() -> None:
    assert problems("first", "gpt") == [("unused_key", "gatewayd.pass_through[1]")]
