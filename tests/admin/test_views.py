"""What the admin side shows, whatever a configuration holds."""

from __future__ import annotations

import json
from datetime import date
from types import MappingProxyType

from gatewayd.admin.views import config_view, health_view, outcome_view, status_view
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Deployment, Packed, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.reload import Applied, Rejected, Reloader, Settled, Staged, Unchanged
from gatewayd.engine.runtime import Gateway
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
    outcomes = (Applied("r", ("+ a",), (problem,), 0.12345), Unchanged("r", 1.23456), Rejected((problem,)))
    shown = [json.loads(outcome_view(outcome)) for outcome in outcomes]
    assert [outcome["result"] for outcome in shown] == ["applied", "unchanged", "rejected"]
    assert shown[0] == {
        "result": "applied",
        "revision": "r",
        "changes": ["+ a"],
        "warnings": [problem.as_dict()],
        "seconds": 0.123,
    }
    assert shown[1] == {"result": "unchanged", "revision": "r", "live_seconds": 1.235}
    assert shown[2]["problems"] == [problem.as_dict()]


async def test_the_numbers_of_workers_are_counted_together() -> None:
    """Sums, and of a deployment's states the worst."""
    gateway = Gateway(serves=False)
    deployment = Deployment("d1", "identity", "chat", "scripted", "openai", "m")
    gateway.swap(await build(Snapshot("r", (deployment,)), gateway))

    async def never(settled: Settled) -> Result:
        raise AssertionError

    async def prepare(snapshot: Snapshot) -> Staged:
        raise AssertionError

    reloader = Reloader(gateway, never, prepare=prepare, observe=lambda outcome: None)
    alone = json.loads(status_view(gateway, reloader, 1.0, 100.0))
    assert "workers" not in alone
    shown = [json.loads(health_view(gateway, 1.0, 100.0)) for _ in range(3)]
    (sick,) = shown[1]["groups"][0]["deployments"]
    sick |= {
        "state": "cooling",
        "cooling_for_seconds": 3.0,
        "failures": 2,
        "in_flight": 4,
        "last_error": "rate_limited",
        "since": "2026-11-01T10:00:00.000Z",
        "recent": ["ok", "rate_limited"],
        "last_failure": {
            "at": "2026-11-01T10:00:00.000Z",
            "code": "rate_limited",
            "reason": "answered 429",
            "hint": None,
        },
    }
    shown[2]["groups"][0]["deployments"][0] |= {
        "state": "cooling",
        "cooling_for_seconds": 1.0,
        "since": "2026-11-01T09:59:59.000Z",
        "recent": ["timeout"],
        "last_error": "timeout",
        "last_failure": {"at": "2026-11-01T09:59:59.000Z", "code": "timeout", "reason": "late", "hint": None},
    }
    shown[0]["in_flight"], shown[1]["in_flight"] = 1, 4
    shown[0]["groups"][0]["deployments"][0]["in_flight"] = 1
    workers = [{"number": number, "pid": number, **view} for number, view in enumerate(shown)]
    status = json.loads(status_view(gateway, reloader, 1.0, 100.0, [*workers, {"number": 3, "pid": 3}]))
    assert status["in_flight"] == 5
    assert status["ready"] is True
    nobody = status_view(gateway, reloader, 1.0, 100.0, [{"number": 3, "pid": 3}])
    assert json.loads(nobody)["ready"] is False  # the supervisor alone answers no request
    crowded = json.loads(status_view(gateway, reloader, 1.0, 100.0, [{**workers[0], "overloaded": True}, workers[1]]))
    assert (crowded["ready"], crowded["overloaded"]) == (False, True)  # U-F1
    assert [worker["number"] for worker in status["workers"]] == [0, 1, 2, 3]
    assert not any("groups" in worker for worker in status["workers"])
    (found,) = status["groups"][0]["deployments"]
    assert (found["state"], found["cooling_for_seconds"], found["last_error"]) == ("cooling", 3.0, "rate_limited")
    assert (found["in_flight"], found["failures"]) == (5, 2)
    assert (found["since"], found["recent"]) == ("2026-11-01T09:59:59.000Z", ["ok", "rate_limited"])
    assert found["last_failure"]["reason"] == "answered 429", "the newest one"
    assert {**alone["groups"][0]["deployments"][0], "state": 0} | found == found
    await gateway.close()
