"""Durations and sizes with a unit."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.schema.units import megabytes, number_meant, seconds
from gatewayd.config.snapshot import ServerSettings
from gatewayd.config.validator import ConfigValidator

ENTRY = {"model_name": "a", "litellm_params": {"model": "openai/x", "api_key": "sk-0123456789abcdef"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        ("1.5h", 5400),
        ("10 min", 600),
        ("30", 30),
        (30, 30),
    ],
)
def test_seconds(text: object, expected: float) -> None:
    """U-D12"""
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("32MB", 32), ("32M", 32), ("1GB", 1024), ("512KB", 0.5), ("1.5 GiB", 1536), ("32", 32), (0.5, 0.5)],
)
def test_megabytes(text: object, expected: float) -> None:
    """U-D12"""
    assert megabytes(text) == expected


@pytest.mark.parametrize("text", ["soon", "10 parsecs", "s30", "", "1e3", "-5s", "1d"])
def test_other_texts_stay_what_they_are(text: str) -> None:
    assert seconds(text) == text
    assert number_meant(text) is None


def server(own: dict[str, Any]) -> ServerSettings:
    return ConfigValidator(environ={}).validate({"model_list": [ENTRY], "gatewayd": own}).server


def test_they_are_taken_in_the_own_section() -> None:
    """U-D12"""
    made = server(
        {
            "timeouts": {"connect": "500ms", "first_byte": "2m", "idle": "1m30s", "total": "10m"},
            "drain": "2m",
            "stream": {"keep_alive": "15s"},
            "limits": {"body_mb": "1MB", "bodies_mb": "1GB"},
        }
    )
    assert (made.timeouts.connect, made.timeouts.first_byte, made.timeouts.idle, made.timeouts.total) == (
        0.5,
        120,
        90,
        600,
    )
    assert (made.drain, made.stream.keep_alive) == (120, 15)
    assert (made.limits.body_mb, made.limits.bodies_mb) == (1, 1024)
    assert server({"stream": {"keep_alive": "off"}, "drain": 0}).drain == 0


@pytest.mark.parametrize(
    ("sections", "hint"),
    [
        ({"router_settings": {"timeout": "30s"}}, "write 30"),
        ({"litellm_settings": {"request_timeout": "10m"}}, "write 600"),
        ({"general_settings": {"max_request_size_mb": "32MB"}}, "write 32"),
        ({"gatewayd": {"log": "debug"}}, "write `log: {level: debug}`"),
        ({"gatewayd": {"log": "json"}}, "write `log: {format: json}`"),
    ],
)
def test_elsewhere_the_hint_has_the_number_to_write(sections: dict[str, Any], hint: str) -> None:
    """U-D12"""
    (problem,) = ConfigValidator(environ={}).check({"model_list": [ENTRY], **sections}).problems
    assert (problem.code, problem.hint) == ("wrong_type", hint)


def test_a_shells_variable_is_named_in_the_hint() -> None:
    """U-D12"""
    for text in ("${MY_KEY}", "${MY_KEY:-x}", "$MY_KEY"):
        entry = {"model_name": "a", "litellm_params": {"model": "openai/x", "api_key": text}}
        (problem,) = ConfigValidator(environ={}).check({"model_list": [entry]}).problems
        assert (problem.code, problem.hint) == ("unexpanded_variable", "write os.environ/MY_KEY")
