"""What a reload of a large file does to gatewayd: when it is in effect, and how long it holds up what is under way.

The probe is traffic that never stops: eight streams with a chunk every two milliseconds, and small requests one after
another. A chunk holds the time of its sending, so the longest delay of any is the longest time for which the daemon's
event loop did not run, give or take a millisecond, plus what the machine itself adds (the quiet figure beside it). The
daemon and what it starts to read the file share one core, as everywhere in this benchmark.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks import payloads
from benchmarks.client import Answer, Broken, Connection, Target, connect
from benchmarks.measure import usage
from benchmarks.peers import KEY, Gatewayd, Upstream
from benchmarks.process import Daemon, Failed, free_port
from benchmarks.results import Results

_PATH = "/v1/chat/completions"
_STREAMS = 8
_WINDOW = 0.5
_DEADLINE = 60.0
_REVISION = "x-gatewayd-revision"


def configuration(models: int, upstream: Upstream, listen: int, admin: int, *, one: int = 0, every: int = 0) -> str:
    """A file with so many deployments; `one` changes the first of them, `every` changes them all."""
    entries = "".join(
        f"  - model_name: {_name(number)}\n"
        f"    litellm_params:\n"
        f"      model: openai/{_name(number)}\n"
        f"      api_base: {upstream.url}/v1\n"
        f"      api_key: sk-upstream-{number}\n"
        f"      timeout: {100 + every + (one if number == 0 else 0)}\n"
        for number in range(models)
    )
    server = f"gatewayd: {{listen: '127.0.0.1:{listen}', admin: '127.0.0.1:{admin}', drain: 1}}\n"
    return f"model_list:\n{entries}general_settings: {{master_key: {KEY}}}\n{server}"


def _name(number: int) -> str:
    return payloads.MODEL if number == 0 else f"model-{number:05}"


@dataclass(frozen=True, slots=True)
class Site:
    """A running daemon and its file."""

    target: Target
    admin: Target
    file: Path
    text: Callable[[int, int], str]
    """The file's text for (`one`, `every`)."""

    @property
    def scratch(self) -> Path:
        """Where the next text waits: writing it is work that must not be mistaken for a stall."""
        return self.file.with_suffix(".next")


def measure(models: int, edits: int, port: int, core: int, folder: Path, results: Results) -> None:
    """Start a daemon with so many models, edit its file again and again: half of the edits touch one deployment, half
    touch all. `port` is that of the probing mock upstream. A failure is noted as missing.
    """
    case = f"reload-{models}"
    upstream = Upstream(port, streaming=True)
    listen, admin = free_port(), free_port()
    file = folder / case / "gatewayd.yaml"
    peer = Gatewayd(upstream, listen, file.parent)

    def text(one: int, every: int) -> str:
        return configuration(models, upstream, listen, admin, one=one, every=every)

    file.touch(mode=0o600)
    file.write_text(text(0, 0), encoding="utf-8")
    base = f"http://127.0.0.1:{listen}"
    site = Site(
        Target(base + _PATH, peer.headers()), Target(f"http://127.0.0.1:{admin}/reload", peer.headers()), file, text
    )
    try:
        daemon = Daemon(peer.run(file), core=core, folder=file.parent)
        try:
            started = daemon.ready(site.target, payloads.chat_body(), _DEADLINE)
            results.add(case, peer.name, start_wall_s=started.wall, start_cpu_s=started.cpu)
            uvloop.run(_edits(site, edits, case, results))
            results.add(case, peer.name, rss_mb=usage(daemon.pid).rss / 1e6)
        finally:
            daemon.stop()
    except* (Failed, OSError) as errors:
        error = errors.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        results.missing[f"{peer.name}: {case}"] = f"{type(error).__name__}: {error}"


async def _edits(site: Site, edits: int, case: str, results: Results) -> None:
    async with asyncio.TaskGroup() as group:
        probe = await Probe.start(site.target, group)
        try:
            await asyncio.sleep(_WINDOW)
            for number in range(1, edits + 1):
                one, every = (number, 0) if number % 2 else (0, number)
                site.scratch.touch(mode=0o600)
                site.scratch.write_text(site.text(one, every), encoding="utf-8")
                probe.stalled()
                await asyncio.sleep(_WINDOW)
                quiet = probe.stalled()
                seconds = await _edit(site, probe)
                await probe.renew_streams()
                await asyncio.sleep(_WINDOW)  # the old runtime ends now
                figures = {"stall_ms": probe.stalled() * 1e3, "quiet_ms": quiet * 1e3}
                results.add(case, Gatewayd.name, **{f"{'one' if one else 'every'}_s": seconds}, **figures)
        finally:
            probe.stop()


async def _edit(site: Site, probe: Probe) -> float:
    """Put the prepared file in place, ask for a reload, wait until an answer names another revision.

    Returns the seconds it took.

    Raises:
        Failed: it did not happen.
    """
    before = probe.revision
    admin = await connect(site.admin)
    started = time.monotonic()
    os.replace(site.scratch, site.file)
    try:
        answer = await admin.ask(site.admin.request(b""))
    except Broken as error:
        raise Failed("the admin listener closed the connection during a reload") from error
    finally:
        admin.close()
    while probe.revision == before:
        if time.monotonic() - started > _DEADLINE:
            detail = bytes(answer.body[:200]).decode(errors="replace")
            raise Failed(f"not applied after {_DEADLINE:g} s: reload answered {answer.status} {detail}")
        await asyncio.sleep(0.001)
    return probe.revised - started


@dataclass(slots=True)
class Probe:
    """Traffic that never stops, and what it noticed."""

    target: Target
    group: asyncio.TaskGroup
    revision: str = ""
    """Of the newest answer."""
    revised: float = 0.0
    """When an answer named it first; seconds of the monotonic clock."""
    _streams: list[Connection] = field(default_factory=list)
    _slowest: float = 0.0
    _task: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, target: Target, group: asyncio.TaskGroup) -> Probe:
        probe = cls(target, group)
        await probe._open_streams()
        probe._task = group.create_task(probe._requests())
        return probe

    def stalled(self) -> float:
        """The longest delay of a chunk or of a whole small request since the last call; seconds.

        Raises:
            Failed: a stream was cut off.
        """
        longest, self._slowest = self._slowest, 0.0
        for stream in self._streams:
            if not stream.usable or stream.answer.status not in (0, 200):
                raise Failed("a stream was cut off during a reload")
            longest = max(longest, *stream.answer.delays, 0.0)
            stream.answer.delays.clear()
        return longest

    async def renew_streams(self) -> None:
        """Open new streams, then leave the old ones, which hold on to the runtime they began with."""
        old = self._streams
        self._slowest = self.stalled()
        await self._open_streams()
        for stream in old:
            stream.close()

    def stop(self) -> None:
        for stream in self._streams:
            stream.close()
        if self._task is not None:
            self._task.cancel()

    async def _open_streams(self) -> None:
        request = self.target.request(payloads.chat_body(stream=True, chunks=10**9))
        self._streams = [await connect(self.target) for _ in range(_STREAMS)]
        for stream in self._streams:
            self.group.create_task(_endless(stream, request))

    async def _requests(self) -> None:
        request = self.target.request(payloads.chat_body())
        connection = await connect(self.target)
        for _ in itertools.count():
            answer = await _asked(connection, request)
            if answer.status != 200:
                raise Failed(f"a request during a reload was answered {answer.status}")
            self._slowest = max(self._slowest, answer.seconds)
            if (revision := answer.headers.get(_REVISION, "")) != self.revision:
                self.revision, self.revised = revision, time.monotonic()
            await asyncio.sleep(0.002)


async def _asked(connection: Connection, request: bytes) -> Answer:
    try:
        return await connection.ask(request)
    except Broken as error:
        raise Failed("a request was cut off during a reload") from error


async def _endless(stream: Connection, request: bytes) -> None:
    with suppress(Broken):
        await stream.ask(request)
