"""H-02: hundreds of edits under load, half of them bad: old configurations go, by counting references alone."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import aiohttp
import pytest

from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Deployment, Snapshot
from gatewayd.daemon import Daemon
from gatewayd.engine.reload import Pace, Settled
from gatewayd.engine.runtime import Runtime
from tests.fakeup import RST, FakeUpstream, Received, Reply, error_reply, json_reply, sse_reply
from tests.replies import chat_events
from tests.test_daemon import OWN, running
from tests.web.support import until

EDITS = 300
KINDS = (Snapshot, Runtime, Deployment)
EVENTS = chat_events("one ", "two ", "three")
REPLIES = (
    json_reply({"choices": [{}]}),
    sse_reply([EVENTS[0], 0.02, *EVENTS[1:]]),
    sse_reply([EVENTS[0], 0.02, RST]),
    error_reply(500),
    error_reply(400),
)


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def traffic(url: str, number: int) -> None:
    """Requests of all kinds, some of which the client leaves half way."""
    async with aiohttp.ClientSession() as session:
        for turn in itertools.count(number):
            body = {"model": "up", "stream": True, "messages": [], "n": turn}
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                if turn % 3:
                    await response.content.readany()
                else:
                    response.close()


def alive(before: Sequence[object] = ()) -> list[object]:
    """What belongs to a configuration and was not there before."""
    known = {id(thing) for thing in before}
    return [thing for thing in gc.get_objects() if type(thing) in KINDS and id(thing) not in known]


def edits(daemon: Daemon) -> Iterator[Result | Exception]:
    live = daemon.gateway.current.snapshot
    for number in itertools.count():
        yield Result(None, (Problem("yaml_syntax", f"broken in way {number % 7}"),))
        deployment = replace(live.deployments[0], identity=f"changed {number}", rpm=number)
        yield Result(replace(live, revision=f"r{number}", deployments=(deployment,)))
        yield OSError("the reader went away")
        yield Result(replace(live, revision=f"s{number}"))


async def test_old_configurations_go(caplog: pytest.LogCaptureFixture) -> None:
    """H-02, E-18: two at most are left when nothing is under way."""
    caplog.set_level("CRITICAL")
    served, before = itertools.cycle(REPLIES), alive()

    def script(request: Received) -> Reply:
        return next(served)

    async with FakeUpstream(script) as up:
        entry = {"model": "openai/m", "api_base": up.base_url, "api_key": "sk-0123456789", "num_retries": 0}
        source = {"model_list": [{"model_name": "up", "litellm_params": entry}], "gatewayd": OWN}
        source["router_settings"] = {"disable_cooldowns": True}
        async with running(source) as daemon:
            results = edits(daemon)

            async def load(settled: Settled) -> Result:
                await settled()
                result = next(results)
                if isinstance(result, Exception):
                    raise result
                return result

            daemon.reloader._load = load
            daemon.reloader._pace = Pace(debounce=0, spacing=0, hold=0)
            load_ = [asyncio.create_task(traffic(f"http://{daemon.addresses[0]}", n)) for n in range(6)]
            for _ in range(EDITS):
                await daemon.reloader.reload("test")
                await asyncio.sleep(0.002)
                up.requests.clear()
            assert daemon.reloader.counts == {"rejected": EDITS // 2, "applied": EDITS // 2}
            for task in load_:
                task.cancel()
            ended = await asyncio.gather(*load_, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
            await until(lambda: not daemon.gateway.in_flight and not daemon.gateway._retiring)
            await asyncio.sleep(0)
            left = Counter(type(thing) for thing in alive(before))
    assert all(left[kind] <= 2 for kind in KINDS), left
