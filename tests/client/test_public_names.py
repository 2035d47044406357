"""`import gatewayd` as users see it: its names, their types, and what importing it costs."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gatewayd
from gatewayd.config.problems import Problem
from gatewayd.errors import ConfigInvalid, ConfigurationError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout


def test_names_are_sorted_complete_and_there() -> None:
    assert gatewayd.__all__ == sorted(gatewayd.__all__)
    for name in gatewayd.__all__:
        assert getattr(gatewayd, name) is not None
    assert set(gatewayd.__all__) <= set(dir(gatewayd))
    assert gatewayd._HOMES.keys() < set(gatewayd.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'create_gatway'"):
        gatewayd.create_gatway  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from gatewayd import nonsense  # type: ignore[attr-defined]  # noqa: F401


def test_the_types_of_results_are_there() -> None:
    """U-E7: what `check`, `validate` and `health` return."""
    result = gatewayd.ConfigValidator(environ={}).check({"model_list": []})
    assert isinstance(result, gatewayd.Result)
    assert all(isinstance(problem, gatewayd.Problem) for problem in result.problems)
    good = {"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a", "mock_response": "hi"}}]}
    assert isinstance(gatewayd.ConfigValidator(environ={}).validate(good), gatewayd.Snapshot)
    with gatewayd.LiteLLMGateway(base_url="http://127.0.0.1:1") as gateway:
        assert isinstance(gateway.health(), gatewayd.Health)


def test_a_star_import_brings_all_of_them() -> None:
    script = (
        "from gatewayd import *; import gatewayd, json; print(json.dumps(sorted({*gatewayd.__all__} - {*globals()})))"
    )
    assert json.loads(python(script)) == []


def test_the_module_that_older_programs_import_from_has_the_same_classes() -> None:
    from gatewayd.gateway import GatewayConfig, LiteLLMGateway

    assert LiteLLMGateway is gatewayd.LiteLLMGateway
    assert GatewayConfig is gatewayd.GatewayConfig


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python("import sys; before = set(sys.modules); import gatewayd; print(*set(sys.modules) - before)").split()
    assert not {"aiohttp", "litellm", "openai", "pydantic", "msgspec", "yaml", "asyncio", "httpx"} & set(loaded)
    assert len(loaded) < 40  # so that it takes a hundredth of a second


@pytest.mark.parametrize("name", ["ConfigurationError", "GatewayConfig"])
def test_errors_and_values_do_not_need_the_sdk(name: str) -> None:
    loaded = python(f"import sys; from gatewayd import {name}; print(*sys.modules)").split()
    assert not {"aiohttp", "litellm", "openai", "pydantic"} & set(loaded)


def test_attaching_needs_neither_the_server_nor_the_schema() -> None:
    """So that an environment with the `openai` package alone is enough (tests/client/compat.py)."""
    script = """
import sys, gatewayd
gatewayd.create_gateway(base_url="http://127.0.0.1:1/v1", default_model="m").close()
print(*sys.modules)
"""
    loaded = python(script).split()
    assert not {"litellm", "msgspec", "yaml", "uvloop", "gatewayd.config", "gatewayd.web", "gatewayd.daemon"} & set(
        loaded
    )


CALLS = [
    "create_gateway(default_model='gpt-5.5')",
    "create_gateway(['openai'], 'gpt-4', {'openai': 'sk-x'})",
    "configure_gateway([])",
    "LiteLLMGateway(GatewayConfig([]))",
    "GatewayConfig([]).to_yaml()",
]
WITHOUT_REQUIREMENTS = f"""
import json, sys, gatewayd
from gatewayd import ConfigurationError, GatewayConfig, LiteLLMGateway, configure_gateway, create_gateway
from gatewayd.client import functions
sys.modules |= dict.fromkeys(["msgspec", "yaml"])
functions.daemon_lives = lambda base_url: False
errors = {{}}
for call in {CALLS!r}:
    try:
        eval(call)
    except ConfigurationError as error:
        errors[call] = str(error)
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors() -> dict[str, str]:
    """What each call says in an environment for attaching, where the daemon is not running or its address was
    forgotten."""
    found: dict[str, str] = json.loads(python(WITHOUT_REQUIREMENTS))
    return found


@pytest.mark.parametrize("call", CALLS)
def test_without_the_requirements_it_is_said_what_they_are_for(call: str, errors: dict[str, str]) -> None:
    assert "is missing" in errors[call]
    assert "GATEWAYD_BASE_URL" in errors[call]


def test_a_type_checker_sees_precise_types_in_users_code(tmp_path: Path) -> None:
    """With what `make check` has cached about the openai package, which takes mypy half a minute."""
    program = tmp_path / "program.py"
    shutil.copy(HERE / "typing_user.py", program)
    command = [sys.executable, "-m", "mypy", "--strict", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert (ROOT / "gatewayd" / "py.typed").exists()  # without it type checkers ignore an installed gatewayd


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_errors_survive_the_way_out_of_a_pool_of_processes(again: Callable[[Exception], Any]) -> None:
    """One that cannot be read again breaks the whole pool."""
    refused = again(ConfigInvalid([Problem("a", "odd", "x", severity="warning"), Problem("b", "bad", "y", hint="z")]))
    assert [problem.hint for problem in refused.problems] == [None, "z"]
    assert str(refused) == "warning[a] x: odd\nerror[b] y: bad\n    hint: z"
    wrong = again(ConfigurationError("bad", config_key="k", invalid_value=3, valid_options=["4"], suggestion="k=4"))
    assert (str(wrong), wrong.config_key, wrong.invalid_value) == ("bad\n  hint: k=4", "k", 3)
    assert (wrong.valid_options, wrong.suggestion) == (["4"], "k=4")
