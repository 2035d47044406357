"""Deployments whose address is gatewayd's own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.checks.circle import Listeners
from gatewayd.config.loader import load, load_in_child
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Address
from gatewayd.config.validator import ConfigValidator

LOCAL = Address("127.0.0.1", 4000)
EVERYWHERE = Address("0.0.0.0", 4000)


@pytest.mark.parametrize("listen", [LOCAL, EVERYWHERE, Address("localhost", 4000), Address("::1", 4000)], ids=str)
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1.2.3", "127.1", "2130706433", "localhost", "LOCALHOST.", "api.localhost", "[::1]", "0.0.0.0",
     "[::]", "[::ffff:127.0.0.1]"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["http://{}:4000/v1", "https://{}:4000"])
def test_every_way_to_write_loopback_leads_back(listen: Address, host: str, form: str) -> None:
    """U-A1"""
    assert Listeners([listen]).reached_by(form.format(host)) is listen


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:4001", "http://127.0.0.1", "http://127.example.org:4000", "http://10.0.0.1:4000",
     "https://api.openai.com/v1", "http://gateway:4000"],
)  # fmt: skip
def test_other_addresses_do_not(url: str) -> None:
    """U-A1: another gateway on another port or host is an upstream like any other."""
    assert Listeners([LOCAL, Address(path="/run/gatewayd.sock"), Address("127.0.0.1", 0)]).reached_by(url) is None


def test_a_listener_on_every_address_is_reached_by_the_machines_name() -> None:
    """U-A1"""
    url = f"http://{socket.gethostname()}:4000/v1"
    assert Listeners([EVERYWHERE]).reached_by(url) is EVERYWHERE
    assert Listeners([Address("10.0.0.1", 4000)]).reached_by("http://10.0.0.1:4000") is not None
    assert Listeners([EVERYWHERE]).reached_by("http://192.0.2.1:4000") is None  # TEST-NET-1: nobody's


def circles(environ: dict[str, str], overrides: Overrides | None = None, **params: Any) -> list[Problem]:
    entry = {"model_name": "a", "litellm_params": {"model": "openai/x", "api_key": "sk-0123456789abcdef", **params}}
    result = ConfigValidator(environ=environ, overrides=overrides).check({"model_list": [entry]})
    return [problem for problem in result.problems if problem.code == "upstream_is_gatewayd"]


@pytest.mark.parametrize("base", ["http://localhost:4000/v1", "http://127.0.0.1:4001"])
@pytest.mark.parametrize("key", ["api_base", "base_url"])
def test_an_upstream_that_is_gatewayd_is_an_error(base: str, key: str) -> None:
    """U-A1: the data listener and the admin listener, as they are by default."""
    params: dict[str, Any] = {key: base}
    (problem,) = circles({}, **params)
    assert problem.path == f"model_list[0].litellm_params.{key}"
    assert problem.severity == "error"


@pytest.mark.parametrize(
    ("model", "variable"),
    [("openai/x", "OPENAI_BASE_URL"), ("openai/x", "OPENAI_API_BASE"), ("anthropic/x", "ANTHROPIC_BASE_URL"),
     ("gemini/x", "GEMINI_API_BASE"), ("groq/x", "GROQ_API_BASE")],
)  # fmt: skip
def test_an_address_from_the_environment_is_named_by_its_variable(model: str, variable: str) -> None:
    """U-A1"""
    (problem,) = circles({variable: "http://localhost:4000"}, model=model)
    assert variable in problem.message
    assert f"unset {variable}" in (problem.hint or "")


def test_the_command_lines_port_counts_and_not_the_files() -> None:
    """U-A1: with `--port` the file's port may be somebody else's."""
    moved = Overrides(port=5000)
    assert circles({}, moved, api_base="http://localhost:4000/v1") == []
    assert len(circles({}, moved, api_base="http://localhost:5000/v1")) == 1


async def test_the_child_process_knows_the_command_line_too(tmp_path: Path) -> None:
    """U-A1"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(
        "model_list:\n- model_name: a\n  litellm_params:\n"
        "    {model: openai/x, api_key: sk-0123456789abcdef, api_base: http://localhost:5000/v1}\n"
    )
    file.chmod(0o600)
    moved = Overrides(port=5000)
    results = [
        load(file, environ={}, overrides=moved),
        await load_in_child(file, environ={}, overrides=moved),
        await load_in_child(file, environ={}, keep=str(tmp_path / "kept"), overrides=moved),
    ]
    assert [[p.code for p in result.problems] for result in results] == [["upstream_is_gatewayd"]] * 3
    assert (await load_in_child(file, environ={})).snapshot is not None
