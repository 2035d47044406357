"""Texts that can only be mistakes."""

from __future__ import annotations

import pytest

from gatewayd.config.checks.lookalikes import is_placeholder, odd_quotes, other_reference
from gatewayd.config.problems import Problem
from gatewayd.config.validator import ConfigValidator

PATH = ("model_list", 0, "litellm_params", "api_key")


@pytest.mark.parametrize(
    "text",
    [
        'os.environ["NAME"]',
        "os.environ['NAME']",
        "os.environ[NAME]",
        'os.environ.get("NAME")',
        'os.environ.get("NAME", "")',
        'os.getenv("NAME")',
        "os.environ.NAME",
        "os.environ:NAME",
        "env:NAME",
        "ENV:NAME",
        "env/NAME",
        "environ/NAME",
        "os.env/NAME",
        "env(NAME)",
        "${{ secrets.NAME }}",
        "{{ NAME }}",
        "{{NAME}}",
        "{{ env.NAME }}",
        "{{ .Values.NAME }}",
        "{{ NAME | quote }}",
        "%NAME%",
        "$env:NAME",
        "process.env.NAME",
        "$(NAME)",
        "!ENV ${NAME}",
    ],
)
def test_references_of_other_tools(text: str) -> None:
    """U-D5: the hint has the value to write."""
    mistake = other_reference(text, PATH)
    assert mistake is not None
    assert mistake[1] == "write os.environ/NAME"


@pytest.mark.parametrize(
    "text",
    [
        "sk-0123456789",
        "env",
        "%",
        "{}",
        "environment",
        "os.environ/NAME",
        "openai/gpt-4o",
        "enveloped/x",
        "{{",
        "$5",
        "e",
    ],
)
def test_innocent_texts_are_no_references(text: str) -> None:
    """U-D5"""
    assert other_reference(text, PATH) is None


def test_a_template_below_a_key_for_templates_is_meant() -> None:
    """U-D5"""
    assert other_reference("{{ prompt }}", ("model_list", 0, "litellm_params", "extra_body", "template")) is None


@pytest.mark.parametrize(
    "text",
    [
        "your-api-key",
        "your_api_key",
        "YOUR_OPENAI_API_KEY",
        "your-api-key-here",
        "<your-api-key>",
        "<API_KEY>",
        "sk-...",
        "sk-xxxx",
        "sk-your-key",
        "xxxxxxxx",
        "sk-ant-xxxxx",
        "changeme",
        "change-me",
        "REPLACE_ME",
        "replace-with-your-key",
        "INSERT_KEY_HERE",
        "api-key",
        "my-api-key",
        "...",
        "sk-****",
        "<key>",
        "put-your-key-here",
        "my-openai-api-key",
        "enter-api-key",
    ],
)
def test_placeholders(text: str) -> None:
    """U-D5"""
    assert is_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        "sk-0123456789abcdef",
        "none",
        "dummy",
        "sk-1234",
        "EMPTY",
        "not-needed",
        "gsk_Abc123yourXyz9",
        "AIzaSyD-abc_def",
        "lm-studio",
    ],
)
def test_keys_and_dummies_of_servers_without_keys_are_no_placeholders(text: str) -> None:
    """U-D5: what is for a server that wants no key is meant."""
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    "text", ["your" + "_a" * 47, "env" + "/" * 90, "{{" + " " * 200, "my-" + "a-" * 45, "x" * 99 + "!"]
)
def test_hostile_texts_take_no_time(text: str) -> None:
    is_placeholder(text)
    other_reference(text, PATH)


def test_typographic_quotes() -> None:
    """U-D12: YAML takes them for a part of the text."""
    assert odd_quotes("“gpt-4o”", str) == (
        "is in typographic quotes, which YAML reads as part of the text",
        'write "gpt-4o"',
    )
    assert odd_quotes("‘x’", str) is not None
    assert odd_quotes("He said “hello” to me", str) is None
    assert odd_quotes("«a» and «b»", str) is None
    assert odd_quotes("“", str) is None


def problems(**own: object) -> list[Problem]:
    entry = {"model_name": "a", "litellm_params": {"model": "openai/x", "api_key": "sk-0123456789abcdef"}}
    return list(ConfigValidator(environ={}).check({"model_list": [entry], "gatewayd": own}).problems)


@pytest.mark.parametrize(
    ("listen", "admin", "taken"),
    [
        ("0.0.0.0:4000", "127.0.0.1:4000", True),
        ("127.0.0.1:4000", "0.0.0.0:4000", True),
        ("[::]:4000", "[::1]:4000", True),
        ("[::]:4000", "localhost:4000", True),
        ("0.0.0.0:4000", "127.0.0.1:4001", False),
        ("0.0.0.0:4000", "[::1]:4000", False),
        ("0.0.0.0:4000", "[::]:4000", False),
    ],
)
def test_every_address_of_a_port_includes_each(listen: str, admin: str, taken: bool) -> None:
    """U-D5"""
    found = [problem.path for problem in problems(listen=listen, admin=admin) if problem.code == "address_taken"]
    assert bool(found) is taken
