"""What the admin side shows, whatever a configuration holds."""

from __future__ import annotations

import json
from datetime import date
from types import MappingProxyType

from gatewayd.admin.views import config_view, outcome_view
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Packed, Snapshot
from gatewayd.engine.reload import Applied, Rejected, Unchanged
from gatewayd.secret import Secret


def test_a_secret_in_the_effective_configuration_is_masked_all_the_same() -> None:
    """D-02: the second defence."""
    effective = MappingProxyType({"key": Secret("sk-live-0123456789"), "list": (MappingProxyType({"a": 1}),)})
    shown = config_view(Snapshot("r", (), effective=effective, files=("/etc/gatewayd.yaml",)))
    assert json.loads(shown) == {
        "revision": "r",
        "files": ["/etc/gatewayd.yaml"],
        "config": {"key": "***", "list": [{"a": 1}]},
    }


def test_a_packed_configuration_is_shown_as_it_would_be_unpacked() -> None:
    tree = {"model_list": [{"litellm_params": {"api_key": "***", "when": date(2026, 11, 1), "big": 2**70}}]}
    packed = Result(Snapshot("r", (), effective=tree)).packed().snapshot
    assert packed is not None
    assert isinstance(packed.effective, Packed)
    assert config_view(packed) == config_view(Snapshot("r", (), effective=tree))


def test_what_is_no_plain_tree_is_not_packed() -> None:
    """D-02: packing must not be the way on which a secret gets past its mask."""
    result = Result(Snapshot("r", (), effective={"key": Secret("sk-live-0123456789")}))
    assert result.packed() == result


def test_every_outcome_has_its_result() -> None:
    problem = Problem("code", "message")
    outcomes = (Applied("r", ("+ a",), (problem,), 0.12345), Unchanged("r"), Rejected((problem,)))
    shown = [json.loads(outcome_view(outcome)) for outcome in outcomes]
    assert [outcome["result"] for outcome in shown] == ["applied", "unchanged", "rejected"]
    assert shown[0] == {
        "result": "applied",
        "revision": "r",
        "changes": ["+ a"],
        "warnings": [problem.as_dict()],
        "seconds": 0.123,
    }
    assert shown[2]["problems"] == [problem.as_dict()]
