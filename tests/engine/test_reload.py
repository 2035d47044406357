"""The reloader with real gateways and real builds; only the reading of files and the listeners are played."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Address, Deployment, ServerSettings, Snapshot
from gatewayd.config.validator import ConfigValidator
from gatewayd.engine.build import build
from gatewayd.engine.reload import Applied, Pace, Rejected, Reloader, ReloadOutcome, Settled, Staged, Unchanged
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import ConfigInvalid
from gatewayd.secret import Secret
from tests.clock import HandClock

QUICK = Pace(debounce=0.01, spacing=0.0, hold=0.01)
BROKEN = Result(None, (Problem("yaml_syntax", "not YAML"),))


def snapshot(revision: str, models: int = 1, *, key: str | None = None) -> Snapshot:
    deployments = tuple(
        Deployment(str(n), f"identity {n}", f"model-{n}", "scripted", "openai", "m", mock={"content": "hi"})
        for n in range(models)
    )
    return Snapshot(revision, deployments, server=ServerSettings(master_key=None if key is None else Secret(key)))


def good(revision: str, models: int = 1, *, key: str | None = None) -> Result:
    return Result(snapshot(revision, models, key=key))


class Sockets:
    """Listeners that note what is asked of them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.refuse = False

    async def prepare(self, snapshot: Snapshot) -> Staged:
        if self.refuse:
            raise ConfigInvalid([Problem("listen_failed", "in use")])
        self.log.append(f"prepare {snapshot.revision}")
        return self

    def commit(self) -> None:
        self.log.append("commit")

    async def rollback(self) -> None:
        self.log.append("rollback")


class Stand:
    """A reloader in front of a gateway that runs `live`; each load gives the next of `results`, the last for ever."""

    def __init__(self, results: Sequence[Result | Exception], *, pace: Pace = QUICK) -> None:
        self.results = list(results)
        self.gateway = Gateway()
        self.listening = Sockets()
        self.heard: list[ReloadOutcome] = []
        self.loads = 0
        self.at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reloader = Reloader(
            self.gateway, self._load, prepare=self.listening.prepare, observe=self.heard.append, pace=pace
        )

    async def live(self, snapshot: Snapshot) -> "Stand":
        self.gateway.swap(await build(snapshot, self.gateway))
        return self

    @property
    def revision(self) -> str:
        return self.gateway.current.snapshot.revision

    async def _load(self, settled: Settled) -> Result:
        await settled()
        self.loads += 1
        self.at_once += 1
        assert self.at_once == 1, "two loads at once"
        await self.gate.wait()
        self.at_once -= 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_new_revision_goes_live_with_its_listeners() -> None:
    stand = await Stand([good("b", 2)]).live(snapshot("a"))
    outcome = await stand.reloader.reload("test")
    assert isinstance(outcome, Applied)
    assert outcome.revision == stand.revision == "b"
    assert outcome.changes == ("+ group model-1 (1 deployment: openai/m)",)
    assert stand.listening.log == ["prepare b", "commit"]
    assert stand.heard == [outcome] == [stand.reloader.last]
    assert stand.reloader.last_at is not None
    assert stand.reloader.counts == {"applied": 1}


async def test_the_same_revision_changes_nothing() -> None:
    """E-02, R10"""
    stand = await Stand([good("a")]).live(snapshot("a"))
    runtime = stand.gateway.current
    outcome = await stand.reloader.reload("test")
    assert isinstance(outcome, Unchanged)
    assert outcome.revision == "a"
    assert stand.gateway.current is runtime
    assert stand.listening.log == []


@pytest.mark.parametrize(
    "result",
    [
        BROKEN,
        ConfigInvalid([Problem("x", "y")]),
        OSError("no such thing"),
        MemoryError(),
        Result(Snapshot("b", (Deployment("1", "1", "g", "scripted", "openai", "m", mock={"delay": "soon"}),))),
    ],
    ids=["problems", "invalid", "os error", "memory", "build fails"],
)
async def test_a_refusal_changes_nothing_whatever_failed(result: Result | Exception) -> None:
    """E-26, R1, R2"""
    stand = await Stand([result, good("c")]).live(snapshot("a"))
    runtime, upstreams = stand.gateway.current, len(stand.gateway.upstreams)
    outcome = await stand.reloader.reload("test")
    assert isinstance(outcome, Rejected)
    assert any(problem.severity == "error" for problem in outcome.problems)
    assert stand.gateway.current is runtime
    assert len(stand.gateway.upstreams) == upstreams
    assert stand.listening.log in ([], ["prepare b", "rollback"])
    assert isinstance(await stand.reloader.reload("again"), Applied)


async def test_an_address_in_use_refuses_the_whole_edit() -> None:
    """E-24"""
    stand = await Stand([good("b")]).live(snapshot("a"))
    stand.listening.refuse = True
    outcome = await stand.reloader.reload("test")
    assert isinstance(outcome, Rejected)
    assert outcome.problems[0].code == "listen_failed"
    assert stand.revision == "a"


async def test_a_thousand_requests_cost_two_loads_and_the_last_state_wins() -> None:
    """E-19, E-20: those who ask while a load runs share the next one."""
    stand = await Stand([good("b"), good("c")]).live(snapshot("a"))
    stand.gate.clear()
    first = asyncio.gather(*(stand.reloader.reload("SIGHUP") for _ in range(500)))
    await until(lambda: stand.loads == 1)
    second = asyncio.gather(*(stand.reloader.reload("SIGHUP") for _ in range(500)))
    await asyncio.sleep(0)
    stand.gate.set()
    assert {o.revision for o in await first if isinstance(o, Applied)} == {"b"}
    assert {o.revision for o in await second if isinstance(o, Applied)} == {"c"}
    assert stand.loads == 2
    assert stand.revision == "c"


async def test_loads_begin_no_oftener_than_the_pace_allows(clock: HandClock) -> None:
    """R6: one in ten seconds, though the file changes every second."""
    stand = await Stand([good(str(n)) for n in range(100)], pace=Pace(0.0, 10.0, 0.0)).live(snapshot("a"))
    clock.stop()
    loads = []
    for _ in range(50):
        _ = stand.reloader.request("a file changed")
        await clock.wind(1.0)
        loads.append(stand.loads)
    assert loads[8::10] == [1, 2, 3, 4, 5]


async def test_a_file_event_waits_for_the_burst_to_end_and_a_person_does_not(clock: HandClock) -> None:
    """E-03"""
    stand = await Stand([good("b")], pace=Pace(debounce=3600.0, spacing=0.0, hold=0.0)).live(snapshot("a"))
    waiting = stand.reloader.request("a file changed")
    await clock.wind(3500.0)
    assert stand.loads == 0
    assert isinstance(await stand.reloader.reload("a person asked"), Applied)
    assert await waiting == stand.reloader.last


async def test_who_waits_gets_a_load_that_began_after_the_question() -> None:
    stand = await Stand([BROKEN, good("b")]).live(snapshot("a"))
    stand.gate.clear()
    early = stand.reloader.request("test", explicit=True)
    await until(lambda: stand.loads == 1)
    late = stand.reloader.request("test", explicit=True)
    stand.gate.set()
    assert isinstance(await early, Rejected)
    assert isinstance(await late, Applied)


@pytest.mark.parametrize("shrunk", [good("b", 1), good("b", 4)], ids=["models", "key"])
async def test_an_edit_that_shrinks_the_configuration_is_looked_at_twice(shrunk: Result) -> None:
    """E-04: the writer was in the middle of it."""
    stand = await Stand([shrunk, good("c", 4, key="k")]).live(snapshot("a", 4, key="k"))
    outcome = await stand.reloader.request("a file changed")
    assert isinstance(outcome, Applied)
    assert outcome.revision == "c"
    assert stand.loads == 2
    assert stand.listening.log == ["prepare c", "commit"]


SERVED = ServerSettings(
    listen=(Address("127.0.0.1", 4100), Address(path="/run/api.sock")),
    admin=Address("127.0.0.1", 4101),
    master_key=Secret("sk-master"),
)


@pytest.mark.parametrize(
    ("cut", "lost"),
    [
        ({"listen": SERVED.listen[:1]}, "stops listening on unix:/run/api.sock"),
        ({"listen": (Address("127.0.0.1", 41), SERVED.listen[1])}, "stops listening on 127.0.0.1:4100"),
        ({"admin": None}, "closes the admin listener 127.0.0.1:4101"),
        ({"admin": Address("127.0.0.1", 4001)}, "closes the admin listener 127.0.0.1:4101"),
        ({"master_key": None}, "removes the master key"),
        ({"master_key": Secret("sk-m")}, "shortens the master key"),
    ],
)
async def test_an_edit_that_may_be_cut_off_is_held_until_the_file_is_whole(cut: dict[str, Any], lost: str) -> None:
    """U-F5: a listener or the key is missing, or its value is cut; the rest of the file is applied when it comes."""
    whole, held = replace(snapshot("a"), server=SERVED), replace(snapshot("b"), server=replace(SERVED, **cut))
    after = Result(replace(whole, revision="c"))
    stand = await Stand([Result(held), after], pace=Pace(0.0, 0.0, hold=3600.0)).live(whole)
    waiting = stand.reloader.request("a file changed")
    await until(lambda: stand.reloader.held is not None)
    assert stand.reloader.held is not None
    assert (stand.reloader.held.revision, stand.reloader.held.losses) == ("b", (lost,))
    _ = stand.reloader.request("a file changed")
    outcome = await waiting
    assert isinstance(outcome, Applied)
    assert outcome.revision == "c"
    assert stand.reloader.held is None


async def test_each_change_of_a_file_that_is_held_begins_the_wait_anew() -> None:
    """U-F5: a slow writer pauses between two models."""
    stand = await Stand([good("b"), good("c"), good("d"), good("e", 4)], pace=Pace(0.0, 0.0, hold=3600.0)).live(
        snapshot("a", 4)
    )
    waiting = stand.reloader.request("a file changed")
    for revision in "bcd":
        await until(lambda: stand.reloader.held is not None and stand.reloader.held.revision == revision)  # noqa: B023
        assert stand.revision == "a"
        _ = stand.reloader.request("a file changed")
    outcome = await waiting
    assert isinstance(outcome, Applied)
    assert outcome.revision == "e"


async def test_what_is_saved_while_a_held_file_is_read_is_looked_at_at_once() -> None:
    stand = await Stand([good("b"), good("c", 4)], pace=Pace(0.0, 0.0, hold=3600.0)).live(snapshot("a", 4))
    stand.gate.clear()
    waiting = stand.reloader.request("a file changed")
    await until(lambda: stand.loads == 1)
    _ = stand.reloader.request("a file changed")
    stand.gate.set()
    outcome = await waiting
    assert isinstance(outcome, Applied)
    assert outcome.revision == "c"


async def test_an_edit_that_stays_small_is_believed() -> None:
    """E-04"""
    stand = await Stand([good("b"), good("c"), good("c")]).live(snapshot("a", 4))
    outcome = await stand.reloader.request("a file changed")
    assert isinstance(outcome, Applied)
    assert outcome.revision == "c"
    assert stand.loads == 3


async def test_half_of_the_models_may_go_at_once() -> None:
    stand = await Stand([good("b", 2)]).live(snapshot("a", 4))
    assert isinstance(await stand.reloader.request("a file changed"), Applied)
    assert stand.loads == 1


async def test_a_person_who_shrinks_the_configuration_is_believed_at_once() -> None:
    """E-04"""
    stand = await Stand([good("b")]).live(snapshot("a", 4, key="k"))
    assert isinstance(await stand.reloader.reload("a person asked"), Applied)
    assert stand.loads == 1


async def test_a_person_ends_the_wait_for_the_second_look() -> None:
    stand = await Stand([good("b")], pace=Pace(0.0, 0.0, hold=3600.0)).live(snapshot("a", 4))
    waiting = stand.reloader.request("a file changed")
    await until(lambda: stand.loads == 1)
    outcome = await stand.reloader.reload("a person asked")
    assert isinstance(outcome, Unchanged)
    assert (outcome.revision, outcome.live_seconds < 10) == ("b", True)
    assert isinstance(await waiting, Applied)


async def test_an_impatient_caller_takes_nothing_from_the_others() -> None:
    stand = await Stand([good("b")]).live(snapshot("a"))
    stand.gate.clear()
    impatient = asyncio.ensure_future(stand.reloader.reload("test"))
    patient = asyncio.ensure_future(stand.reloader.reload("test"))
    await until(lambda: stand.loads == 1)
    impatient.cancel()
    stand.gate.set()
    assert isinstance(await patient, Applied)
    assert impatient.cancelled()


async def test_stopping_answers_everybody() -> None:
    stand = await Stand([good("b")]).live(snapshot("a"))
    stand.gate.clear()
    running = stand.reloader.request("test", explicit=True)
    await until(lambda: stand.loads == 1)
    waiting = stand.reloader.request("test", explicit=True)
    await stand.reloader.close()
    late = stand.reloader.request("test", explicit=True)
    for outcome in (await running, await waiting, await late):
        assert isinstance(outcome, Rejected)
        assert outcome.problems[0].code == "shutting_down"
    assert stand.revision == "a"


async def test_ten_thousand_refusals_leave_nothing_behind() -> None:
    """E-18"""
    stand = await Stand([BROKEN]).live(snapshot("a"))
    tasks = len(asyncio.all_tasks())
    for _ in range(1000):
        await stand.reloader.reload("test")
    assert stand.reloader.counts == {"rejected": 1000}
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks


async def test_requests_under_way_keep_their_configuration() -> None:
    """E-17, R4"""
    stand = await Stand([good("b"), good("c")]).live(snapshot("a"))
    with stand.gateway.lease() as mine:
        await stand.reloader.reload("test")
        await stand.reloader.reload("test")
        assert mine.snapshot.revision == "a"
        assert stand.revision == "c"
        assert stand.gateway.in_flight == 1
    await stand.gateway.idle()


async def test_an_edit_of_a_timeout_keeps_connections_and_cooldown_and_holds_at_once() -> None:
    """U-A11: of the whole way from the file on."""

    def edited(timeout: int) -> Snapshot:
        params = {"model": "openai/m", "api_base": "http://127.0.0.1:9/v1", "api_key": "x", "timeout": timeout}
        made = ConfigValidator(environ={}).validate({"model_list": [{"model_name": "m", "litellm_params": params}]})
        return replace(made, revision=f"{timeout}")

    stand = await Stand([Result(edited(7))]).live(edited(30))
    (before,) = stand.gateway.current.targets.values()
    stand.gateway.health.state(before.candidate.identity).cooling_until = 1e12
    assert isinstance(await stand.reloader.reload("test"), Applied)
    (after,) = stand.gateway.current.targets.values()
    assert after.upstream is before.upstream
    assert stand.gateway.health.cooling_for(after.candidate, 0.0) > 0
    assert (before.timeouts.total, after.timeouts.total) == (30.0, 7.0)


async def test_an_unchanged_deployment_keeps_its_connections() -> None:
    """E-23, R5"""
    stand = await Stand([Result(replace(snapshot("b"), environment={"X": "1"}))]).live(snapshot("a"))
    before = {target.upstream for target in stand.gateway.current.targets.values()}
    assert isinstance(await stand.reloader.reload("test"), Applied)
    assert {target.upstream for target in stand.gateway.current.targets.values()} == before
