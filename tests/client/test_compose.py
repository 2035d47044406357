from __future__ import annotations

from typing import Any

import pytest

from gatewayd.client.compose import complete, compose, key_in, known_provider
from gatewayd.client.config import GatewayConfig
from gatewayd.config import providers as known
from gatewayd.config.validator import ConfigValidator
from gatewayd.errors import ConfigurationError


def composed(
    providers: Any = None, default_model: Any = None, api_keys: Any = None, environ: Any = None, **more: Any
) -> GatewayConfig:
    return compose(providers, default_model, api_keys, environ=environ or {}, **more)


def refused(*args: Any, **more: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        composed(*args, **more)
    return caught.value


def models(config: GatewayConfig) -> dict[str, str]:
    return {entry["model_name"]: entry["litellm_params"]["model"] for entry in config.model_list}


BOTH = {"openai": "sk-o", "anthropic": "sk-a"}


def test_default_model_fallbacks_and_everything_else_of_the_providers() -> None:
    config = composed(["openai", "anthropic"], "gpt-5.4", BOTH, fallbacks=["gpt-3.5-turbo", "claude-3-opus"])
    assert models(config) == {
        "gpt-5.4": "openai/gpt-5.4",
        "gpt-3.5-turbo": "openai/gpt-3.5-turbo",
        "claude-3-opus": "anthropic/claude-3-opus",
        "openai/*": "openai/*",
        "anthropic/*": "anthropic/*",
    }
    keys = {entry["model_name"]: entry["litellm_params"]["api_key"] for entry in config.model_list}
    assert keys["claude-3-opus"] == keys["anthropic/*"] == "sk-a"
    assert keys["gpt-5.4"] == keys["openai/*"] == "sk-o"
    assert config.default_model == "gpt-5.4"
    assert config.fallbacks == {"gpt-5.4": ["gpt-3.5-turbo", "claude-3-opus"]}


def test_the_result_is_valid() -> None:
    config = composed(None, "gpt-5.4", BOTH, fallbacks=["claude-3-opus"], timeout=5.0, max_retries=1, retry_delay=0.1)
    result = ConfigValidator(environ={}).check(config.to_dict())
    assert result.snapshot is not None
    assert result.problems == ()
    assert (config.timeout, config.max_retries, config.retry_delay) == (5.0, 1, 0.1)


def test_a_single_provider_is_reached_by_any_name() -> None:
    assert models(composed(None, None, {"openai": "sk-o"})) == {"openai/*": "openai/*", "*": "openai/*"}


def test_without_a_default_model_fallbacks_are_for_every_group() -> None:
    assert composed(["openai"], None, BOTH, fallbacks=["gpt-5.4"]).fallbacks == ["gpt-5.4"]


def test_fallbacks_per_group_stay_as_they_are() -> None:
    config = composed(["openai"], "gpt-5.4", BOTH, fallbacks={"gpt-5.4": ["gpt-4o"]})
    assert config.fallbacks == {"gpt-5.4": ["gpt-4o"]}
    assert "gpt-4o" in models(config)


def test_a_prefixed_model_is_taken_as_written() -> None:
    config = composed(["openai"], "openai/my-own-model", BOTH)
    assert models(config)["openai/my-own-model"] == "openai/my-own-model"


def test_a_local_server_serves_models_of_any_name() -> None:
    config = composed(["ollama"], "llama3")
    assert models(config)["llama3"] == "ollama/llama3"
    config = composed(None, "my-model", {"openai": "sk-o"}, api_bases={"openai": "http://127.0.0.1:1/v1"})
    assert models(config)["my-model"] == "openai/my-model"


def test_an_address_names_a_provider_as_a_key_does() -> None:
    """Else a prompt for the server of one's own would go to the provider that is left."""
    bases = {"hosted_vllm": "http://127.0.0.1:1/v1"}
    assert models(composed(None, "my-model", None, api_bases=bases))["my-model"] == "hosted_vllm/my-model"
    both = composed(None, "gpt-5.4", {"openai": "sk-o"}, api_bases=bases)
    assert [group for group in both.groups if "*" in group] == ["openai/*", "hosted_vllm/*"]
    assert "hosted_vllm/*" not in composed(["openai"], "gpt-5.4", {"openai": "sk-o"}, api_bases=bases).groups


def test_another_provider_may_list_the_model_too() -> None:
    config = composed(["azure"], "gpt-5.4", {"azure": "sk-z"}, api_bases={"azure": "https://me.openai.azure.com"})
    assert models(config)["gpt-5.4"] == "azure/gpt-5.4"


def test_a_private_daemon_does_not_bench_the_only_deployment_of_a_group() -> None:
    assert composed(["openai"], None, BOTH).router_settings == {"disable_cooldowns": True}
    assert composed(["openai"], None, BOTH, options={"cooldown_time": 5}).router_settings == {"cooldown_time": 5}


def test_options_go_to_the_section_that_knows_them() -> None:
    config = composed(["openai"], "gpt-5.4", BOTH, options={"drop_params": True, "stream_timeout": 9})
    assert config.litellm_settings == {"drop_params": True}
    assert config.router_settings["stream_timeout"] == 9


# --- keys and addresses -------------------------------------------------------------------------------------------


def access(config: GatewayConfig) -> dict[str, Any]:
    return {k: v for k, v in config.model_list[0]["litellm_params"].items() if k != "model"}


def test_a_missing_key_is_taken_from_the_environment_as_a_reference() -> None:
    config = composed(["openai"], "gpt-5.4", environ={"OPENAI_API_KEY": "sk-env"})
    assert access(config) == {"api_key": "os.environ/OPENAI_API_KEY"}


def test_key_and_address_of_the_environment_belong_together() -> None:
    environ = {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    config = composed(["openai"], "gpt-5.4", environ=environ)
    assert access(config) == {"api_base": "os.environ/OPENAI_BASE_URL", "api_key": "os.environ/OPENAI_API_KEY"}
    (deployment, *_) = ConfigValidator(environ=environ).validate(config.to_dict()).deployments
    assert deployment.api_base == "http://127.0.0.1:1/v1"
    assert deployment.api_key is not None
    assert deployment.api_key.reveal() == "sk-env"


def test_a_company_key_of_the_environment_does_not_go_to_an_address_given_in_code() -> None:
    config = composed(
        ["openai"], "gpt-5.4", environ={"OPENAI_API_KEY": "sk-env"}, api_bases={"openai": "http://127.0.0.1:1/v1"}
    )
    assert access(config) == {"api_base": "http://127.0.0.1:1/v1"}


def test_a_missing_key_is_named_with_both_remedies() -> None:
    error = refused(["openai", "anthropic"], "gpt-5.4", {"openai": "sk-o"})
    assert error.config_key == "api_keys.anthropic"
    assert "api_keys={'anthropic': ...}" in str(error)
    assert "ANTHROPIC_API_KEY" in str(error)


def test_a_provider_without_keys_needs_none() -> None:
    assert access(composed(["ollama"], "llama3")) == {}


def test_a_provider_without_an_address_needs_one() -> None:
    error = refused(["hosted_vllm"], "x")
    assert error.config_key == "api_bases.hosted_vllm"
    assert "HOSTED_VLLM_API_BASE" in str(error)
    environ = {"HOSTED_VLLM_API_BASE": "http://127.0.0.1:1/v1"}
    assert access(composed(["hosted_vllm"], "x", environ=environ)) == {"api_base": "os.environ/HOSTED_VLLM_API_BASE"}


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (({"providers": ["opnai"]}), "providers[0]"),
        (({"api_keys": {"opnai": "sk-secret"}}), "api_keys.opnai"),
        (({"providers": ["openai"], "api_bases": {"opnai": "http://x"}}), "api_bases.opnai"),
    ],
)
def test_an_unknown_provider_is_answered_with_the_nearest_one(given: Any, key: str) -> None:
    error = refused(**given, environ={"OPENAI_API_KEY": "sk-env"})
    assert error.config_key == key
    assert error.invalid_value == "opnai"
    assert error.suggestion == "did you mean 'openai'?"
    assert error.valid_options is not None
    assert "anthropic" in error.valid_options
    assert "sk-secret" not in str(error)


def test_a_model_of_a_provider_that_is_not_configured() -> None:
    error = refused(["anthropic"], "gpt-5.4", {"anthropic": "sk-secret"})
    assert error.config_key == "default_model"
    assert error.invalid_value == "gpt-5.4"
    assert "openai" in str(error)
    assert "OPENAI_API_KEY" in str(error)
    assert error.valid_options is not None
    assert any(name.startswith("claude") for name in error.valid_options)
    assert "sk-secret" not in str(error)


def test_a_prefixed_model_of_a_provider_that_is_not_configured() -> None:
    error = refused(["openai"], "gpt-5.4", BOTH, fallbacks=["groq/llama-3.1-8b-instant"])
    assert error.config_key == "fallbacks"
    assert "groq" in str(error)
    assert "GROQ_API_KEY" in str(error)


def test_a_mistyped_model_is_answered_with_the_nearest_one() -> None:
    error = refused(["anthropic"], "claud-opus-4-5", {"anthropic": "sk-a"})
    assert error.suggestion is not None
    assert "claude-opus-4-5" in error.suggestion
    assert error.suggestion.endswith("to use it as it is, write 'anthropic/claud-opus-4-5'")


def test_an_unknown_model_is_answered_with_how_to_insist() -> None:
    assert refused(["openai"], "zephyr-of-mine", BOTH).suggestion == (
        "to use it as it is, write 'openai/zephyr-of-mine'"
    )


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"providers": []}, "providers"),
        ({"providers": "openai"}, "providers"),
        ({"providers": {"openai": "sk-secret"}}, "providers"),
        ({"api_keys": {}}, "providers"),
        ({"api_keys": "sk-secret"}, "api_keys"),
        ({"api_keys": {"openai": ""}}, "api_keys.openai"),
        ({"api_keys": {"openai": b"sk-secret"}}, "api_keys.openai"),
        ({"providers": ["openai"], "default_model": ""}, "default_model"),
        ({"providers": ["openai"], "default_model": 4}, "default_model"),
        ({"providers": ["openai"], "fallbacks": "gpt-5.4"}, "fallbacks"),
        ({"providers": ["openai"], "api_bases": {"openai": "nonsense"}}, "api_bases.openai"),
        ({"providers": ["openai"], "options": {"cooldown_tim": 1}}, "cooldown_tim"),
        ({"providers": ["openai"], "options": {"redis_url": "redis://x"}}, "redis_url"),
        ({"providers": ["openai"], "options": {"num_retries": 1}}, "num_retries"),
    ],
)
def test_other_refusals_name_the_argument_and_no_key(given: Any, key: str) -> None:
    error = refused(**given, environ={"OPENAI_API_KEY": "sk-env"})
    assert error.config_key == key
    assert "sk-" not in f"{error} {error.invalid_value}"


def test_an_option_of_a_wrong_name_is_answered_with_the_nearest_one() -> None:
    error = refused(["openai"], None, BOTH, options={"cooldown_tim": 1})
    assert error.suggestion == "did you mean 'cooldown_time'?"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("max_retry", "max_retries"), ("retry_dely", "retry_delay"), ("timout", "timeout"), ("base_ur", "base_url")],
)
def test_an_argument_of_a_wrong_name_is_answered_with_the_nearest_one(name: str, meant: str) -> None:
    """U-E4"""
    assert refused(["openai"], None, BOTH, options={name: 1}).suggestion == f"did you mean '{meant}'?"


def test_geminis_models_are_geminis() -> None:
    """U-E4: without a prefix; who has chosen Vertex AI gets its."""
    error = refused(["openai"], "gpt-5.4", BOTH, fallbacks=["gemini-2.5-flash"])
    assert error.suggestion is not None
    assert error.suggestion.startswith("add 'gemini' to providers, with its key in api_keys or")
    added = complete([], ["gemini-2.5-flash"], environ={"GEMINI_API_KEY": "sk-env"})
    assert added == [entry("gemini-2.5-flash", "gemini/gemini-2.5-flash")]
    vertex = entry("a", "vertex_ai/gemini-2.5-pro")
    assert complete([vertex], ["gemini-2.5-flash"], environ={})[1] == entry(
        "gemini-2.5-flash", "vertex_ai/gemini-2.5-flash"
    )


# --- the rest -----------------------------------------------------------------------------------------------------


def entry(group: str, model: str, **params: Any) -> dict[str, Any]:
    return {"model_name": group, "litellm_params": {"model": model, **params}}


def test_a_fallback_without_an_entry_gets_one_with_its_providers_access() -> None:
    given = [entry("a", "openai/gpt-5.4", api_key="sk-1", api_base="http://127.0.0.1:1"), entry("b", "ollama/x")]
    completed = complete(given, ["gpt-3.5-turbo", "b", "nobody-knows"], environ={})
    assert completed[:2] == given
    assert completed[2:] == [
        entry("gpt-3.5-turbo", "openai/gpt-3.5-turbo", api_key="sk-1", api_base="http://127.0.0.1:1")
    ]


def test_a_broken_entry_is_left_to_the_validator() -> None:
    assert complete([{"model_name": "a"}], None, environ={}) == [{"model_name": "a"}]


def test_a_fallback_of_a_new_provider_needs_its_key_in_the_environment() -> None:
    added = complete([], ["claude-sonnet-4-5"], environ={"ANTHROPIC_API_KEY": "sk-env"})
    assert added == [entry("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5")]
    with pytest.raises(ConfigurationError) as caught:
        complete([], ["claude-sonnet-4-5"], environ={})
    assert (caught.value.config_key, caught.value.invalid_value) == ("fallbacks", "claude-sonnet-4-5")
    assert "ANTHROPIC_API_KEY" in str(caught.value)


def test_whose_a_model_is_and_whether_its_key_is_there() -> None:
    openai = known_provider("gpt-5.4")
    assert openai is not None
    assert openai.name == "openai"
    assert known_provider("nobody-knows") is None
    assert key_in(openai, {"OPENAI_API_KEY": "sk-1"}) == "OPENAI_API_KEY"
    assert key_in(openai, {"OPENAI_API_KEY": " "}) is None


def test_models_of_a_provider() -> None:
    assert "gpt-4o" in known.models("openai")
    assert known.models("nobody") == []
