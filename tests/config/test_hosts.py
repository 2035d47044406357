"""Providers told from addresses."""

from __future__ import annotations

import pytest

from gatewayd.config import hosts
from gatewayd.config.snapshot import Deployment
from gatewayd.config.validator import ConfigValidator


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://API.GROQ.com/openai/v1/chat/completions", "groq"),
        ("https://api.groq.com/v1", "groq"),
        ("https://api.together.xyz/v1", "together_ai"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.deepseek.com/v1", "deepseek"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.x.ai/v1", "xai"),
        ("https://integrate.api.nvidia.com/v1", "nvidia_nim"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "custom_openai"),
        ("https://generativelanguage.googleapis.com", "gemini"),
        ("https://me.openai.azure.com/openai/deployments/x", "azure"),
        ("https://evil.example/api.groq.com/openai/v1", None),
        ("https://api.groq.com.evil.example/openai/v1", None),
        ("http://localhost:8000/v1", None),
    ],
)
def test_provider_of(url: str, provider: str | None) -> None:
    """U-D7"""
    assert hosts.provider_of(url) == provider


def deployment(model: str, base: str, **environ: str) -> tuple[Deployment, list[str]]:
    params = {"model": model, "api_base": base} | ({} if environ else {"api_key": "sk-0123456789abcdef"})
    tree = {"model_list": [{"model_name": "a", "litellm_params": params}]}
    result = ConfigValidator(environ=environ).check(tree)
    assert result.snapshot is not None, result.problems
    return result.snapshot.deployments[0], [problem.code for problem in result.problems]


@pytest.mark.parametrize(
    ("model", "base", "expected"),
    [
        ("gpt-4o", "https://api.groq.com/openai/v1", ("groq", "gpt-4o")),
        ("meta-llama/Llama-3", "https://api.together.xyz/v1", ("together_ai", "meta-llama/Llama-3")),
        ("no-such-small", "https://api.mistral.ai", ("mistral", "no-such-small")),
        ("anthropic.claude", "https://openrouter.ai/api/v1", ("openrouter", "openrouter/anthropic.claude")),
        ("gemini-x", "https://generativelanguage.googleapis.com/v1beta/openai/", ("custom_openai", "gemini-x")),
    ],
)
def test_a_bare_model_belongs_to_the_company_of_its_address(model: str, base: str, expected: tuple[str, str]) -> None:
    """U-D7: and `check` says so."""
    found, codes = deployment(model, base)
    assert (found.provider, found.model) == expected
    assert codes == ["provider_from_address"]


def test_a_provider_that_is_named_is_believed() -> None:
    """U-D7"""
    found, codes = deployment("openai/llama", "https://api.groq.com/openai/v1")
    assert (found.provider, codes) == ("openai", [])


def test_a_companys_other_address_gets_its_key() -> None:
    """U-D7: api.together.xyz is Together's as much as api.together.ai."""
    found, codes = deployment("together_ai/x", "https://api.together.xyz/v1", TOGETHER_API_KEY="sk-0123456789abcdef")
    assert found.api_key is not None
    assert codes == []
    found, codes = deployment("together_ai/x", "http://api.together.xyz/v1", TOGETHER_API_KEY="sk-0123456789abcdef")
    assert (found.api_key, codes) == (None, ["key_not_sent"])  # not in clear


def test_no_other_company_is_suggested_for_a_model_at_an_address() -> None:
    """U-D7: `meta-llama/...` at an unknown server is no mistyped `meta_llama`."""
    params = {"model": "meta-llama/Llama-3", "api_base": "http://gpu-box:8000/v1"}
    result = ConfigValidator(environ={}).check({"model_list": [{"model_name": "a", "litellm_params": params}]})
    (problem,) = result.problems
    assert problem.code == "unknown_provider"
    assert "did you mean" not in (problem.hint or "")
    assert "openai/meta-llama/Llama-3" in (problem.hint or "")


@pytest.mark.parametrize(
    ("path", "expected"), [("/openai/deployments/d/chat/completions", "d"), ("/openai/responses", "x")]
)
def test_a_target_uri_for_litellm(path: str, expected: str) -> None:
    """U-B14: with Entra ID the call is litellm's, which wants the resource's address alone."""
    resource = "https://me.openai.azure.com"
    params = {"model": "azure/x", "api_base": f"{resource}{path}?api-version=2024-10-21"}
    params |= {"tenant_id": "t", "client_id": "c", "client_secret": "s0123456789"}
    result = ConfigValidator(environ={}).check({"model_list": [{"model_name": "a", "litellm_params": params}]})
    assert result.snapshot is not None
    (found,) = result.snapshot.deployments
    assert (found.kind, found.api_base, found.model) == ("translate", resource, expected)
    assert found.api_version == "2024-10-21"
    assert "missing_api_version" not in [problem.code for problem in result.problems]


def test_a_version_in_the_address_is_a_version() -> None:
    """U-B14"""
    base = "https://me.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    found, codes = deployment("azure/x", base)
    assert found.api_base == "https://me.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
    assert codes == []
