"""Invalid entries of `model_list`: the file is refused, or they are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewayd.config import channel
from gatewayd.config.overrides import Overrides
from gatewayd.config.result import Result
from gatewayd.config.validator import ConfigValidator
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import UnknownModel

SKIP = {"on_invalid_deployment": "skip"}
GOOD = {"model": "openai/gpt-4o", "api_key": "os.environ/KEY"}
UNSET = {"model": "openai/gpt-4o", "api_key": "os.environ/UNSET"}


def entry(name: str, params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": params}


def check(*entries: Any, flag: str | None = None, **sections: Any) -> Result:
    tree = {"model_list": list(entries), **sections}
    overrides = Overrides(on_invalid_deployment=flag)
    return ConfigValidator(environ={"KEY": "sk-0123456789abcdef"}, overrides=overrides).check(tree)


@pytest.mark.parametrize(
    "bad",
    [
        entry("b", UNSET),
        entry("b", {"model": "opnai/x"}),
        entry("b", {**GOOD, "rpm": "many"}),
        entry("b", {"model": "groq/x"}),
        entry("b", {**GOOD, "api_base": "nonsense"}),
        entry("b", {**GOOD, "api_base": "http://localhost:4000/v1"}),
        entry("b", None),
        {"model_name": "b"},
        "b",
    ],
)
def test_an_invalid_entry_refuses_the_file_or_is_left_out(bad: Any) -> None:
    """U-D6: refusing is the default; its hint says what would serve the rest."""
    strict = check(entry("a", GOOD), bad)
    assert strict.snapshot is None
    assert sum("on_invalid_deployment: skip" in (problem.hint or "") for problem in strict.problems) == 1
    for result in (check(entry("a", GOOD), bad, gatewayd=SKIP), check(entry("a", GOOD), bad, flag="skip")):
        assert result.snapshot is not None
        assert [d.group for d in result.snapshot.deployments] == ["a"]
        ((_, _, reason),) = result.snapshot.left_out
        assert reason
        left_out = [problem for problem in result.problems if "is left out" in problem.message]
        assert left_out
        assert {problem.severity for problem in left_out} == {"warning"}


def test_the_flag_goes_before_the_file() -> None:
    """U-D6"""
    assert check(entry("a", GOOD), entry("b", UNSET), gatewayd=SKIP, flag="refuse").snapshot is None


@pytest.mark.parametrize(
    "sections",
    [
        {"gatewayd": {**SKIP, "lissten": "x"}},
        {"gatewayd": SKIP, "router_settings": {"num_retries": "x"}},
        {"gatewayd": {**SKIP, "listen": "0.0.0.0:4000"}},
        {"gatewayd": SKIP, "litellm_settings": {"guardrails": [{"a": 1}]}},
    ],
)
def test_nothing_else_is_skipped(sections: Any) -> None:
    """U-D6: what is wrong elsewhere, or would protect something, refuses the file as ever."""
    result = check(entry("a", GOOD), entry("b", UNSET), **sections)
    assert result.snapshot is None


def test_a_guard_of_an_entry_is_never_skipped() -> None:
    """U-D6"""
    result = check(entry("a", GOOD), entry("b", {**GOOD, "guardrails": ["pii"]}), gatewayd=SKIP)
    assert result.snapshot is None
    assert [problem.code for problem in result.problems] == ["unsupported_key"]


def test_a_file_of_which_nothing_is_valid_is_refused() -> None:
    """U-D6"""
    result = check(entry("a", UNSET), gatewayd=SKIP)
    assert result.snapshot is None
    assert "no_models" in [problem.code for problem in result.problems]
    strict = check(entry("a", UNSET))
    assert all("on_invalid_deployment" not in (problem.hint or "") for problem in strict.problems)


def test_a_credential_that_is_invalid_takes_its_deployments_with_it() -> None:
    """U-D6"""
    credential = {"credential_name": "c", "credential_values": {"api_key": "os.environ/UNSET"}}
    using = entry("b", {"model": "openai/x", "litellm_credential_name": "c"})
    result = check(entry("a", GOOD), using, credential_list=[credential], gatewayd=SKIP)
    assert result.snapshot is not None
    assert [group for group, _, _ in result.snapshot.left_out] == ["b"]


def test_fallbacks_and_aliases_of_what_is_left_out_stay() -> None:
    """U-D6"""
    router = {"fallbacks": [{"a": ["b"]}], "model_group_alias": {"c": "b"}}
    result = check(entry("a", GOOD), entry("b", UNSET), gatewayd=SKIP, router_settings=router)
    assert result.snapshot is not None


async def test_a_group_with_others_serves_and_one_without_says_why() -> None:
    """U-D6"""
    result = check(
        entry("a", GOOD),
        entry("a", UNSET),
        entry("b", UNSET),
        gatewayd=SKIP,
        router_settings={"fallbacks": [{"a": ["b"]}]},
    )
    assert result.snapshot is not None
    runtime = await build(result.snapshot, Gateway(serves=False))
    assert len(runtime.table.chain("a").first.group.candidates) == 1
    with pytest.raises(UnknownModel, match="is not served, because its configuration is invalid"):
        runtime.table.chain("b")
    with pytest.raises(UnknownModel, match="does not exist"):
        runtime.table.chain("c")
    await runtime.retire()


def test_what_is_left_out_comes_through_the_channel(tmp_path: Path) -> None:
    """U-D6: a reload reads in a process of its own."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(
        "model_list:\n- {model_name: a, litellm_params: {model: openai/x, api_key: os.environ/KEY}}\n"
        "- {model_name: b, litellm_params: {model: openai/x, api_key: os.environ/UNSET}}\n"
        "gatewayd: {on_invalid_deployment: skip}\n"
    )
    result = ConfigValidator(environ={"KEY": "sk-0123456789abcdef"}).check(file)
    assembler, received = channel.Assembler(), None
    for frame in channel.dump(result):
        received = assembler.feed(frame[channel.HEADER.size :])
    assert received is not None
    assert received.snapshot is not None
    assert received.snapshot.left_out == (("b", f"{file}:3", "the environment variable UNSET is not set"),)
