from __future__ import annotations

import math
from typing import Any

import pytest

from gatewayd.client import arguments
from gatewayd.errors import ConfigurationError


def refused(check: Any, *args: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        check(*args)
    return caught.value


@pytest.mark.parametrize("value", [1, 300, 1.0, 60.5])
def test_seconds_within_the_bounds(value: float) -> None:
    assert arguments.check_seconds("timeout", value, arguments.TIMEOUT) == value


@pytest.mark.parametrize("value", [0.99, 300.01, -1, math.nan, math.inf, "60", None, True])
def test_seconds_out_of_bounds_or_of_a_wrong_type(value: Any) -> None:
    error = refused(arguments.check_seconds, "timeout", value, arguments.TIMEOUT)
    assert error.config_key == "timeout"
    assert error.invalid_value is value
    assert "timeout" in str(error)


def test_the_nearest_bound_is_suggested() -> None:
    assert refused(arguments.check_count, "max_retries", 11, arguments.MAX_RETRIES).suggestion == "max_retries=10"
    assert refused(arguments.check_seconds, "retry_delay", 0, arguments.RETRY_DELAY).suggestion == "retry_delay=0.1"


@pytest.mark.parametrize("value", [1.5, "3", False, None])
def test_a_count_is_a_whole_number(value: Any) -> None:
    assert refused(arguments.check_count, "max_retries", value, arguments.MAX_RETRIES).config_key == "max_retries"


@pytest.mark.parametrize("value", ["", "gpt 4", "gpt-4\n", "a\x00b", 4, None])
def test_what_cannot_be_a_name(value: Any) -> None:
    assert refused(arguments.check_name, "default_model", value).config_key == "default_model"


def test_a_single_name_is_no_list_and_the_list_is_suggested() -> None:
    assert refused(arguments.check_names, "providers", "openai").suggestion == "providers=['openai']"


def test_doubles_are_left_out_and_order_is_kept() -> None:
    assert arguments.check_names("providers", ["b", "a", "b"]) == ["b", "a"]
    assert arguments.check_names("providers", {"b", "a"}) == ["a", "b"]


def test_a_mapping_given_for_a_list_is_not_repeated_since_it_may_hold_keys() -> None:
    error = refused(arguments.check_names, "providers", {"openai": "sk-secret"})
    assert "sk-secret" not in f"{error} {error.invalid_value}"


@pytest.mark.parametrize("value", [["sk-secret"], {"openai": ["sk-secret"]}, {"openai": "sk-secret\n\x00"}])
def test_texts_that_may_be_keys_are_never_repeated(value: Any) -> None:
    error = refused(arguments.check_texts, "api_keys", value, "keys")
    assert "sk-secret" not in f"{error} {error.invalid_value} {error.suggestion}"


def test_texts_are_stripped() -> None:
    assert arguments.check_texts("api_keys", {"openai": " sk-1\n".strip("\n")}, "keys") == {"openai": "sk-1"}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000/v1"),
        ("http://127.0.0.1:4000/", "http://127.0.0.1:4000/v1"),
        ("http://127.0.0.1:4000/v1/", "http://127.0.0.1:4000/v1"),
        ("https://gw.example/llm/v1", "https://gw.example/llm/v1"),
    ],
)
def test_base_urls(given: str, used: str) -> None:
    assert arguments.check_base_url("base_url", given) == used


@pytest.mark.parametrize(
    "value", ["", "localhost:4000", "ftp://x/v1", "http://", "http://[::1", "http://x:99999", "http://x:0", 4000, None]
)
def test_what_is_no_base_url(value: Any) -> None:
    assert refused(arguments.check_base_url, "base_url", value).config_key == "base_url"


@pytest.mark.parametrize("value", ["http://me:sk-secret@x/v1", "http://x/v1?key=sk-secret"])
def test_a_base_url_with_a_secret_in_it_is_refused_without_repeating_it(value: str) -> None:
    error = refused(arguments.check_base_url, "base_url", value)
    assert "sk-secret" not in f"{error} {error.invalid_value}"


def test_an_upstream_url_holds_no_password_and_keeps_its_path() -> None:
    assert arguments.check_upstream_url("api_bases.x", "http://x/v2/") == "http://x/v2/"
    error = refused(arguments.check_upstream_url, "api_bases.x", "http://me:sk-secret@x/v2")
    assert "sk-secret" not in f"{error} {error.invalid_value}"


@pytest.mark.parametrize("value", ["", "  ", "sk-ü", "sk-\n1", 5])
def test_what_is_no_key(value: Any) -> None:
    error = refused(arguments.check_key_text, "api_key", value)
    assert error.invalid_value is None
