"""E-26, R1: every step on the way to a new configuration fails, again and again: nothing changes, nothing is left."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gatewayd.config.result import Result
from gatewayd.config.snapshot import Address, Deployment, Snapshot
from gatewayd.daemon import Daemon
from gatewayd.engine import build
from gatewayd.engine.reload import Applied, Pace, Rejected, Settled
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import ConfigInvalid, ConfigurationError
from gatewayd.upstream.base import Upstream
from tests.test_daemon import chat, running, tree

ROUNDS = 1000
DEPLOYMENTS = 8
ERRORS = (lambda: OSError(24, "Too many open files"), MemoryError, lambda: ConfigurationError("no"), RuntimeError)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class Steps:
    """Makes the `at`-th upstream that is made from now on fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0
        self.error: Exception = OSError()
        self._made = 0
        self._make = build._upstream
        monkeypatch.setattr(build, "_upstream", self._upstream)

    def fail(self, at: int, error: Exception) -> None:
        self.at, self.error, self._made = at, error, 0

    def _upstream(self, deployment: Deployment, gateway: Gateway) -> Upstream:
        self._made += 1
        if self._made == self.at:
            raise self.error
        return self._make(deployment, gateway)


class Loads:
    """In place of reading a file: the live snapshot with other deployments and one more place to listen at."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self._live = daemon.gateway.current.snapshot
        self._folder = folder
        self._number = 0
        self.taken: Address | None = None
        """A place that cannot be listened at, to be asked for as well."""

    async def __call__(self, settled: Settled) -> Result:
        await settled()
        self._number += 1
        deployments = tuple(
            Deployment(
                f"{self._number}-{n}", f"{self._number}-{n}", f"m{n}", "forward", "openai", "m", "http://h.example"
            )
            for n in range(DEPLOYMENTS)
        )
        listen = (*self._live.server.listen, Address(path=str(self._folder / f"s{self._number}")))
        server = replace(self._live.server, listen=listen, admin=self.taken or self._live.server.admin)
        return Result(Snapshot(f"r{self._number}", (*self._live.deployments, *deployments), server=server))


async def test_what_cannot_be_built_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, gateway = Steps(monkeypatch), Gateway()
    bad = Deployment("d1", "d1", "m", "forward", "openai", "m", "http://h.example", place="conf/gatewayd.yaml:7")
    steps.fail(1, ConfigurationError("the upstream's base URL is malformed", config_key="api_base"))
    with pytest.raises(ConfigInvalid) as caught:
        await build.build(Snapshot("r", (bad,)), gateway)
    (problem,) = caught.value.problems
    assert (problem.code, problem.file, problem.line, problem.path) == (
        "build_failed",
        "conf/gatewayd.yaml",
        7,
        "api_base",
    )
    assert problem.message == "deployment d1: the upstream's base URL is malformed"


@pytest.mark.parametrize("step", ["listening", *range(1, DEPLOYMENTS + 1)])
async def test_a_step_that_fails_leaves_nothing(
    step: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    async with running(tree("a")) as daemon:
        with socket.create_server(("127.0.0.1", 0)) as other:
            loads = Loads(daemon, tmp_path)
            daemon.reloader._load = loads
            daemon.reloader._pace = Pace(debounce=0, spacing=0, hold=0)
            if step == "listening":
                loads.taken = Address("127.0.0.1", other.getsockname()[1])
            live, addresses = daemon.gateway.current, daemon.addresses
            before, tasks, upstreams = descriptors(), len(asyncio.all_tasks()), len(daemon.gateway.upstreams)
            for round_ in range(ROUNDS // DEPLOYMENTS):
                if isinstance(step, int):
                    steps.fail(step, ERRORS[round_ % len(ERRORS)]())
                outcome = await daemon.reloader.reload("test")
                assert isinstance(outcome, Rejected)
                assert outcome.problems[0].code in (
                    "listen_failed",
                    "build_failed",
                    "reload_failed",
                    "invalid_value",
                ), outcome
            await asyncio.sleep(0)
            assert descriptors() <= before
            assert len(asyncio.all_tasks()) <= tasks
            assert len(daemon.gateway.upstreams) == upstreams
            assert os.listdir(tmp_path) == []  # no socket file
            assert daemon.gateway.current is live
            assert daemon.addresses == addresses
            assert await chat(daemon, "a") == 200
        loads.taken = None
        steps.fail(0, OSError())
        assert isinstance(await daemon.reloader.reload("test"), Applied)
        assert len(daemon.gateway.upstreams) == upstreams + DEPLOYMENTS
        assert await chat(daemon, "a") == 200
