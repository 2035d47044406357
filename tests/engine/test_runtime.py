"""Leases, swaps and who closes what when."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.engine.runtime import Gateway, UpstreamPool
from gatewayd.errors import UpstreamAuth
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.health import Policy
from gatewayd.upstream.base import Call, Reply
from tests.engine.fakes import FakeUpstream, runtime_of


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_swapped_runtime_lives_until_its_last_lease_ends() -> None:
    """E-21, R4"""
    gateway, old, new = Gateway(), FakeUpstream(), FakeUpstream()
    gateway.swap(runtime_of(gateway, {"a": {"old": old}}))
    with gateway.lease() as leased:
        gateway.swap(runtime_of(gateway, {"a": {"new": new}}, revision="r2"))
        await settle()
        assert leased.snapshot.revision == "r1"
        assert gateway.current.snapshot.revision == "r2"
        assert (old.closed, gateway.in_flight) == (0, 1)
    await settle()
    assert (old.closed, new.closed, gateway.in_flight) == (1, 0, 0)


async def test_an_unchanged_deployment_keeps_its_upstream_over_any_number_of_swaps() -> None:
    """E-23: also when the oldest runtime is buried last."""
    gateway, kept = Gateway(), FakeUpstream()
    gateway.swap(runtime_of(gateway, {"a": {"kept": kept}}))
    with gateway.lease():
        for index in range(5):
            gateway.swap(runtime_of(gateway, {"a": {"kept": FakeUpstream()}}, revision=f"r{index}"))
            await settle()
        assert gateway.current.targets["kept"].upstream is kept
        assert kept.closed == 0
    await settle()
    assert kept.closed == 0
    gateway.swap(runtime_of(gateway, {"a": {"other": FakeUpstream()}}))
    await settle()
    assert kept.closed == 1
    assert len(gateway.upstreams) == 1


async def test_idle_waits_for_the_requests_of_every_configuration() -> None:
    gateway = Gateway()
    gateway.swap(runtime_of(gateway, {"a": {"x": FakeUpstream()}}))
    with gateway.lease():
        gateway.swap(runtime_of(gateway, {"a": {"y": FakeUpstream()}}))
        with gateway.lease():
            waiter = asyncio.ensure_future(gateway.idle())
            await settle()
        await settle()
        assert not waiter.done()
    await asyncio.wait_for(waiter, 1)


async def test_health_is_kept_by_identity_and_forgotten_with_the_deployment() -> None:
    """E-23, R5"""
    gateway = Gateway()
    gateway.swap(runtime_of(gateway, {"a": {"x": FakeUpstream()}}))
    gateway.health.started(Candidate("x", "x"), 0)
    gateway.health.left(Candidate("x", "x"))
    gateway.swap(runtime_of(gateway, {"a": {"x": FakeUpstream()}}))
    assert gateway.health.state("x").requests == 1
    gateway.swap(runtime_of(gateway, {"a": {"y": FakeUpstream()}}))
    assert gateway.health.state("x").requests == 0


async def test_before_the_first_configuration_nothing_is_ready() -> None:
    gateway = Gateway()
    assert not gateway.ready
    with pytest.raises(RuntimeError):
        gateway.lease()
    await gateway.close()


async def test_closing_retires_everything() -> None:
    gateway, upstreams = Gateway(), [FakeUpstream(), FakeUpstream()]
    gateway.swap(runtime_of(gateway, {"a": {"x": upstreams[0]}}))
    gateway.swap(runtime_of(gateway, {"a": {"y": upstreams[1]}}))
    await gateway.close()
    assert [u.closed for u in upstreams] == [1, 1]


async def test_a_retired_runtime_is_hollow_and_what_was_in_it_is_gone_without_the_collector() -> None:
    """H-02: somebody may hold on to the runtime for long, in a cycle perhaps; not to ten thousand deployments."""
    gateway = Gateway()
    old = runtime_of(gateway, {f"m{n}": {f"d{n}": FakeUpstream()} for n in range(1000)})
    targets = [weakref.ref(target.upstream) for target in old.targets.values()]
    deployments = [id(deployment) for deployment in old.snapshot.deployments]
    gc.disable()
    try:
        gateway.swap(old)
        gateway.swap(runtime_of(gateway, {"a": {"x": FakeUpstream()}}, revision="r2"))
        await asyncio.wait_for(gateway.idle(), 10)
        async with asyncio.timeout(10):
            while len(gateway.upstreams) > 1 or gateway._retiring:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert [ref for ref in targets if ref() is not None] == []
        assert (old.snapshot.revision, old.snapshot.deployments, old.targets) == ("r1", (), {})
        assert not [thing for thing in gc.get_objects() if type(thing) is Deployment and id(thing) in deployments]
    finally:
        gc.enable()


async def test_others_run_while_a_large_runtime_is_taken_apart() -> None:
    """E-30"""
    gateway = Gateway()
    gateway.swap(runtime_of(gateway, {f"m{n}": {f"d{n}": FakeUpstream()} for n in range(20_000)}))
    gateway.swap(runtime_of(gateway, {"a": {"x": FakeUpstream()}}, revision="r2"))
    turns = 0
    while gateway._retiring:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


class _Broken:
    async def open(self, call: Call) -> Reply:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise OSError("sk-secret")


async def test_an_upstream_that_cannot_be_closed_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    pool = UpstreamPool()
    pool.acquire("k", _Broken)
    await pool.release("k")
    assert "OSError" in caplog.text
    assert "sk-secret" not in caplog.text


def test_cooldowns_that_begin_together_end_apart() -> None:
    """A-41: within 20 percent of what is configured."""
    health = Gateway().health
    for n in range(200):
        one, other = Candidate(f"a{n}", f"a{n}"), Candidate(f"b{n}", f"b{n}")
        health.failed(one, UpstreamAuth("401"), 0.0, peers=(one, other), policy=Policy(cooldown_time=10.0))
    times = [health.state(f"a{n}").cooling_until for n in range(200)]
    assert 8.0 <= min(times) < 9.0
    assert 11.0 < max(times) <= 12.0
