"""What may be shown."""

from __future__ import annotations

import json
from datetime import date

import pytest

from gatewayd.config.checks.secrecy import ends_as_secret, is_secret_name, is_secret_path, redacted, without_userinfo
from gatewayd.secret import Secret


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "master_key", "aws_secret_access_key", "aws_session_token", "vertex_credentials", "azure_ad_token",
        "client_secret", "azure_password", "X-Api-Key", "apiKey", "redis_password", "database_url", "extra_headers",
        "authorization", "hf_token", "environment_variables",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert ends_as_secret(name)
    assert is_secret_path(("model_list", 0, name, "inner"))


@pytest.mark.parametrize(
    "name", ["model", "api_base", "max_tokens", "max_completion_tokens", "budget_tokens", "tokenizer", "monkey", "rpm"]
)
def test_names_of_others(name: str) -> None:
    assert not is_secret_name(name)


def test_a_setting_about_keys_is_no_key() -> None:
    assert not ends_as_secret("key_management_system")
    assert not ends_as_secret("token_rate_limit_type")


def test_redacted() -> None:
    tree = {
        "api_key": "sk-1",
        "other_key": "os.environ/NAME",
        "max_tokens": 5,
        "key_number": 7,
        "empty_key": "",
        "day": date(2026, 11, 1),
        "wrapped": Secret("sk-2"),
        "extra_headers": {"x-anything": "sk-3", "y": ["sk-4", None]},
        "base": "https://user:sk-5@host/v1?key=sk-6",
        "list": [{"token": "sk-7"}],
    }
    shown = redacted(tree)
    assert "sk-" not in json.dumps(shown)
    assert shown["other_key"] == "os.environ/NAME"
    assert (shown["max_tokens"], shown["key_number"], shown["empty_key"]) == (5, 7, "")
    assert shown["day"] == "2026-11-01"
    assert shown["base"] == "https://***@host/v1?***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/v1", "https://host/v1"),
        ("no address", "no address"),
        ("https://u@host:1/", "https://***@host:1/"),
        ("http://[broken", "***"),
    ],
)
def test_without_userinfo(text: str, shown: str) -> None:
    assert without_userinfo(text) == shown
