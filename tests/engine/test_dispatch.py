"""The plan with I/O: health, time and the attempts in the record."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.config.snapshot import RoutingSettings, ServerSettings, ServerTimeouts
from gatewayd.engine.dispatch import dispatch
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import (
    FallbackKind,
    NoDeploymentAvailable,
    UnknownModel,
    UpstreamConnection,
    UpstreamIncomplete,
    UpstreamStatus,
    UpstreamTimeout,
)
from gatewayd.observe.record import Record
from gatewayd.upstream.base import Timeouts
from tests.clock import HandClock
from tests.engine.fakes import NO_RETRIES, FakeUpstream, call, runtime_of

DOWN = UpstreamConnection("down")


async def test_the_record_says_which_deployment_answered() -> None:
    gateway, record = Gateway(), Record()
    runtime = runtime_of(gateway, {"a": {"a1": FakeUpstream()}})
    served = await dispatch(runtime, call("a"), record)
    assert served.reply.status == 200
    assert record.answered is not None
    assert (record.group, record.answered.group, record.answered.deployment) == ("a", "a", "a1")
    assert (len(record.attempts), record.retries, record.fallbacks) == (1, 0, 0)
    assert gateway.health.state("a1").in_flight == 1
    served.close()
    served.close()
    assert gateway.health.state("a1").in_flight == 0


async def test_failures_cost_the_client_nothing_while_somebody_can_answer() -> None:
    gateway, record = Gateway(), Record()
    routing = RoutingSettings(num_retries=1, fallbacks={FallbackKind.GENERAL: {"a": ("b",)}})
    groups = {"a": {"a1": FakeUpstream([DOWN] * 9), "a2": FakeUpstream([DOWN] * 9)}, "b": {"b1": FakeUpstream()}}
    served = await dispatch(runtime_of(gateway, groups, routing=routing), call("a"), record)
    assert served.reply.status == 200
    assert sorted(attempt.deployment for attempt in record.failed) == ["a1", "a2"]
    assert record.answered is not None
    assert (record.group, record.answered.group, len(record.attempts)) == ("a", "b", 3)
    assert (record.retries, record.fallbacks) == (1, 1)
    served.close()
    assert {name: gateway.health.state(name).fails for name in ("a1", "a2", "b1")} == {"a1": 1, "a2": 1, "b1": 0}


@pytest.mark.parametrize("begun", [False, True])
async def test_a_body_that_is_sent_while_it_arrives_is_sent_once(begun: bool) -> None:
    class Body:
        length = None

        def __init__(self) -> None:
            self.begun = begun

        async def next(self) -> bytes:
            return b""

    routing = RoutingSettings(num_retries=1)
    upstreams = {"a1": FakeUpstream([DOWN]), "a2": FakeUpstream([DOWN])}
    runtime, record = runtime_of(Gateway(), {"a": upstreams}, routing=routing), Record()
    streamed = call("a")
    streamed.body = Body()
    with pytest.raises(UpstreamConnection):
        await dispatch(runtime, streamed, record)
    assert len(record.attempts) == (1 if begun else 2)


async def test_when_nobody_can_the_first_groups_error_comes_with_all_that_was_tried() -> None:
    gateway, record = Gateway(), Record()
    routing = RoutingSettings(num_retries=0, fallbacks={FallbackKind.GENERAL: {"a": ("b",)}})
    busy = UpstreamStatus("busy", status=429)
    groups = {"a": {"a1": FakeUpstream([busy])}, "b": {"b1": FakeUpstream([DOWN])}}
    with pytest.raises(UpstreamStatus) as caught:
        await dispatch(runtime_of(gateway, groups, routing=routing), call("a"), record)
    assert caught.value is busy
    assert caught.value.tried == ("a1", "b1")
    assert [gateway.health.state(name).in_flight for name in ("a1", "b1")] == [0, 0]


async def test_an_upstream_that_hangs_is_cancelled_at_its_total_and_the_next_one_answers() -> None:
    """A-18"""
    gateway, record, stuck = Gateway(), Record(), FakeUpstream(hang=True)
    routing = RoutingSettings(num_retries=0, fallbacks={FallbackKind.GENERAL: {"a": ("b",)}})
    runtime = runtime_of(
        gateway,
        {"a": {"a1": stuck}, "b": {"b1": FakeUpstream()}},
        routing=routing,
        timeouts=Timeouts(connect=1, first_byte=1, idle=1, total=0.05),
    )
    (await dispatch(runtime, call("a"), record)).close()
    assert record.answered is not None
    assert (stuck.cancelled, record.answered.group) == (1, "b")
    assert isinstance(record.failed[0].error, UpstreamTimeout)


async def test_the_clients_own_timeout_bounds_the_whole_request(clock: HandClock) -> None:
    gateway, stuck = Gateway(), FakeUpstream(hang=True)
    clock.stop()
    ages = Timeouts(connect=1e3, first_byte=1e3, idle=1e3, total=1e3)
    runtime = runtime_of(gateway, {"a": {"a1": stuck}}, timeouts=ages)
    waiting = asyncio.ensure_future(dispatch(runtime, call("a", timeout=50.0), Record()))
    await clock.wind(0.0)
    await clock.wind(49.9)
    assert not waiting.done()
    await clock.wind(1.1)  # limits that are long share a timer for each second
    assert waiting.done()
    with pytest.raises(UpstreamTimeout):
        await waiting
    assert stuck.cancelled == 1


@pytest.mark.parametrize(("timeout", "fails"), [(0.05, 0), (30.0, 1)])
async def test_a_client_in_a_hurry_blames_nobody(timeout: float, fails: int) -> None:
    """A-21: as if it had left. Or one client could bench a deployment for all others."""
    gateway = Gateway()
    timeouts = Timeouts(connect=1, first_byte=1, idle=1, total=0.1)
    runtime = runtime_of(gateway, {"a": {"a1": FakeUpstream(hang=True)}}, timeouts=timeouts)
    with pytest.raises(UpstreamTimeout):
        await dispatch(runtime, call("a", timeout=timeout), Record())
    assert gateway.health.state("a1").fails == fails


async def test_a_timer_that_is_early_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A-26: libuv counts in milliseconds. The deployment cools for as long as the wait is, and a moment before its end
    nobody could be tried."""
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(seconds * 0.9))
    busy = UpstreamStatus("busy", status=429, retry_after=0.6)
    runtime = runtime_of(Gateway(), {"a": {"a1": FakeUpstream([busy])}}, routing=RoutingSettings(num_retries=1))
    record = Record()
    (await dispatch(runtime, call("a"), record)).close()
    assert len(record.attempts) == 2


async def test_no_try_begins_when_the_time_is_as_good_as_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A-18: or a timer that is early would send the request once more, for nobody."""
    upstreams = [FakeUpstream(hang=True), FakeUpstream(hang=True)]
    runtime = runtime_of(
        Gateway(), {"a": dict(zip("xy", upstreams, strict=True))}, routing=RoutingSettings(num_retries=1)
    )
    monkeypatch.setattr(runtime.deadlines, "limit", lambda seconds: asyncio.timeout(seconds - 0.001))
    with pytest.raises(UpstreamTimeout):
        await dispatch(runtime, call("a", timeout=0.05), Record())
    assert sum(len(upstream.calls) for upstream in upstreams) == 1


async def test_no_wait_goes_beyond_the_deadline(clock: HandClock) -> None:
    gateway = Gateway()
    runtime = runtime_of(
        gateway,
        {"a": {"a1": FakeUpstream([DOWN] * 9)}},
        routing=RoutingSettings(num_retries=5),
        server=ServerSettings(timeouts=ServerTimeouts(total=0.2)),
    )
    clock.stop()  # none begins either
    with pytest.raises(UpstreamConnection):
        await dispatch(runtime, call("a"), Record())


async def test_a_client_that_leaves_cancels_the_try_and_blames_nobody() -> None:
    """A-21"""
    gateway, stuck, record = Gateway(), FakeUpstream(hang=True), Record()
    task = asyncio.ensure_future(dispatch(runtime_of(gateway, {"a": {"a1": stuck}}), call("a"), record))
    await asyncio.wait_for(stuck.asked.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    state = gateway.health.state("a1")
    assert (stuck.cancelled, state.fails, state.in_flight) == (1, 0, 0)


async def test_a_stream_that_breaks_after_its_commit_point_counts_as_a_failure() -> None:
    """A-01"""
    gateway, record = Gateway(), Record()
    served = await dispatch(runtime_of(gateway, {"a": {"a1": FakeUpstream()}}), call("a", stream=True), record)
    served.close(UpstreamIncomplete("cut"))
    state = gateway.health.state("a1")
    assert (state.fails, state.last_error, state.in_flight) == (1, "upstream_incomplete", 0)


async def test_what_a_pattern_caught_reaches_the_upstream() -> None:
    gateway, upstream = Gateway(), FakeUpstream()
    record = Record()
    (await dispatch(runtime_of(gateway, {"openai/*": {"w": upstream}}), call("openai/gpt-5"), record)).close()
    assert (upstream.captures, record.group) == (["gpt-5"], "openai/*")


@pytest.mark.parametrize(("group", "blamed"), [("openai/*", False), ("openai/nope", True)])
async def test_nobody_is_blamed_for_a_model_that_the_caller_made_up(group: str, blamed: bool) -> None:
    """A-29: or anybody could bench the deployments of a pattern for everybody."""
    gateway, record = Gateway(), Record()
    missing = UpstreamStatus("no such model", status=404)
    upstreams = {"w1": FakeUpstream([missing]), "w2": FakeUpstream([missing])}
    runtime = runtime_of(gateway, {group: upstreams}, routing=RoutingSettings(num_retries=1))
    with pytest.raises(UpstreamStatus):
        await dispatch(runtime, call("openai/nope"), record)
    states = [gateway.health.state(name) for name in ("w1", "w2")]
    assert [state.fails + (state.cooling_until > 0) for state in states].count(0) == (0 if blamed else 2)
    assert [state.in_flight for state in states] == [0, 0]


async def test_an_unknown_model_asks_nobody() -> None:
    record = Record()
    with pytest.raises(UnknownModel):
        await dispatch(runtime_of(Gateway(), {"a": {"a1": FakeUpstream()}}), call("zzz"), record)
    assert record.attempts == []


async def test_requests_that_arrive_during_a_short_cooldown_are_answered_after_it() -> None:
    """U-B8: as the one that was refused, which waits and succeeds; one of them probes, so nobody is refused again."""
    gateway = Gateway()
    upstream = FakeUpstream([UpstreamStatus("busy", status=429, retry_after=0.2)])
    runtime = runtime_of(gateway, {"a": {"a1": upstream}}, routing=NO_RETRIES)
    with pytest.raises(UpstreamStatus):
        await dispatch(runtime, call("a"), Record())
    records = [Record() for _ in range(20)]
    answers = await asyncio.gather(*(dispatch(runtime, call("a"), record) for record in records))
    assert {served.reply.status for served in answers} == {200}
    assert [len(record.attempts) for record in records] == [1] * 20
    assert runtime.table.chain("a").first.group.queue.waiting == 0


async def test_an_arrival_that_has_less_time_than_the_cooldown_is_refused_at_once_and_told_when() -> None:
    """U-B8"""
    gateway = Gateway()
    upstream = FakeUpstream([UpstreamStatus("busy", status=429, retry_after=4.0)])
    runtime = runtime_of(gateway, {"a": {"a1": upstream}}, routing=NO_RETRIES)
    with pytest.raises(UpstreamStatus):
        await dispatch(runtime, call("a"), Record())
    hurried = call("a")
    hurried.timeout = 1.0
    with pytest.raises(NoDeploymentAvailable) as caught:
        await dispatch(runtime, hurried, Record())
    assert caught.value.retry_after == pytest.approx(4.0, abs=1.0)


async def test_an_arrival_that_is_cancelled_while_it_waits_gives_back_its_place() -> None:
    """U-B8"""
    gateway = Gateway()
    upstream = FakeUpstream([UpstreamStatus("busy", status=429, retry_after=4.0)])
    runtime = runtime_of(gateway, {"a": {"a1": upstream}}, routing=NO_RETRIES)
    with pytest.raises(UpstreamStatus):
        await dispatch(runtime, call("a"), Record())
    task = asyncio.create_task(dispatch(runtime, call("a"), Record()))
    queue = runtime.table.chain("a").first.group.queue
    await asyncio.sleep(0)
    assert queue.waiting == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert queue.waiting == 0
