"""Clients that leave, again and again: how long until their upstream's connection is closed, and is anything left?"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import quantile
from benchmarks.process import free_port
from tests.soak.gateway import KEY, Gateway, Open, running
from tests.soak.run import rest
from tests.soak.upstream import HELD, Upstream

LIMITS = {"stream": 0.1, "unary": 1.0}
"""Seconds from the client's leaving to the end of the upstream's connection."""
_PATIENCE = 30.0


@dataclass(slots=True)
class StormReport:
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"stream": [], "unary": []})
    """How long it took each time."""
    before: Open | None = None
    after: Open | None = None
    left_upstream: int = 0
    complaints: list[str] = field(default_factory=list)

    def failures(self, *, slow: int = 0) -> list[str]:
        """What is not as it should be; so many may have taken longer than they should."""
        found = [f"logged: {line}" for line in self.complaints]
        for kind, limit in LIMITS.items():
            late = sum(taken > limit for taken in self.seconds[kind])
            if late > slow:
                found.append(
                    f"{late} of {len(self.seconds[kind])} {kind} requests outlived their client by {limit:g} s"
                )
        if self.before is None or self.after is None or self.after.grown_from(self.before):
            found.append(f"not as before: {self.after}; it was: {self.before}")
        if self.left_upstream:
            found.append(f"the upstream still has {self.left_upstream} connections")
        return found

    def text(self) -> str:
        lines = []
        for kind, taken in self.seconds.items():
            if ordered := sorted(taken):
                p50, p99 = (quantile(ordered, share) * 1e3 for share in (0.5, 0.99))
                worst = ordered[-1] * 1e3
                lines.append(
                    f"{kind:10} {len(ordered):,} left: median {p50:.1f} ms, p99 {p99:.1f} ms, longest {worst:.1f} ms"
                )
        return "\n".join([*lines, f"open       before: {self.before}", f"           after:  {self.after}"])


async def storm(count: int, folder: Path, *, clients: int = 16, seed: int = 0) -> StormReport:
    """`count` requests, half of them streams, whose client leaves when the upstream has begun with them."""
    report = StormReport()
    upstream = Upstream(seed, 0.0)
    try:
        port = await upstream.start()
        async with running(folder, port, free_port(), free_port(), patient=True) as gateway:
            await _leave_often(gateway, upstream, 2 * clients, clients, seed, StormReport())
            report.before = await rest(gateway, upstream, None)
            await _leave_often(gateway, upstream, count, clients, seed, report)
            report.after = await rest(gateway, upstream, report.before)
            report.left_upstream = len(upstream.open)
            await gateway.stop()
            report.complaints = gateway.complaints
    finally:
        upstream.stop()
    return report


async def _leave_often(
    gateway: Gateway, upstream: Upstream, count: int, clients: int, seed: int, report: StormReport
) -> None:
    rng = random.Random(seed)
    numbers = iter(range(count))
    moments = _Moments(upstream)

    async def client() -> None:
        for number in numbers:
            kind = "stream" if number % 2 else "unary"
            report.seconds[kind].append(await _leave_once(gateway.data, moments, number, kind == "stream", rng))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


class _Moments:
    """When the upstream gets a request, and when its connection ends."""

    def __init__(self, upstream: Upstream) -> None:
        self.held: dict[bytes, asyncio.Event] = {}
        self.left: dict[bytes, asyncio.Future[float]] = {}
        upstream.held = lambda body: self.held[_name(body)].set()
        upstream.left = lambda body: self.left[_name(body)].set_result(time.monotonic())


def _name(body: bytes) -> bytes:
    return body[body.index(HELD) :]


async def _leave_once(port: int, moments: _Moments, number: int, stream: bool, rng: random.Random) -> float:
    loop = asyncio.get_running_loop()
    model = f'"model":"chat","stream":{str(stream).lower()},"messages":[]'
    body = b'{%b,"user":%b,"n":%d}' % (model.encode(), HELD, number)
    name = _name(body)
    moments.held[name] = held = asyncio.Event()
    moments.left[name] = left = loop.create_future()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    async with asyncio.timeout(_PATIENCE):
        transport, client = await loop.create_connection(_Client, "127.0.0.1", port)
        transport.write(head.encode() + body)
        await held.wait()
        if stream:
            await client.begun.wait()
        gone = time.monotonic()
        if rng.random() < 0.5:
            transport.abort()
        else:
            transport.close()
        ended: float = await left
    del moments.held[name], moments.left[name]
    return ended - gone


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.begun.set()
