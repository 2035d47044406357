"""What is taken out of litellm, and what is put into it."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.upstream.litellm.api import load_api, remember_models
from gatewayd.upstream.litellm.translate import load_litellm
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic
from tests.upstream.doubles import call
from tests.upstream.litellm.direct_and_litellm import went_directly
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, translating

pytestmark = KNOWN_WARNINGS


class Table:
    """The part of `litellm.utils` that is asked about models."""

    class ModelNotMappedError(Exception):
        pass

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.generation = 0
        self.known = {"claude": {"max_tokens": 5}}

    def get_model_cost_mutation_generation(self) -> int:
        return self.generation

    def get_model_info_helper(
        self, model: str, custom_llm_provider: str | None = None, api_base: str | None = None
    ) -> dict[str, int]:
        self.asked.append((model, custom_llm_provider, api_base))
        if model not in self.known:
            raise self.ModelNotMappedError(f"no {model}")
        return self.known[model]


def test_a_model_is_looked_up_once() -> None:
    table = Table()
    remember_models(table)
    for _ in range(3):
        assert table.get_model_info_helper(model="claude", custom_llm_provider="anthropic") == {"max_tokens": 5}
        with pytest.raises(Table.ModelNotMappedError, match="no other"):
            table.get_model_info_helper(model="other", custom_llm_provider="anthropic")
    assert table.asked == [("claude", "anthropic", None), ("other", "anthropic", None)]


def test_a_table_that_was_changed_is_read_again() -> None:
    table = Table()
    remember_models(table)
    table.get_model_info_helper(model="claude", custom_llm_provider=None)
    table.known["claude"] = {"max_tokens": 6}
    table.generation += 1
    assert table.get_model_info_helper(model="claude", custom_llm_provider=None) == {"max_tokens": 6}


def test_other_questions_are_passed_on() -> None:
    table = Table()
    remember_models(table)
    for _ in range(2):
        table.get_model_info_helper("claude")
        table.get_model_info_helper(model="claude", custom_llm_provider="ollama", api_base="http://here")
    assert table.asked == [("claude", None, None), ("claude", "ollama", "http://here")] * 2


async def test_what_is_remembered_is_what_litellm_says() -> None:
    """And this litellm is one whose tables can be remembered."""
    await load_litellm()
    from litellm import utils

    first, now = utils._get_model_info_helper, utils.get_model_info_helper  # the one as it was imported, the other ours
    assert first is not now
    generation = utils.get_model_cost_mutation_generation()
    for provider, model in MODELS:
        asked = {"model": model, "custom_llm_provider": provider}
        assert now(**asked) == now(**asked) == first(**asked)
    with pytest.raises(utils.ModelNotMappedError, match="nobody-knows"):
        now(model="nobody-knows", custom_llm_provider="anthropic")
    utils._invalidate_model_cost_lowercase_map()
    assert utils.get_model_cost_mutation_generation() > generation


MODELS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("gemini", "gemini-2.5-flash"),
    ("vertex_ai", "gemini-2.5-flash"),
    ("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
    ("cohere_chat", "command-r-08-2024"),
]


async def test_a_litellm_that_is_built_otherwise_is_used_its_own_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    litellm = await load_litellm()
    monkeypatch.delattr(litellm.utils, "validate_and_fix_thinking_param")
    load_api.cache_clear()
    try:
        async with FakeUpstream(anthropic.answer) as up:
            await translating(up).open(call(messages=MESSAGES))
            assert not went_directly(up.requests[0])
    finally:
        monkeypatch.undo()
        load_api.cache_clear()
    assert (
        "unknown litellm version (module 'litellm.utils' has no attribute 'validate_and_fix_thinking_param')"
        in caplog.text
    )
