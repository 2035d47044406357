from pathlib import Path

import pytest

from gatewayd.config.search import candidates, find, from_environment
from gatewayd.config.validator import ConfigValidator


def test_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path)}
    home = tmp_path / ".config" / "gatewayd" / "gatewayd.yaml"
    assert candidates(environ) == ["gatewayd.yaml", str(home), "/etc/gatewayd/gatewayd.yaml"]
    home.parent.mkdir(parents=True)
    home.touch()
    assert find(None, environ) == str(home)
    (tmp_path / "gatewayd.yaml").touch()
    assert find(None, environ) == "gatewayd.yaml"
    assert find(None, {**environ, "GATEWAYD_CONFIG": "nowhere.yaml"}) == "nowhere.yaml"
    assert find("named.yaml", {**environ, "GATEWAYD_CONFIG": "nowhere.yaml"}) == "named.yaml"


def test_nothing_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(None, {"XDG_CONFIG_HOME": str(tmp_path)}) is None or Path("/etc/gatewayd/gatewayd.yaml").exists()


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"HOME": "/root"}])
def test_no_keys_no_configuration(environ: dict[str, str]) -> None:
    assert from_environment(environ) is None


def test_what_keys_alone_give_is_valid_and_holds_no_key() -> None:
    environ = {"OPENAI_API_KEY": "sk-canary-1", "ANTHROPIC_API_KEY": "sk-canary-2", "GROQ_API_KEY": "sk-canary-3"}
    tree = from_environment(environ)
    assert tree is not None
    assert "canary" not in str(tree)
    result = ConfigValidator(environ=environ).check(tree)
    assert result.problems == ()
    assert result.snapshot is not None
    groups = {deployment.group: deployment for deployment in result.snapshot.deployments}
    assert groups["openai/*"].provider == groups["gpt-*"].provider == "openai"
    assert groups["claude-*"].provider == "anthropic"
    assert groups["groq/*"].model == "*"
    key = groups["gpt-*"].api_key
    assert key is not None
    assert key.reveal() == "sk-canary-1"
