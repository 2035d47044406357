"""One soak: warm up, note what is open, load, note memory on the way, idle, compare."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process import free_port
from tests.soak.gateway import KEY, Gateway, Open, running
from tests.soak.load import Client, Plan, Tally
from tests.soak.upstream import Upstream

_IDLE = 10.0
"""Seconds within which everything is back where it was."""
_WARM = 400
"""Requests of each kind before anything is measured."""
_TELL = 30.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Settings:
    unary: int
    streams: int
    clients: int = 64
    cancelled: float = 0.1
    faults: float = 0.05
    strangers: float = 0.1
    """Requests with a wrong key or an unknown model, each another one, for each planned request."""
    reload_every: float = 2.0
    """Seconds between two edits of the configuration, of which every other one is a mistake."""
    growth: float = 0.05
    """Share by which memory may grow from 10 % to the end of the run."""
    growth_mb: float = 20.0
    """And megabytes (10^6 bytes)."""
    seed: int = 0


@dataclass(slots=True)
class Report:
    settings: Settings
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    early: int = 0
    """Bytes at 10 % of the run."""
    late: int = 0
    before: Open | None = None
    after: Open | None = None
    left_upstream: int = 0
    """Sockets that the upstream still had open."""
    upstream: tuple[int, int] = (0, 0)
    """Requests it got, and answered with a fault."""
    reloads: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    exit_code: int | None = None

    def failures(self) -> list[str]:
        """What is not as it should be."""
        found = [f"wrong: {what}" for what in self.wrong]
        found += [f"logged: {line}" for line in self.complaints]
        growth = self.late - self.early
        if growth > self.settings.growth * self.early or growth > self.settings.growth_mb * 1e6:
            found.append(
                f"memory grew by {growth / 1e6:.1f} MB ({growth / self.early:.1%}) from 10 % to 100 % of the run; "
                f"at most {self.settings.growth:.0%} and {self.settings.growth_mb:g} MB were to be expected"
            )
        if self.before is None or self.after is None or self.after.grown_from(self.before):
            found.append(f"not as before {_IDLE:g} s after the end: {self.after}; it was: {self.before}")
        if self.left_upstream:
            found.append(f"the upstream still has {self.left_upstream} connections")
        asked = self.settings.unary + self.settings.streams
        if (failed := self.ends["failed"]) > 0.01 * asked:
            found.append(f"{failed} of {asked} requests failed, although most faults can be made good by another try")
        if self.exit_code != 0:
            found.append(f"the daemon ended with {self.exit_code}")
        return found

    def text(self) -> str:
        ends = ", ".join(f"{count:,} {name}" for name, count in sorted(self.ends.items()))
        served, faulty = self.upstream
        lines = [
            f"requests   {ends}",
            f"           in {self.seconds:.0f} s, {sum(self.ends.values()) / max(self.seconds, 1e-9):,.0f} a second",
            f"upstream   {served:,} requests, {faulty:,} answered with a fault",
            f"reloads    {', '.join(f'{count} {name}' for name, count in self.reloads.items())}",
            f"memory     {self.early / 1e6:.1f} MB at 10 %, {self.late / 1e6:.1f} MB at the end",
            f"open       before: {self.before}",
            f"           after:  {self.after}",
        ]
        return "\n".join(lines)


async def soak(settings: Settings, folder: Path, say: Callable[[str], None] = lambda text: None) -> Report:
    report = Report(settings)
    upstream = Upstream(settings.seed, settings.faults)
    try:
        port = await upstream.start()
        async with running(folder, port, free_port(), free_port()) as gateway:
            await gateway.edit(good=True)
            await gateway.edit(good=False)
            warm = Settings(_WARM, _WARM, clients=settings.clients)
            await _load(gateway, warm, Tally(), lambda plan: None)
            report.before = await rest(gateway, upstream, None)
            say(f"open: {report.before}")
            await _measured(gateway, settings, report, say)
            report.after = await rest(gateway, upstream, report.before)
            report.left_upstream = len(upstream.open)
            report.exit_code = await gateway.stop()
            report.reloads = gateway.reloads
            report.complaints = gateway.complaints
        report.upstream = upstream.served, upstream.faulty
    finally:
        upstream.stop()
    return report


async def _measured(gateway: Gateway, settings: Settings, report: Report, say: Callable[[str], None]) -> None:
    tally = Tally()
    began = told = time.monotonic()

    def progress(plan: Plan) -> None:
        nonlocal told
        if not report.early and plan.done >= plan.total / 10:
            report.early = gateway.memory()
        if time.monotonic() - told >= _TELL:
            told = time.monotonic()
            megabytes = gateway.memory() / 1e6
            say(f"{plan.done:,} of {plan.total:,} in {told - began:.0f} s, {megabytes:.1f} MB, {dict(tally.ends)}")

    editing = asyncio.create_task(_edits(gateway, settings.reload_every, tally))
    try:
        await _load(gateway, settings, tally, progress)
        report.late = gateway.memory()
    finally:
        editing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await editing
    report.seconds = time.monotonic() - began
    report.ends, report.wrong = tally.ends, tally.wrong


async def _load(gateway: Gateway, settings: Settings, tally: Tally, progress: Callable[[Plan], None]) -> None:
    plan = Plan(settings.unary, settings.streams, settings.cancelled, settings.strangers, random.Random(settings.seed))
    ended = asyncio.Event()
    left = settings.clients

    def over() -> None:
        nonlocal left
        left -= 1
        if not left:
            ended.set()

    for _ in range(settings.clients):
        Client(gateway.data, KEY, plan, tally, over).begin()
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await ended.wait()
        progress(plan)
        if not gateway.alive:
            tally.blame("the daemon ended")
            return


async def _edits(gateway: Gateway, every: float, tally: Tally) -> None:
    good = True
    while True:
        await asyncio.sleep(every)
        try:
            await gateway.edit(good=good)
        except (AssertionError, OSError, ValueError) as error:
            tally.blame(f"reload: {error}")
        good = not good


async def rest(gateway: Gateway, upstream: Upstream, wanted: Open | None) -> Open:
    """What is open when everything has ended: as soon as it is what is wanted, or (None) the same twice; in any case
    after ten seconds. The upstream closes its idle connections, as it would after a while."""
    before: Open | None = None
    began = time.monotonic()
    while True:
        upstream.drop_idle()
        await asyncio.sleep(0.25)
        now = await gateway.opened()
        quiet = not (now.clients or now.busy or now.idle or upstream.open)
        if (
            quiet and (now == before if wanted is None else not now.grown_from(wanted))
        ) or time.monotonic() - began > _IDLE:
            return now
        before = now


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
