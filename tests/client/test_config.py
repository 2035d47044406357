from __future__ import annotations

import copy
from typing import Any

import pytest

from gatewayd.client.config import GatewayConfig, fallback_names
from gatewayd.config.validator import ConfigValidator
from gatewayd.errors import ConfigurationError

ENTRY = {"model_name": "gpt-4", "litellm_params": {"model": "openai/gpt-4", "api_key": "sk-secret"}}
OTHER = {"model_name": "b", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-secret"}}


def test_what_is_given_is_kept_and_copied() -> None:
    model_list = [copy.deepcopy(ENTRY)]
    config = GatewayConfig(model_list, ["gpt-4"], timeout=120.0, max_retries=5)
    model_list[0]["model_name"] = "changed"
    assert config.model_list == [ENTRY]
    assert (config.fallbacks, config.timeout, config.max_retries) == (["gpt-4"], 120.0, 5)


def test_the_default_model_is_the_first_group_that_is_no_pattern() -> None:
    pattern = {"model_name": "openai/*", "litellm_params": {"model": "openai/*"}}
    assert GatewayConfig([pattern, ENTRY, OTHER]).default_model == "gpt-4"
    assert GatewayConfig([pattern]).default_model is None
    assert GatewayConfig([ENTRY, OTHER], default_model="b").default_model == "b"


def test_its_dict_is_what_the_validator_reads() -> None:
    config = GatewayConfig([ENTRY, OTHER], ["b"], 30.0, 2, 0.5, router_settings={"cooldown_time": 9})
    snapshot = ConfigValidator(environ={}).validate(config.to_dict())
    assert [d.group for d in snapshot.deployments] == ["gpt-4", "b"]
    routing = snapshot.routing
    assert (routing.timeout, routing.num_retries, routing.retry_after, routing.cooldown_time) == (30.0, 2, 0.5, 9)
    assert {tuple(targets.items()) for targets in routing.fallbacks.values()} == {(("*", ("b",)),)}
    assert snapshot.server.default_models["chat/completions"] == "gpt-4"


@pytest.mark.parametrize("fallbacks", [{"gpt-4": ["b"]}, [{"gpt-4": ["b"]}], [{"gpt-4": ["b"]}, {"gpt-4": ["b"]}]])
def test_fallbacks_of_single_groups(fallbacks: Any) -> None:
    config = GatewayConfig([ENTRY, OTHER], fallbacks)
    assert config.fallbacks == {"gpt-4": ["b"]}
    assert list(fallback_names(config.fallbacks)) == ["b"]
    snapshot = ConfigValidator(environ={}).validate(config.to_dict())
    assert {tuple(targets.items()) for targets in snapshot.routing.fallbacks.values()} == {(("gpt-4", ("b",)),)}


def test_mixed_fallbacks_are_joined() -> None:
    assert GatewayConfig([ENTRY], ["b", {"gpt-4": ["c"]}]).fallbacks == {"*": ["b"], "gpt-4": ["c"]}  # type: ignore[arg-type]


def test_the_validator_takes_it_as_it_is() -> None:
    validator = ConfigValidator(environ={})
    assert validator.validate(GatewayConfig([ENTRY])).deployments[0].group == "gpt-4"
    assert validator.check(GatewayConfig([ENTRY], ["nobody"])).snapshot is None


def test_its_dict_can_be_changed_without_changing_it() -> None:
    config = GatewayConfig([ENTRY])
    config.to_dict()["model_list"][0]["litellm_params"].clear()
    assert config.model_list == [ENTRY]


def test_keys_are_not_shown() -> None:
    config = GatewayConfig([ENTRY])
    assert "sk-secret" not in f"{config!r} {config!s}"
    assert "gpt-4" in repr(config)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"model_list": "gpt-4"}, "model_list"),
        ({"model_list": ENTRY}, "model_list"),
        ({"model_list": ["gpt-4"]}, "model_list[0]"),
        ({"model_list": [ENTRY], "timeout": 0}, "timeout"),
        ({"model_list": [ENTRY], "max_retries": 11}, "max_retries"),
        ({"model_list": [ENTRY], "retry_delay": 61}, "retry_delay"),
        ({"model_list": [ENTRY], "fallbacks": "b"}, "fallbacks"),
        ({"model_list": [ENTRY], "fallbacks": {"gpt-4": "b"}}, "fallbacks.gpt-4"),
        ({"model_list": [ENTRY], "fallbacks": 5}, "fallbacks"),
        ({"model_list": [ENTRY], "default_model": 5}, "default_model"),
        ({"model_list": [ENTRY], "router_settings": None}, "router_settings"),
        ({"model_list": [ENTRY], "litellm_settings": ["drop_params"]}, "litellm_settings"),
    ],
)
def test_wrong_types_and_ranges(given: Any, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        GatewayConfig(**given)
    assert caught.value.config_key == key
    assert "sk-secret" not in str(caught.value)
