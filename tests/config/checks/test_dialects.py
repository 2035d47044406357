"""Which APIs a deployment is called by, by the table of providers and by the file."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.result import Result
from gatewayd.config.validator import ConfigValidator

KEY = "sk-0123456789abcdef"


def checked(model: str, apis: list[str] | None = None, **params: Any) -> Result:
    info = {} if apis is None else {"model_info": {"apis": apis}}
    entry = {"model_name": "m", "litellm_params": {"model": model, "api_key": KEY, **params}, **info}
    return ConfigValidator(environ={}).check({"model_list": [entry], "gatewayd": {"admin": "off"}})


@pytest.mark.parametrize(
    ("model", "params", "apis", "expected"),
    [
        ("openai/gpt-5", {}, None, ("chat", "responses")),
        ("openai/gpt-5-codex", {}, None, ("responses",)),
        ("openai/gpt-5-codex", {"api_base": "http://h/v1"}, None, ("chat",)),
        ("openai/responses/gpt-5", {}, None, ("responses",)),
        ("openai/responses/x", {"api_base": "http://h/v1"}, None, ("responses",)),
        ("openai/responses/x", {"api_base": "http://h/v1"}, ["chat"], ("chat",)),
        ("azure/x", {"api_base": "https://r.openai.azure.com", "api_version": "2025-02-01"}, None, ("chat",)),
        ("azure/x", {"api_base": "https://r.openai.azure.com/openai/v1"}, None, ("chat", "responses")),
        ("azure/x", {"api_base": "https://r.openai.azure.com", "api_version": "2025-04-01-preview"}, None,
         ("chat", "responses")),
        ("openai/x", {"api_base": "http://h/v1"}, None, ("chat",)),
        ("openai/x", {"api_base": "http://h/v1"}, ["chat", "messages"], ("chat", "messages")),
        ("openai/x", {"api_base": "http://h/v1"}, ["messages"], ("messages",)),
        ("hosted_vllm/x", {"api_base": "http://h/v1"}, None, ("chat", "responses", "messages")),
        ("hosted_vllm/x", {"api_base": "http://h/v1"}, ["chat"], ("chat",)),
        ("ollama/llama3", {}, None, ("chat", "responses", "messages")),
        ("openrouter/x/y", {}, None, ("chat", "responses", "messages")),
        ("openrouter/x/y", {"api_base": "http://h/v1"}, None, ("chat",)),
        ("groq/x", {}, None, ("chat", "responses")),
        ("mistral/x", {}, None, ("chat",)),
        ("anthropic/claude-opus-5-5", {}, None, ("messages",)),
        ("anthropic/claude-opus-5-5", {"api_base": "http://h"}, None, ("messages",)),
        ("anthropic/claude-opus-5-5", {"api_base": "http://h"}, ["chat", "messages"], ("chat", "messages")),
        ("gemini/gemini-2.5-flash", {}, None, ("gemini",)),
        ("gemini/gemini-x", {"api_base": "http://h/v1beta"}, None, ("gemini",)),
        ("gemini/gemini-embedding-001", {}, None, ("chat", "gemini")),
        ("cohere_chat/command-r", {}, None, ("chat",)),
        ("anthropic/claude-opus-5-5", {"mock_response": "Hello"}, None, ("chat",)),
    ],
)  # fmt: skip
def test_apis(model: str, params: dict[str, Any], apis: list[str] | None, expected: tuple[str, ...]) -> None:
    result = checked(model, apis, **params)
    assert result.snapshot is not None, result.problems
    assert result.snapshot.deployments[0].dialects == expected
    assert not result.snapshot.deployments[0].model.startswith("responses/")


def test_keys_that_are_litellms_own_need_litellm() -> None:
    """As before: chat goes through litellm, and Anthropic's own API is forwarded."""
    points = [{"location": "message", "role": "system"}]
    result = checked("anthropic/claude-opus-5-5", cache_control_injection_points=points)
    assert result.snapshot is not None
    (deployment,) = result.snapshot.deployments
    assert (deployment.kind, deployment.dialects) == ("translate", ("chat", "messages"))
    assert deployment.litellm_params == {"cache_control_injection_points": points}


@pytest.mark.parametrize("variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_a_token_from_the_environment_is_no_key(variable: str) -> None:
    entry = {"model_name": "m", "litellm_params": {"model": "anthropic/claude-opus-5-5"}}
    result = ConfigValidator(environ={variable: KEY}).check({"model_list": [entry], "gatewayd": {"admin": "off"}})
    assert result.snapshot is not None
    (deployment,) = result.snapshot.deployments
    token = deployment.extra_headers.get("authorization")
    assert (deployment.api_key is None) is (token is not None) is (variable == "ANTHROPIC_AUTH_TOKEN")
    assert token is None or token.reveal() == f"Bearer {KEY}"


def test_apis_that_a_provider_has_not_are_named() -> None:
    problems = checked("cohere_chat/command-r", ["messages"]).problems
    assert [(p.code, p.path) for p in problems] == [("unused_key", "model_list[0].model_info.apis")]
    assert "gatewayd calls cohere_chat by chat only" in problems[0].message


def test_an_unknown_api_is_an_error() -> None:
    problems = checked("openai/x", ["soap"]).problems
    assert [(p.severity, p.path) for p in problems] == [("error", "model_list[0].model_info.apis[0]")]
