"""From a snapshot to what is live: which names lead to a deployment."""

from __future__ import annotations

import pytest

from gatewayd.config.validator import ConfigValidator
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import UnknownModel


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
