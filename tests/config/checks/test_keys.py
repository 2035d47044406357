"""Keys that do not work: which are refused, which are reported, and which values ask for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.checks.keys import refused_in_part
from gatewayd.config.problems import Problem
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.validator import ConfigValidator

MODELS = [{"model_name": "a", "litellm_params": {"model": "openai/a", "mock_response": "hi"}}]


def problems(**sections: Any) -> list[Problem]:
    return list(ConfigValidator(environ={}).check({"model_list": MODELS, **sections}).problems)


def found(**sections: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in problems(**sections)]


@pytest.mark.parametrize("key", sorted(refused_in_part(LitellmSettings)))
@pytest.mark.parametrize(
    "guard",
    ["presidio", "hide_secrets", "hide-secrets", "detect_prompt_injection", "lakera_prompt_injection", "lasso",
     "llmguard_moderations", "custom_callbacks.proxy_handler_instance", "a.b.c", "s3://bucket/guard.object"],
)  # fmt: skip
def test_a_callback_that_may_guard_requests_is_refused(key: str, guard: str) -> None:
    """U-A3: wherever it is listed, beside callbacks that observe, until the file accepts that it does nothing."""
    settings = {key: ["prometheus", guard]}
    assert found(litellm_settings=settings) == [("unsupported_key", f"litellm_settings.{key}[1]")]
    accepted = found(litellm_settings=settings, gatewayd={"ignore_unsupported": [key]})
    assert accepted == [("ignored_key", f"litellm_settings.{key}[1]")]
    assert found(litellm_settings={key: guard}) == [("unsupported_key", f"litellm_settings.{key}")]


@pytest.mark.parametrize("key", sorted(refused_in_part(LitellmSettings)))
@pytest.mark.parametrize(
    "observer", ["prometheus", "langfuse", "otel", "s3", "s3_v2", "datadog", "sentry", "my_webhook"]
)
def test_a_callback_that_observes_is_a_warning(key: str, observer: str) -> None:
    """U-A3"""
    assert found(litellm_settings={key: [observer]}) == [("ignored_key", f"litellm_settings.{key}")]


def test_every_guard_of_a_list_is_reported_at_its_own_place() -> None:
    """U-A3"""
    first, second = problems(litellm_settings={"callbacks": ["presidio", "otel", "mine.hook"]})
    assert first.message.endswith("requests would pass unchecked: 'presidio' checks or rewrites requests")
    assert second.message.endswith("'mine.hook' is code that may check or rewrite requests")
    assert first.hint == "remove it, or accept this with `gatewayd: {ignore_unsupported: [callbacks]}`"


@pytest.mark.parametrize(
    ("section", "key", "value", "code"),
    [
        ("general_settings", "allowed_ips", [], "unsupported_key"),  # litellm lets nobody in
        ("general_settings", "allowed_routes", [], "unsupported_key"),
        ("general_settings", "health_check_details", False, "ignored_key"),
        ("general_settings", "litellm_key_header_name", "", "ignored_key"),
        ("litellm_settings", "require_auth_for_metrics_endpoint", False, "ignored_key"),
        ("litellm_settings", "use_aiohttp_transport", False, "ignored_key"),
        ("router_settings", "tag_filtering_match_any", False, "ignored_key"),
    ],
)
def test_an_empty_value_counts_where_litellms_default_is_another(section: str, key: str, value: Any, code: str) -> None:
    """U-A4"""
    assert found(**{section: {key: value}}) == [(code, f"{section}.{key}")]
    assert found(**{section: {key: None}}) == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("litellm_settings", "cache", False),
        ("litellm_settings", "callbacks", []),
        ("litellm_settings", "guardrails", []),
        ("general_settings", "store_model_in_db", False),
        ("general_settings", "custom_auth", ""),
        ("router_settings", "retry_policy", {}),
    ],
)
def test_an_empty_value_asks_for_nothing_where_that_is_litellms_default(section: str, key: str, value: Any) -> None:
    """U-A4"""
    assert found(**{section: {key: value}}) == []


def test_a_deployment_for_no_environment_is_refused() -> None:
    """U-A4: `supported_environments: []` restricts the deployment to none."""
    entry = {**MODELS[0], "model_info": {"supported_environments": []}}
    assert [p.code for p in ConfigValidator(environ={}).check({"model_list": [entry]}).problems] == ["unsupported_key"]


def test_an_effort_in_litellms_form_is_sent_as_chat_completions_know_it() -> None:
    """U-D8"""
    params: dict[str, Any] = {
        "model": "openai/a",
        "mock_response": "hi",
        "reasoning_effort": {"effort": "low", "summary": "auto"},
    }
    result = ConfigValidator(environ={}).check({"model_list": [{"model_name": "a", "litellm_params": params}]})
    assert [(p.code, p.severity) for p in result.problems] == [("approximated", "warning")]
    assert result.snapshot is not None
    assert result.snapshot.deployments[0].params == {"reasoning_effort": "low"}
    params["reasoning_effort"] = {"effort": 5}
    result = ConfigValidator(environ={}).check({"model_list": [{"model_name": "a", "litellm_params": params}]})
    assert [p.code for p in result.problems] == ["wrong_type"]


def test_a_variable_without_a_value_is_a_warning() -> None:
    """U-D8: `environment_variables: {NAME: }` leaves the variable as it is."""
    (problem,) = problems(environment_variables={"NOTHING": None, "SOME": "x"})
    assert (problem.code, problem.severity) == ("environment_value", "warning")


def test_a_master_key_in_another_tools_notation_gets_a_hint() -> None:
    """U-D8"""
    first = problems(general_settings={"master_key": "env/MASTER_KEY"})[0]
    assert "os.environ/MASTER_KEY" in (first.hint or "")


@pytest.mark.parametrize("model", ["sk-0123456789abcdef0123", "sk-0123456789abcdef0123/x", "opnai/sk-0123456789abcdef"])
def test_a_key_written_as_a_model_is_not_quoted(model: str) -> None:
    """U-F14"""
    found = ConfigValidator(environ={}).check({"model_list": [{"model_name": "a", "litellm_params": {"model": model}}]})
    assert [p.code for p in found.problems] == ["unknown_provider"]
    assert "0123456789" not in found.problems[0].as_text()


def test_problems_of_variables_are_capped_and_counted() -> None:
    """U-F13: as those of keys are."""
    found = problems(environment_variables={f"N{number}": [] for number in range(1200)})
    assert len(found) == 501
    assert (found[-1].code, found[-1].message) == ("too_many_problems", "700 more errors are not shown")
