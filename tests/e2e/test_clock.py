"""A wall clock that jumps by hours under a running daemon (G-09)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.e2e.process import Daemon
from tests.e2e.test_signals import EVENTS, forwarded, streaming
from tests.fakeup import FakeUpstream, Received, Reply, json_reply, sse_reply

SITE = """
import datetime, os, time

def jumped():
    with open(os.environ["TEST_CLOCK"]) as file:
        return float(file.read())

class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=jumped())

wall, wall_ns = time.time, time.time_ns
time.time = lambda: wall() + jumped()
time.time_ns = lambda: wall_ns() + int(jumped() * 1e9)
datetime.datetime = Jumping
"""
"""What the daemon's Python reads first: a wall clock with a hand to turn it."""
BUSY = json_reply({"error": {"message": "slow down"}}, status=429, headers=[("retry-after", "50")])


@pytest.mark.parametrize("hours", [1, -1])
async def test_timeouts_and_cooldowns_do_not_feel_it(hours: int, tmp_path: Path) -> None:
    """G-09: a stream goes on, a cooldown neither ends nor lasts longer, nobody is told a time that is negative."""
    file, clock, go = tmp_path / "gatewayd.yaml", tmp_path / "clock", asyncio.Event()
    (tmp_path / "sitecustomize.py").write_text(SITE)
    clock.write_text("0")

    def script(request: Received) -> Reply:
        return sse_reply([EVENTS[0], go, *EVENTS[1:]]) if request.json().get("stream") else BUSY

    async with FakeUpstream(script) as up:
        file.write_text(forwarded(up.base_url) + "router_settings: {num_retries: 0, disable_cooldowns: false}\n")
        path = f"{tmp_path}:{Path(__file__).parents[2]}"
        environ = {"PYTHONPATH": path, "TEST_CLOCK": str(clock)}
        async with Daemon(file, environ=environ) as daemon, streaming(daemon) as response:
            received = await response.content.readexactly(len(EVENTS[0]))
            status, _ = await daemon.chat("up")
            assert status == 429
            before = await cooling(daemon)
            assert 40 < before <= 60
            clock.write_text(str(hours * 3600))
            async with daemon.session.get(f"{daemon.data}/models") as models:
                there = parsedate_to_datetime(models.headers["date"])  # at most a second old: see that the clock jumped
            for _ in range(3):
                await asyncio.sleep(0.5)
                body = {"model": "up", "messages": [{"role": "user", "content": "Hello"}]}
                async with daemon.session.post(f"{daemon.data}/chat/completions", json=body) as refused:
                    assert refused.status in (429, 503)
                    assert 0 < float(refused.headers["retry-after"]) <= 60
                    there = parsedate_to_datetime(refused.headers["date"])
            assert abs((there - datetime.now(UTC)).total_seconds()) > 3000
            assert before - 30 < await cooling(daemon) < before
            assert (await daemon.reload())["result"] == "unchanged"
            go.set()
            received += await response.content.read()
            assert received == b"".join(EVENTS)
            assert len(up.requests) == 2


async def cooling(daemon: Daemon) -> float:
    (deployment,) = next(group for group in (await daemon.status())["groups"] if group["name"] == "up")["deployments"]
    assert deployment["state"] == "cooling", deployment
    return float(deployment["cooling_for_seconds"])
