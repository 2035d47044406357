"""From a snapshot to what is live: which names lead to a deployment."""

from __future__ import annotations

import pytest

from gatewayd.config.validator import ConfigValidator
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import FallbackKind, UnknownModel, UnservedModel
from gatewayd.routing.pick import Pick, least_busy, simple_shuffle


async def test_a_given_id_is_a_model_name_and_a_derived_one_is_not() -> None:
    """U-D4: derived ids only describe."""
    mock = {"model": "openai/gpt-4o", "mock_response": "hello"}
    entries = [
        {"model_name": "a", "litellm_params": mock},
        {"model_name": "a", "litellm_params": mock},
        {"model_name": "b", "litellm_params": mock, "model_info": {"id": "mine"}},
    ]
    gateway = Gateway()
    gateway.swap(await build(ConfigValidator(environ={}).validate({"model_list": entries}), gateway))
    try:
        table = gateway.current.table
        assert [c.id for c in table.chain("mine").first.group.candidates] == ["mine"]
        assert [c.id for c in table.chain("a").first.group.candidates] == ["a", "a-2"]
        with pytest.raises(UnknownModel):
            table.chain("a-2")
    finally:
        await gateway.close()


async def test_models_that_no_endpoint_serves_get_no_requests() -> None:
    """U-A7, U-A8: such a group is not listed, is no fallback, and is not caught by a pattern; its error says why."""
    local = {"api_base": "http://127.0.0.1:9/v1", "api_key": "none"}
    entries = [
        {"model_name": "clip", "litellm_params": {"model": "openai/sora-2", **local}},
        {"model_name": "live", "litellm_params": {"model": "openai/gpt-realtime", **local}},
        {"model_name": "mixed", "litellm_params": {"model": "openai/sora-2", **local}},
        {"model_name": "mixed", "litellm_params": {"model": "openai/gpt-4o", **local}},
        {"model_name": "id", "litellm_params": {"model": "openai/gpt-realtime", **local}, "model_info": {"id": "mine"}},
        {"model_name": "*", "litellm_params": {"model": "openai/*", **local}},
    ]
    router = {"fallbacks": [{"mixed": ["clip"]}], "model_group_alias": {"film": "clip", "both": "mixed"}}
    gateway = Gateway()
    result = ConfigValidator(environ={}).check({"model_list": entries, "router_settings": router})
    # Whether a model is retired as well depends on the day.
    assert [p.code for p in result.problems if p.code != "retired_model"] == ["unserved_model"] * 4
    assert result.snapshot is not None
    gateway.swap(await build(result.snapshot, gateway))
    try:
        table = gateway.current.table
        assert table.names() == ["*", "both", "mixed"]
        mixed = table.chain("mixed")
        assert [c.id for c in mixed.first.group.candidates] == [result.snapshot.deployments[3].id]
        assert FallbackKind.GENERAL not in mixed.fallbacks
        for name, what in (
            ("clip", "generates videos"),
            ("film", "generates videos"),
            ("live", "is available only in the Realtime API"),
        ):
            with pytest.raises(UnservedModel) as caught:
                table.chain(name)
            message = f"The model '{name}' {what}, and this gateway has no endpoint for that."
            assert (caught.value.message, caught.value.status, caught.value.code) == (message, 404, "model_not_served")
            assert not table.knows(name)
    finally:
        await gateway.close()


@pytest.mark.parametrize(("named", "strategy"), [(None, simple_shuffle), ("least-busy", least_busy)])
async def test_a_group_picks_by_the_strategy_of_the_file(named: str | None, strategy: Pick) -> None:
    model = {"model_name": "chat", "litellm_params": {"model": "openai/x", "mock_response": "hi"}}
    settings = {} if named is None else {"router_settings": {"routing_strategy": named}}
    result = ConfigValidator(environ={}).check({"model_list": [model], **settings})
    assert not result.problems
    assert result.snapshot is not None
    runtime = await build(result.snapshot, Gateway())
    assert runtime.table.chain("chat").first.group.pick is strategy
    await runtime.retire()
