"""Slow readers of large answers up to the memory limit, then no connection at all: does the daemon refuse for good?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import free_port
from tests.e2e.process import eventually
from tests.soak.gateway import KEY, Gateway, running
from tests.soak.upstream import LARGE, Upstream

LIMIT_MB = 220
"""Memory that the daemon may have."""
_MOST = 2000
"""Slow readers at most."""
_AT_A_TIME = 50


@dataclass(slots=True)
class BurstReport:
    readers: int = 0
    """Slow readers that were connected when the daemon began to refuse."""
    answered: int = 0
    """Calls that were answered after all of them had disconnected."""
    wrong: list[str] = field(default_factory=list)

    def failures(self) -> list[str]:
        return self.wrong

    def text(self) -> str:
        return f"with {self.readers:,} slow readers it refused; without them it answered {self.answered:,} calls"


async def burst(calls: int, folder: Path, memory_mb: int = LIMIT_MB) -> BurstReport:
    """Slow readers until the daemon refuses, then none, then so many calls, each on a connection of its own."""
    report = BurstReport()
    upstream = Upstream(0, 0.0)
    try:
        port = await upstream.start()
        async with running(folder, port, free_port(), free_port(), patient=True, memory_mb=memory_mb) as gateway:
            readers: list[asyncio.StreamWriter] = []
            try:
                await _fill(gateway, readers, report)
            finally:
                for writer in readers:
                    writer.transport.abort()
            if not report.wrong:
                await _recover(gateway, calls, report)
            if not gateway.alive:
                report.wrong.append("the daemon ended")
            await gateway.stop()
            report.wrong += [f"logged: {line}" for line in gateway.complaints]
    finally:
        upstream.stop()
    return report


async def _fill(gateway: Gateway, readers: list[asyncio.StreamWriter], report: BurstReport) -> None:
    """More and more clients that ask for a large answer and do not read it, until the daemon refuses and says so."""
    while found := await _not_overloaded(gateway):
        if len(readers) >= _MOST:
            report.wrong.append(f"with {len(readers)} slow readers {found}")
            return
        for _ in range(_AT_A_TIME):
            # With a small buffer on this side the answer stays in the daemon.
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.data, limit=1)
            readers.append(writer)
            writer.write(_request("POST", "/v1/chat/completions", b'{"model":"chat","user":%b,"messages":[]}' % LARGE))
    report.readers = len(readers)


async def _not_overloaded(gateway: Gateway) -> str:
    """What is not as it should be of an overloaded daemon; empty if everything is."""
    status = await _status(gateway)
    if status["ready"] or not status.get("overloaded"):
        return "/status says that the daemon is ready"
    live, ready = await _ask(gateway, "GET", "/livez"), await _ask(gateway, "GET", "/readyz")
    if not live.startswith(b"HTTP/1.1 200 "):
        return f"/livez answers {live!r}"
    if not ready.startswith(b"HTTP/1.1 503 ") or b"overloaded" not in ready:
        return f"/readyz answers {ready!r}"
    return ""


async def _recover(gateway: Gateway, calls: int, report: BurstReport) -> None:
    """What was refused before is answered, once the daemon has seen that no client is connected."""

    async def nothing_is_refused() -> bool:
        status = await _status(gateway)
        return status["ready"] is True and not status.get("overloaded")

    try:
        await eventually(nothing_is_refused)
    except TimeoutError:
        report.wrong.append(f"still refused without any client: {await _ask(gateway, 'GET', '/readyz')!r}")
        return
    for number in range(calls):
        answer = await _ask(gateway, "POST", "/v1/chat/completions", b'{"model":"chat","messages":[]}')
        if not answer.startswith(b"HTTP/1.1 200 "):
            report.wrong.append(f"call {number + 1} of {calls} after the burst: {answer[:300]!r}")
            return
        report.answered += 1


async def _status(gateway: Gateway) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(await gateway.ask("GET", "/status"))
    return status


async def _ask(gateway: Gateway, method: str, path: str, body: bytes = b"") -> bytes:
    """The whole answer, its head included, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data)
    try:
        writer.write(_request(method, path, body, more=b"connection: close\r\n"))
        return await reader.read()
    except ConnectionError:
        return b""  # a refused connection may be closed before the request is read
    finally:
        writer.close()


def _request(method: str, path: str, body: bytes, more: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + more + b"\r\n" + body
