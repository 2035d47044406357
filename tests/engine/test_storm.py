"""Many requests at once meet an upstream that fails, or one that comes back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from gatewayd.config.snapshot import Deployment, RetryBudgetSettings, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.dispatch import dispatch
from gatewayd.engine.runtime import Gateway, Runtime
from gatewayd.errors import FallbackKind, GatewayError, NoDeploymentAvailable, UpstreamConnection, UpstreamStatus
from gatewayd.observe.record import Record
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.table import Group, Table
from gatewayd.upstream.base import Call, Reply, WholeReply
from tests.engine.fakes import FakeUpstream, call, runtime_of
from tests.fakeup import FakeUpstream as Server
from tests.fakeup import error_reply, json_reply

DOWN = UpstreamConnection("down")
BUSY = UpstreamStatus("busy", status=429, retry_after=0.05)


async def ask(runtime: Runtime, model: str = "a") -> int | GatewayError:
    """The status that a request got, or its error."""
    try:
        served = await dispatch(runtime, call(model), Record())
    except GatewayError as error:
        return error
    served.close()
    served.reply.close()
    return served.reply.status


def snapshot_of(*upstreams: Server, server: ServerSettings | None = None, retries: int = 2) -> Snapshot:
    deployments = [
        Deployment(f"d{n}", f"d{n}", "a", "forward", "openai", "m", api_base=up.base_url)
        for n, up in enumerate(upstreams)
    ]
    routing = RoutingSettings(num_retries=retries, disable_cooldowns=True)
    return Snapshot("r1", tuple(deployments), routing, server or ServerSettings())


async def many(runtime: Runtime, count: int) -> list[int | GatewayError]:
    results: list[int | GatewayError] = []
    for _ in range(count // 50):
        results += await asyncio.gather(*(ask(runtime) for _ in range(50)))
    return results


async def test_an_upstream_that_only_fails_gets_a_fifth_more_and_not_three_times_as_much() -> None:
    """A-40: two deployments that answer 503. The first requests empty the budget; what counts are the next thousand.
    At any moment it may be exceeded by the retries whose outcome is open: fifty, as many as there are clients."""
    async with Server(error_reply(503)) as one, Server(error_reply(503)) as other:
        gateway = Gateway()
        runtime = await build(snapshot_of(one, other), gateway)
        await many(runtime, 200)
        before = len(one.requests) + len(other.requests)
        results = await many(runtime, 1000)
        attempts = len(one.requests) + len(other.requests) - before
        gateway.swap(runtime)
        await gateway.close()
    assert all(isinstance(result, UpstreamStatus) and result.status == 503 for result in results)
    assert 1000 < attempts <= 1.2 * 1000 + 50


async def test_retries_that_help_are_not_held_back() -> None:
    """A-40: one of two deployments is down; every request that meets it is answered by the other."""
    async with Server(error_reply(503)) as bad, Server(json_reply({"ok": True})) as good:
        gateway = Gateway()
        runtime = await build(snapshot_of(bad, good, retries=1), gateway)
        results = await many(runtime, 1000)
        gateway.swap(runtime)
        await gateway.close()
    assert results == [200] * 1000
    assert len(bad.requests) > 300


async def test_the_budget_is_the_configurations_and_a_fallback_is_no_retry() -> None:
    """A-40: nothing is left for retries, and everybody is answered by the other group."""
    down, spare = FakeUpstream([UpstreamConnection("down")] * 99), FakeUpstream()
    gateway = Gateway()
    runtime = runtime_of(
        gateway,
        {"a": {"a1": down}, "b": {"b1": spare}},
        routing=RoutingSettings(num_retries=2, disable_cooldowns=True, fallbacks={FallbackKind.GENERAL: {"a": ("b",)}}),
    )
    share = runtime.table.chain("a").first.group.budget
    while share.take(asyncio.get_running_loop().time()):
        pass
    assert [await ask(runtime) for _ in range(20)] == [200] * 20
    assert (len(down.calls), len(spare.calls)) == (20, 20)
    server = ServerSettings(retry_budget=RetryBudgetSettings(percent=0, at_least=0))
    async with Server(error_reply(503)) as bad:
        runtime = await build(snapshot_of(bad, server=server), gateway)
        assert [type(result) for result in await many(runtime, 50)] == [UpstreamStatus] * 50
        assert len(bad.requests) == 50
        gateway.swap(runtime)
        await gateway.close()


@dataclass
class Recovering:
    """Says 429 once; then answers, but not before it is released, and counts who is there at the same time."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    verdict: GatewayError | None = None
    calls: int = 0
    together: int = 0
    most: int = 0
    probed: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, call: Call) -> Reply:
        self.calls += 1
        if self.calls == 1:
            raise BUSY
        self.together += 1
        self.most = max(self.most, self.together)
        self.probed.set()
        try:
            await self.release.wait()
            if self.verdict is not None:
                raise self.verdict
        finally:
            self.together -= 1
        return WholeReply(200, [], b"{}")

    async def aclose(self) -> None:
        return None


async def herd(upstream: Recovering) -> tuple[Runtime, list[asyncio.Task[int | GatewayError]]]:
    """A thousand requests at the moment when the cooldown of the only deployment is over."""
    gateway = Gateway()
    runtime = runtime_of(gateway, {"a": {"a1": upstream}})
    assert await ask(runtime) is BUSY
    while runtime.health.cooling_for(runtime.targets["a1"].candidate, asyncio.get_running_loop().time()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(ask(runtime)) for _ in range(1000)]
    await asyncio.wait_for(upstream.probed.wait(), 5)
    await asyncio.sleep(0.2)  # several looks of everybody who waits
    return runtime, waiting


async def test_a_thousand_wait_for_one_probe_and_all_are_answered() -> None:
    """A-41"""
    upstream = Recovering()
    _, waiting = await herd(upstream)
    assert (upstream.most, upstream.calls) == (1, 2)
    assert not any(request.done() for request in waiting)
    upstream.release.set()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == [200] * 1000


async def test_a_thousand_wait_for_one_probe_and_it_fails() -> None:
    """A-41, A-42: nobody else was asked; they are told when to come back."""
    upstream = Recovering(verdict=UpstreamStatus("busy", status=429, retry_after=30))
    _, waiting = await herd(upstream)
    upstream.release.set()
    results = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert upstream.calls == 2
    assert [type(result) for result in results].count(UpstreamStatus) == 1
    told = [result.retry_after for result in results if isinstance(result, NoDeploymentAvailable)]
    assert len(told) == 999
    assert all(seconds is not None and 25 < seconds <= 30 for seconds in told)


async def test_a_stream_from_before_the_cooldown_that_ends_is_not_the_probe() -> None:
    """A-41: its end while another request probes lets nobody in."""
    gateway = Gateway()
    runtime = runtime_of(gateway, {"a": {"a1": FakeUpstream()}})
    candidate, health = runtime.targets["a1"].candidate, gateway.health
    old = await dispatch(runtime, call("a", stream=True), Record())
    health.failed(candidate, UpstreamStatus("busy", status=429, retry_after=5), 0.0, peers=(), policy=runtime.policy)
    assert health.started(candidate, 10.0)
    old.close()
    assert not health.available(candidate, 10.0)
    health.left(candidate)


async def test_a_retry_is_settled_when_it_has_answered_and_when_its_client_has_left() -> None:
    """A-40: nothing stays open in the budget, though errors (and with them frames) are kept in the record."""
    gateway = Gateway()
    routing = RoutingSettings(num_retries=1)
    groups = {"a": {"a1": FakeUpstream([DOWN]), "a2": FakeUpstream([DOWN])}}
    runtime = runtime_of(gateway, groups, routing=routing)
    budget = runtime.table.chain("a").first.group.budget
    records = [Record() for _ in range(3)]
    for record in records:
        with contextlib.suppress(GatewayError):
            (await dispatch(runtime, call("a"), record)).close()
    assert (budget._open, budget._failed) == (0, 1)
    stuck = FakeUpstream(hang=True)
    only = Group.of("b", [Candidate("a1", "a1", order=1), Candidate("a2", "a2", order=2)], 1)
    runtime = runtime_of(Gateway(), {"b": {"a1": FakeUpstream([DOWN]), "a2": stuck}}, routing=routing)
    runtime.table = Table({"b": only})
    task = asyncio.create_task(dispatch(runtime, call("b"), Record()))
    await asyncio.wait_for(stuck.asked.wait(), 5)
    assert only.budget._open == 1
    task.cancel()
    await asyncio.wait([task])
    assert only.budget._open == 0
