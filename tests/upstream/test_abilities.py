"""What is known of a deployment's model, and what its configuration adds to a request that is converted."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.upstream.abilities import model_target, with_defaults
from gatewayd.wire.chat import read_request
from gatewayd.wire.openai import encode


def deployment(provider: str, model: str, **changes: Any) -> Deployment:
    return Deployment("d", "d", "g", changes.pop("kind", "forward"), provider, model, **changes)


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("o3-pro", True), ("gpt-5.5", True), ("openai/gpt-oss-20b", True), ("claude-opus-4-6", True),
        ("claude-3-7-sonnet", True), ("gemini-2.5-flash", True), ("gpt-4o", False), ("llama3", False), ("foo1", False),
        ("claude-3-5-haiku", False),
    ],
)  # fmt: skip
def test_a_model_thinks_if_the_table_or_its_name_says_so(model: str, reasons: bool) -> None:
    assert model_target(deployment("openai", model), "g").reasons is reasons
    known = {"supports_reasoning": not reasons}
    assert model_target(deployment("openai", model, abilities=known), "g").reasons is not reasons
    assert model_target(deployment("openai", "*"), model).reasons is reasons


@pytest.mark.parametrize(
    ("model", "adaptive"),
    [("claude-opus-4-6", True), ("claude-sonnet-5-5", True), ("claude-sonnet-4-5", False), ("claude-opus-4-1", False)],
)
def test_which_claude_decides_itself_how_much_it_thinks(model: str, adaptive: bool) -> None:
    assert model_target(deployment("anthropic", model), "g").adaptive_thinking is adaptive


def test_what_a_server_takes_depends_on_whose_it_is() -> None:
    own = model_target(deployment("openai", "m", api_base="https://api.openai.com/v1"), "g")
    other = model_target(deployment("openai", "m", api_base="http://h/v1"), "g")
    assert (own.developer_role, own.completion_tokens, own.extended_sampling) == (True, True, False)
    assert (other.developer_role, other.completion_tokens, other.extended_sampling) == (False, False, True)
    known = {"max_output_tokens": 64000, "supports_sampling_params": False, "supports_mid_conversation_system": True}
    claude = model_target(deployment("anthropic", "claude-opus-5-5", abilities=known), "g")
    assert (claude.max_tokens, claude.system_turns) == (64000, True)
    assert claude.unsupported == {"temperature", "top_p", "top_k"}
    assert own.max_tokens == 8192


def test_configured_parameters_are_defaults() -> None:
    params = {"temperature": 0.5, "max_tokens": 9, "reasoning_effort": "high", "stop": ["a"], "odd": 1}
    request = read_request(encode({"model": "m", "messages": [], "temperature": 1.0}))
    made = with_defaults(request, deployment("anthropic", "m", params=params))
    assert (made.sampling.temperature, made.sampling.stop, made.max_tokens) == (1.0, ("a",), 9)
    assert made.reasoning is not None
    assert made.reasoning.effort == "high"
    assert with_defaults(request, deployment("anthropic", "m")) is request
    assert with_defaults(request, deployment("anthropic", "m", params={"temperature": "warm"})) is request
    assert with_defaults(request, deployment("anthropic", "m", params={"temperature": 0.1})) is request
