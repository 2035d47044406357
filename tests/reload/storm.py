"""Edits, half of them bad, while streams and requests go through a real daemon: nothing may be lost or left (E-17).

    python -m tests.reload.storm --streams 1000 --stream-edits 200 --requests 100000 --edits 1000

The suite runs it with small numbers. Every byte of every answer is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from tests.e2e.process import Daemon, config, eventually
from tests.e2e.test_signals import forwarded
from tests.fakeup import FakeUpstream, Received, Reply, Step, json_reply, sse_reply
from tests.replies import chat_events

MEGABYTE = 1 << 20
BEATS = 20
"""Events of a stream: one every `PAUSE` seconds, the last ones when all edits are done."""
PAUSE = 0.25
CLIENTS = 16
PER_CONNECTION = 50
"""Short requests on one connection; then a new one is made, which nobody may refuse."""
SHORT = json_reply({"object": "chat.completion", "choices": [{"message": {"content": "short and complete " * 20}}]})
ANSWER = b"".join(step for step in SHORT.steps if isinstance(step, bytes)).partition(b"\r\n\r\n")[2]
BAD = ("model_list: [\n", "", "model_list:\n  - model_name: a\n", "modle_list: []\n", "a: &a [*a]\n")


@dataclass(frozen=True, slots=True)
class Plan:
    streams: int
    stream_edits: int
    requests: int
    edits: int


@dataclass(slots=True)
class Report:
    """What happened. Everything but the first line must be 0, `rss_growth` small."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Of the edits."""
    streams: int = 0
    requests: int = 0
    dropped: int = 0
    altered: int = 0
    failed: int = 0
    """Short requests with any other answer than the right one."""
    refused: int = 0
    """Connections."""
    descriptors: int = 0
    tasks: float = 0
    """More of them than before the first request."""
    rss_growth: int = 0
    """Bytes of anonymous memory from a tenth of the edits on."""

    @property
    def losses(self) -> dict[str, float]:
        names = ("dropped", "altered", "failed", "refused", "descriptors", "tasks")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def __str__(self) -> str:
        done = f"{self.streams} streams, {self.requests} requests, edits {dict(self.outcomes)}"
        return f"{done}; lost: {self.losses or 'nothing'}; memory {self.rss_growth / MEGABYTE:+.1f} MB"


class Storm:
    def __init__(self, daemon: Daemon, file: Path, up: FakeUpstream, opened: asyncio.Semaphore, go: asyncio.Event):
        self.daemon, self.file, self.up = daemon, file, up
        self.opened, self.go = opened, go
        self.report = Report()
        self._number = itertools.count()

    async def streams(self, count: int, edits: int) -> None:
        """All of them are open before the first edit; their deployment changes, goes and comes back meanwhile."""
        whole = forwarded(self.up.base_url)
        good = itertools.cycle(
            (whole, whole.replace("sk-fake", "sk-other"), config("a"), whole.replace("model_name: up", "model_name: x"))
        )
        await self._edit(whole)
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._stream(f"caller {number}"))
            for _ in range(count):
                await self.opened.acquire()
            await self._edits(edits, good)
            self.go.set()

    async def _stream(self, user: str) -> None:
        body = {"model": "up", "stream": True, "user": user, "messages": []}
        received = b""
        try:
            async with self.daemon.session.post(f"{self.daemon.data}/chat/completions", json=body) as response:
                async for chunk in response.content.iter_any():
                    received += chunk
        except aiohttp.ClientError:
            self.report.dropped += 1
        else:
            self.report.altered += received != b"".join(_events(user))
        self.report.streams += 1

    async def requests(self, count: int, edits: int) -> None:
        """As many as it takes to cover all edits, and at least so many."""
        whole = forwarded(self.up.base_url)
        good = itertools.cycle(
            (whole, whole.replace("sk-fake", "sk-other"), whole + "router_settings: {timeout: 50}\n")
        )
        await self._edit(whole)
        edited = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(number, count, edited))
            await self._edits(edits, good)
            edited.set()

    async def _client(self, number: int, count: int, edited: asyncio.Event) -> None:
        port = int(self.daemon.data.rpartition(":")[2].partition("/")[0])
        body = b'{"model": "up", "messages": []}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
        while not (edited.is_set() and self.report.requests >= count):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                self.report.refused += 1
                continue
            try:
                for _ in range(PER_CONNECTION):
                    writer.write(head + body)
                    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                    answer = await reader.readexactly(length)
                    self.report.failed += not lines[0].startswith(b"http/1.1 200") or answer != ANSWER
                    self.report.requests += 1
            except (OSError, asyncio.IncompleteReadError):
                self.report.failed += 1
            finally:
                writer.close()
            self.up.requests.clear()

    async def _edits(self, count: int, good: Iterator[str]) -> None:
        bad = itertools.cycle(BAD)
        for number in range(count):
            await self._edit(next(bad) if number % 2 else next(good))
            if number == count // 10:
                self.report.rss_growth -= self._memory()
        self.report.rss_growth += self._memory()

    async def _edit(self, text: str) -> None:
        outcome = await self.daemon.edit(f"{text}# {next(self._number)}\n" if text else "")
        self.report.outcomes[outcome["result"]] += 1

    def _memory(self) -> int:
        text = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(("RssAnon", "VmSwap")))

    async def rested(self, descriptors: int, tasks: float) -> None:
        """Notes what is open beyond the given, after some time to let go."""
        await self._edit(config("a"))

        async def is_so() -> bool:
            self.report.descriptors = max(0, self.descriptors() - descriptors)
            self.report.tasks = max(0, await self.tasks() - tasks)
            return not self.report.descriptors and not self.report.tasks

        try:
            await eventually(is_so)
        except TimeoutError:
            return

    async def watched(self) -> bool:
        return "gatewayd_config_watcher_up 1.0" in await self.daemon.metrics()

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))

    async def tasks(self) -> float:
        lines = (await self.daemon.metrics()).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("gatewayd_tasks "))


def _events(user: str) -> list[bytes]:
    return chat_events(*(f"{user} {beat} " for beat in range(BEATS)))


async def run(plan: Plan, folder: Path) -> Report:
    opened, go = asyncio.Semaphore(0), asyncio.Event()

    def script(request: Received) -> Reply:
        if b'"stream"' not in request.body:
            return SHORT
        opened.release()
        *events, last, done = _events(request.json()["user"])
        steps: list[Step] = [step for event in events for step in (event, PAUSE)]
        return sse_reply([*steps, go, last, done])

    file = folder / "gatewayd.yaml"
    file.write_text(config("a"))
    async with FakeUpstream(script) as up, Daemon(file) as daemon:
        storm = Storm(daemon, file, up, opened, go)
        assert await daemon.chat("a") == (200, "Hello from a")
        await eventually(storm.watched)  # the watch has descriptors of its own
        await daemon.session.close()  # what it keeps open is no part of the count
        daemon.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        descriptors, tasks = storm.descriptors(), await storm.tasks()
        await storm.streams(plan.streams, plan.stream_edits)
        await storm.requests(plan.requests, plan.edits)
        await storm.rested(descriptors, tasks)
        return storm.report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reload.storm", description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--stream-edits", type=int, default=200)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--edits", type=int, default=1_000)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    plan = Plan(options.streams, options.stream_edits, options.requests, options.edits)
    with tempfile.TemporaryDirectory() as folder:
        report = uvloop.run(run(plan, Path(folder)))
    sys.stdout.write(f"{report}\n")
    return 1 if report.losses else 0


if __name__ == "__main__":
    sys.exit(main())
