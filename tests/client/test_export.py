from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayd.client.config import GatewayConfig
from gatewayd.config.validator import ConfigValidator


def entry(group: str, model: str, **params: Any) -> dict[str, Any]:
    return {"model_name": group, "litellm_params": {"model": model, **params}}


CONFIG = GatewayConfig(
    [
        entry("a", "openai/gpt-5.4", api_key="sk-one"),
        entry("a", "openai/gpt-4o", api_key="sk-two"),
        entry("b", "openai/gpt-4o-mini", api_key="sk-one"),
        entry("c", "openai/gpt-5.4", api_key="os.environ/MINE"),
        entry("d", "gpt-5.4", api_key="sk-three", api_base="http://127.0.0.1:1/v1", max_tokens=5),
        entry("e", "openai/gpt-5.4", api_key="sk-one", extra_headers={"x-team": "sk-header"}),
    ],
    fallbacks=["b"],
)


def test_keys_become_references_named_after_the_provider_and_never_shared_by_two_keys() -> None:
    text = CONFIG.to_yaml()
    assert "sk-" not in text
    params = [item["litellm_params"] for item in yaml.safe_load(text)["model_list"]]
    assert [p["api_key"] for p in params] == [
        f"os.environ/{name}"
        for name in (
            "OPENAI_API_KEY",
            "OPENAI_API_KEY_2",
            "OPENAI_API_KEY",
            "MINE",
            "OPENAI_API_KEY_3",
            "OPENAI_API_KEY",
        )
    ]
    assert params[5]["extra_headers"] == {"x-team": "os.environ/X_TEAM"}
    assert params[4]["max_tokens"] == 5
    assert text.startswith("# Set before use: OPENAI_API_KEY, OPENAI_API_KEY_2, OPENAI_API_KEY_3, X_TEAM\n")


@pytest.mark.parametrize("others", [{"api_key": "os.environ/OPENAI_API_KEY"}, {}], ids=["named", "by default"])
def test_a_key_does_not_take_the_name_of_a_variable_that_another_deployment_uses(others: dict[str, str]) -> None:
    """It would be called with the other's key, or the other with its."""
    config = GatewayConfig([entry("a", "openai/x", **others), entry("b", "openai/x", api_key="sk-mine")])
    text = config.to_yaml()
    assert text.startswith("# Set before use: OPENAI_API_KEY_2\n")
    environ = {"OPENAI_API_KEY": "sk-of-the-company", "OPENAI_API_KEY_2": "sk-mine"}
    from_file, from_code = (
        ConfigValidator(environ=environ).validate(tree) for tree in (yaml.safe_load(text), config.to_dict())
    )
    assert [d.identity for d in from_file.deployments] == [d.identity for d in from_code.deployments]


def test_the_file_is_valid_and_means_the_same(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-one", "OPENAI_API_KEY_2": "sk-two", "OPENAI_API_KEY_3": "sk-three"}
    environ |= {"MINE": "sk-mine", "X_TEAM": "sk-header"}
    path = tmp_path / "gatewayd.yaml"
    path.write_text(CONFIG.to_yaml())
    path.chmod(0o600)
    validator = ConfigValidator(environ=environ)
    result = validator.check(path)
    assert result.problems == ()
    assert result.snapshot is not None
    command = [sys.executable, "-m", "gatewayd", "check", "--strict", str(path)]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    from_code = validator.validate(CONFIG.to_dict())
    assert [d.identity for d in result.snapshot.deployments] == [d.identity for d in from_code.deployments]
    assert result.snapshot.routing == from_code.routing


def test_keys_are_written_out_when_asked_for() -> None:
    text = CONFIG.to_yaml(include_keys=True)
    assert yaml.safe_load(text) == CONFIG.to_dict()
    assert "chmod 600" in text.splitlines()[0]


def test_a_provider_without_a_variable_of_its_own_gets_one_made_of_its_name() -> None:
    config = GatewayConfig([entry("a", "custom_openai/x", api_key="sk-1", api_base="http://127.0.0.1:1")])
    assert "os.environ/CUSTOM_OPENAI_API_KEY" in config.to_yaml()


def test_a_file_without_secrets_has_no_heading() -> None:
    config = GatewayConfig([entry("a", "ollama/llama3")])
    assert config.to_yaml().startswith("model_list:")


def test_a_server_of_ones_own_takes_no_name_from_the_provider() -> None:
    own, other = entry("a", "openai/x", api_base="http://127.0.0.1:1/v1"), entry("b", "openai/x", api_key="sk-one")
    assert GatewayConfig([own, other]).to_yaml().startswith("# Set before use: OPENAI_API_KEY\n")


def test_keys_in_odd_places_become_references_too() -> None:
    """What the daemon hides in its status page is not in the file either."""
    key = "sk-0123456789abcdef"
    odd = entry("a", "openai/x", api_key="sk-one", api_base="https://host/v1?key=canary", extra_body={"who": key})
    text = GatewayConfig([odd]).to_yaml()
    assert text.startswith("# Set before use: API_BASE, OPENAI_API_KEY, WHO\n")
    assert "canary" not in text
    assert key not in text
