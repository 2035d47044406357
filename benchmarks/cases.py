"""The cases with several gateways: small unary requests, large ones, streams, and translated requests.

For each kind of upstream all gateways are started, warmed up, and then measured in turn, round after round (A B C, A B
C, ...), so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import client, payloads, wrk
from benchmarks.client import Load, Target
from benchmarks.measure import usage
from benchmarks.mocks import Mocks
from benchmarks.peers import Peer, Upstream
from benchmarks.process import Daemon, Failed, free_port
from benchmarks.results import DIRECT, Results

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    mode: str
    rounds: int
    seconds: float
    """Of load for one sample."""
    starts: int
    """Of each gateway, for start-up time."""
    tuned: bool
    """Whether the tuned variants of peers take part."""
    reload_models: tuple[int, ...]
    reload_edits: int


QUICK = Plan("quick", rounds=2, seconds=1.0, starts=1, tuned=False, reload_models=(1_000,), reload_edits=2)
FULL = Plan("full", rounds=5, seconds=2.0, starts=3, tuned=True, reload_models=(1_000, 10_000), reload_edits=4)


@dataclass(frozen=True, slots=True)
class Running:
    """Something that answers chat completions."""

    name: str
    target: Target
    slow: bool
    pid: int | None
    """None: there is no gateway."""


def _traced(running: Running) -> Running:
    """The same, asked with a header that differs from request to request (see post.lua)."""
    headers = {**running.target.headers, "traceparent": "*"}
    return replace(running, target=replace(running.target, headers=headers))


@dataclass(slots=True)
class Bench:
    plan: Plan
    peers: Sequence[type[Peer]]
    mocks: Mocks
    core: int
    """Of the gateways; the load and the mock upstreams have another."""
    folder: Path
    results: Results
    say: Callable[[str], None]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def small(self) -> None:
        """216 bytes there, 500 bytes back, over 1 and 64 connections, and with heads of which no two are alike; also
        start-up times and memory."""
        body = payloads.chat_body()
        with self._fleet(Upstream(self.mocks.unary), starts=self.plan.starts) as fleet:
            for running in self._rounds(fleet, "small requests"):
                self._unary("unary-1", running, body, connections=1)
                self._unary("unary-64", running, body, connections=64)
                if not running.slow:
                    self._unary("unary-64-new", _traced(running), body, connections=64)
            for running in fleet:
                if running.pid is not None:
                    self.results.add("process", running.name, rss_loaded_mb=usage(running.pid).rss / 1e6)

    def streams(self) -> None:
        """64 streams of 100 chunks at a time, one chunk every 5 ms each; and 1 MB requests over 8 connections."""
        body = payloads.chat_body(payloads.LARGE)
        with self._fleet(Upstream(self.mocks.streaming, streaming=True)) as fleet:
            for running in self._rounds(fleet, "streams and large requests"):
                self._stream("stream", running)
                self._unary("large", running, body, connections=8)

    def translated(self) -> None:
        """OpenAI's wire in front, Anthropic's behind: small requests over 8 connections, and 64 streams at a time."""
        body = payloads.chat_body()
        with self._fleet(Upstream(self.mocks.streaming, "anthropic", streaming=True)) as fleet:
            for running in self._rounds(fleet, "translated requests"):
                self._unary("translated", running, body, connections=8, own_client=True)
                self._stream("translated-stream", running)

    @contextmanager
    def _fleet(self, upstream: Upstream, *, starts: int = 0) -> Iterator[list[Running]]:
        """All gateways that can speak to this upstream, started and warm; what fails to start is noted as missing.

        With `starts` each is started so often, one after another, and how that went is recorded.
        """
        fleet = []
        if upstream.wire == "openai":
            fleet.append(Running(DIRECT, Target(upstream.url + PATH, {}), slow=False, pid=None))
        with ExitStack() as stack:
            for peer_type in self.peers:
                if upstream.wire not in peer_type.wires or peer_type.name in self.results.missing:
                    continue
                try:
                    for _ in range(starts - 1):
                        with ExitStack() as brief:
                            self._start(peer_type, upstream, brief, record=True)
                    fleet.append(self._start(peer_type, upstream, stack, record=bool(starts)))
                except Failed as error:
                    self.results.missing[peer_type.name] = str(error)
            for running in fleet:
                client.run(running.target, payloads.chat_body(), connections=8, seconds=0.5)
            yield fleet

    def _start(self, peer_type: type[Peer], upstream: Upstream, stack: ExitStack, *, record: bool) -> Running:
        """Start a gateway that ends with `stack`.

        Raises:
            Failed: it did not start.
        """
        self.say(f"starting {peer_type.name}")
        port = free_port()
        peer = peer_type(upstream, port, self.folder / f"{next(self._numbers)}")  # a port may come twice
        target = Target(f"http://127.0.0.1:{port}{PATH}", peer.headers())
        daemon = Daemon(peer.command(), core=self.core, folder=peer.folder, environment=peer.environment())
        stack.callback(daemon.stop)
        started = daemon.ready(target, payloads.chat_body(), peer.start_timeout)
        if record:
            figures = {"start_wall_s": started.wall, "start_cpu_s": started.cpu, "rss_mb": started.rss / 1e6}
            self.results.add("process", peer.name, **figures)
        return Running(peer.name, target, peer.slow, daemon.pid)

    def _rounds(self, fleet: Sequence[Running], what: str) -> Iterator[Running]:
        for number in range(1, self.plan.rounds + 1):
            for running in fleet:
                self.say(f"{what}, round {number} of {self.plan.rounds}: {running.name}")
                yield running

    def _unary(self, case: str, running: Running, body: bytes, *, connections: int, own_client: bool = False) -> None:
        def load() -> Load:
            if running.slow or own_client:
                return client.run(running.target, body, connections=connections, seconds=self.plan.seconds)
            path = self.folder / f"body-{len(body)}"
            if not path.exists():
                path.write_bytes(body)
            return wrk.run(running.target, path, connections=connections, seconds=self.plan.seconds)

        if (sample := self._sample(case, running, load)) is None:
            return
        seen, cpu = sample
        figures = {"rate": seen.requests / seen.seconds, "p50_ms": seen.p50, "p99_ms": seen.p99}
        self._record(case, running, figures, cpu / seen.requests, ("p50_ms", "p99_ms"))

    def _stream(self, case: str, running: Running) -> None:
        def load() -> Load:
            body = payloads.chat_body(stream=True)
            return client.run(running.target, body, connections=64, seconds=self.plan.seconds, chunks=payloads.CHUNKS)

        if (sample := self._sample(case, running, load)) is None:
            return
        seen, cpu = sample
        figures = {"rate": seen.chunks / seen.seconds, "p50_ms": seen.delay_p50, "p99_ms": seen.delay_p99}
        self._record(case, running, figures, cpu / max(seen.chunks, 1), ("p50_ms", "p99_ms"))

    def _sample(self, case: str, running: Running, load: Callable[[], Load]) -> tuple[Load, float] | None:
        """What the load saw and the CPU seconds it cost; None, and a note, if more than one request in 100 failed."""
        key = f"{running.name}: {case}"
        if key in self.results.missing:
            return None
        try:
            before = usage(running.pid).cpu if running.pid is not None else 0.0
            seen = load()
            after = usage(running.pid).cpu if running.pid is not None else 0.0
        except (Failed, ProcessLookupError) as error:
            self.results.missing[key] = str(error) or "the process ended"
            return None
        if seen.requests == 0 or seen.errors > seen.requests / 100:
            self.results.missing[key] = f"{seen.errors} of {seen.requests} requests failed: {seen.error}"
            return None
        return seen, after - before

    def _record(self, case: str, running: Running, figures: dict[str, float], cpu: float, added: Sequence[str]) -> None:
        """Store one sample, with what was added to the sample without gateway of the same round."""
        self.results.add(case, running.name, **figures)
        if running.pid is None:
            return
        direct = self.results.samples.get(case, {}).get(DIRECT, {})
        extra = {f"added_{name}": figures[name] - direct[name][-1] for name in added if name in direct}
        self.results.add(case, running.name, cpu_us=cpu * 1e6, **extra)
