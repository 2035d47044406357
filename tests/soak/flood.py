"""Connections that pipeline refusals, beside ordinary calls: how long do calls take, and does the daemon live?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import quantile
from benchmarks.process import free_port
from tests.soak.gateway import KEY, Gateway, running
from tests.soak.upstream import Upstream

_HEAD = b"host: localhost\r\nauthorization: Bearer "
_REFUSED = b"GET /nowhere HTTP/1.1\r\n" + _HEAD + b"sk-nobody\r\n\r\n"
_BODY = b'{"model":"chat","messages":[]}'
_CALL = (
    b"POST /v1/chat/completions HTTP/1.1\r\n"
    + _HEAD
    + KEY.encode()
    + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
    + _BODY
)


@dataclass(slots=True)
class FloodReport:
    took: list[float] = field(default_factory=list)
    """Seconds of each ordinary call."""
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def failures(self) -> list[str]:
        """What is not as it should be; how long calls took is only reported."""
        found = list(self.wrong)
        if not self.took:
            found.append("no call was answered")
        if not self.refused:
            found.append("nothing was refused")
        return found

    def text(self) -> str:
        ordered = sorted(self.took)
        p50, p99 = (quantile(ordered, share) * 1e3 for share in (0.5, 0.99))
        return f"{self.refused:,} refusals, {len(ordered):,} calls beside them: p50 {p50:.1f} ms, p99 {p99:.1f} ms"


async def flood(connections: int, seconds: float, folder: Path, *, workers: int = 1) -> FloodReport:
    """So many connections pipeline 401s as fast as they are answered; one client calls all the while."""
    report = FloodReport()
    upstream = Upstream(0, 0.0)
    try:
        port = await upstream.start()
        async with running(folder, port, free_port(), free_port(), patient=True, workers=workers) as gateway:
            pids = await _workers(gateway)
            flooding = [asyncio.create_task(_pipeline(gateway.data, report)) for _ in range(connections)]
            try:
                await _call(gateway.data, time.monotonic() + seconds, report)
            finally:
                for task in flooding:
                    task.cancel()
                await asyncio.gather(*flooding, return_exceptions=True)
            if not gateway.alive:
                report.wrong.append("the daemon ended")
            elif await _workers(gateway) != pids:
                report.wrong.append("a worker was replaced")
            await gateway.stop()
            report.wrong += [f"logged: {line}" for line in gateway.complaints]
    finally:
        upstream.stop()
    return report


async def _workers(gateway: Gateway) -> list[int]:
    """Process ids of the workers; none if the daemon is one process."""
    return [worker["pid"] for worker in json.loads(await gateway.ask("GET", "/status")).get("workers", ())]


async def _pipeline(port: int, report: FloodReport) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        while True:
            writer.write(_REFUSED * 500)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        while data := await reader.read(1 << 16):
            report.refused += data.count(b"HTTP/1.1 401")
        report.wrong.append("a connection that pipelines was closed")
    finally:
        sending.cancel()
        writer.close()


async def _call(port: int, until: float, report: FloodReport) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        while time.monotonic() < until:
            began = time.monotonic()
            writer.write(_CALL)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            report.took.append(time.monotonic() - began)
            if not head.startswith(b"HTTP/1.1 200 "):
                report.wrong.append(f"answered {head[:20]!r}")
                return
