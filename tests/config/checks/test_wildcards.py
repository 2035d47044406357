"""Patterns among model names: the models that they lead to are those of litellm."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment, Snapshot
from gatewayd.config.validator import ConfigValidator
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway

KEY = "sk-0123456789abcdef"
ENVIRON = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "GROQ_API_KEY": KEY}


def entry(name: str, model: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, "api_key": KEY, **params}}


def snapshot(*entries: dict[str, Any]) -> Snapshot:
    return ConfigValidator(environ=ENVIRON).validate({"model_list": list(entries), "gatewayd": {"admin": "off"}})


async def reached(asked: str, *entries: dict[str, Any]) -> tuple[str, str]:
    """The provider that is asked for a model, and the deployment's model with its `*` filled in."""
    runtime = await build(snapshot(*entries), Gateway(serves=False))
    try:
        hop = runtime.table.chain(asked).first
        deployment: Deployment = runtime.targets[hop.group.candidates[0].id].deployment
        return deployment.provider, deployment.model.replace("*", hop.capture)
    finally:
        await runtime.retire()


@pytest.mark.parametrize(
    ("name", "model", "asked", "expected"),
    [
        ("openrouter/*", "openrouter/*", "openrouter/anthropic/x", ("openrouter", "anthropic/x")),
        ("*", "openrouter/*", "anthropic/x", ("openrouter", "anthropic/x")),
        ("openrouter/anthropic/*", "openrouter/anthropic/*", "openrouter/anthropic/x", ("openrouter", "anthropic/x")),
        ("openai/*", "groq/*", "openai/gpt-oss-120b", ("groq", "gpt-oss-120b")),
        ("groq/*", "groq/*", "groq/openai/gpt-oss-120b", ("groq", "openai/gpt-oss-120b")),
        ("*", "groq/openai/*", "gpt-oss-20b", ("groq", "openai/gpt-oss-20b")),
        ("gpt-*", "openai/gpt-*", "gpt-5.5", ("openai", "gpt-5.5")),
        ("my-*-model", "openai/gpt-*", "my-5.5-model", ("openai", "gpt-5.5")),
        ("together_ai/*", "together_ai/*", "together_ai/meta-llama/X", ("together_ai", "meta-llama/X")),
        ("bedrock/*", "bedrock/*", "bedrock/us.anthropic.x", ("bedrock", "us.anthropic.x")),
        ("vendor/*", "openai/fixed", "vendor/anything", ("openai", "fixed")),
        ("openai/*", "openai/*", "gpt-4o", ("openai", "gpt-4o")),
        ("anthropic/*", "anthropic/*", "claude-opus-5-5", ("anthropic", "claude-opus-5-5")),
    ],
)
async def test_a_pattern_leads_to_the_model_that_litellm_would_ask(
    name: str, model: str, asked: str, expected: tuple[str, str]
) -> None:
    """U-A9"""
    assert await reached(asked, entry(name, model)) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("anthropic/claude-x", ("anthropic", "claude-x")),
        ("claude-x", ("anthropic", "claude-x")),
        ("groq/openai/gpt-oss-20b", ("groq", "openai/gpt-oss-20b")),
        ("gpt-5.5", ("openai", "gpt-5.5")),
    ],
)
async def test_a_bare_star_is_every_provider_whose_key_is_set(asked: str, expected: tuple[str, str]) -> None:
    """U-A9: `model: "*"` went to OpenAI, whatever was asked for; litellm tells the provider from the request."""
    everything = {"model_name": "*", "litellm_params": {"model": "*"}}
    assert await reached(asked, everything) == expected


def test_a_pattern_with_an_entry_of_its_own_is_left_to_it() -> None:
    """U-A9"""
    everything = {"model_name": "*", "litellm_params": {"model": "*"}}
    made = snapshot(everything, entry("anthropic/*", "openrouter/anthropic/*"))
    (own,) = [d for d in made.deployments if d.group == "anthropic/*"]
    assert own.provider == "openrouter"
    assert len({d.id for d in made.deployments}) == len(made.deployments)
