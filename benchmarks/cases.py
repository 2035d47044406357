"""The cases with several gateways: small unary requests, large ones, streams, and translated requests.

For each kind of upstream all gateways are started, warmed up and stopped, and then loaded in turn, one awake at a time
(`benchmarks.turns`): in slices of 100 ms for CPU, in turns of seconds for latency.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import client, payloads, turns, wrk
from benchmarks.client import Target
from benchmarks.measure import usage
from benchmarks.mocks import Mocks
from benchmarks.peers import Peer, Upstream, Wire
from benchmarks.process import Daemon, Failed, free_port
from benchmarks.results import DIRECT, Results
from benchmarks.turns import Contestant, Generator, Sample

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    mode: str
    rounds: int
    """Blocks for CPU behind each figure, and turns for latency."""
    seconds: float
    """Of load for one sample."""
    starts: int
    """Of each gateway, for start-up time."""
    tuned: bool
    """Whether the tuned variants of peers take part."""
    reload_models: tuple[int, ...]
    reload_edits: int


QUICK = Plan("quick", rounds=5, seconds=1.0, starts=1, tuned=False, reload_models=(1_000,), reload_edits=2)
FULL = Plan("full", rounds=5, seconds=2.0, starts=3, tuned=True, reload_models=(1_000, 10_000), reload_edits=4)


@dataclass(frozen=True, slots=True)
class Running:
    """Something that answers chat completions (a `turns.Contestant`)."""

    name: str
    target: Target
    slow: bool
    pid: int | None
    daemons: tuple[Daemon, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    name: str
    body: bytes
    connections: int
    own_client: bool = False
    """Use our own load generator for fast gateways too."""
    chunks: int = 0
    """Pieces in each answer; CPU and rate are counted by piece then."""
    headers: tuple[tuple[str, str], ...] = ()
    """What each request has besides; `*` and `#N` as in post.lua."""
    latency: bool = True
    slow: bool = True
    """Whether slow gateways take part."""


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
        """216 bytes there, 500 bytes back, over 1 and 64 connections; with heads of which no two are alike; from 500
        and 5,000 clients in turn. Also start-up times and memory."""
        body = payloads.chat_body()
        unary = Case("unary-64", body, 64)
        changed = replace(unary, latency=False, slow=False)
        with self._fleet(starts=self.plan.starts) as fleet:
            self._measure(Case("unary-1", body, 1), fleet)
            self._measure(unary, fleet)
            self._measure(replace(changed, name="unary-64-new", headers=(("traceparent", "*"),)), fleet)
            for clients in (500, 5_000):
                case = replace(changed, name=f"unary-64-clients-{clients}", headers=(("x-client", f"#{clients}"),))
                self._measure(case, fleet)
            for running in fleet:
                if running.pid is not None:
                    self.results.add("process", running.name, rss_loaded_mb=usage(running.pid).rss / 1e6)

    def streams(self) -> None:
        """64 streams of 100 chunks at a time, one chunk every 5 ms each; and 1 MB requests over 8 connections."""
        with self._fleet(streaming=True) as fleet:
            self._measure(Case("stream", payloads.chat_body(stream=True), 64, True, payloads.CHUNKS), fleet)
            self._measure(Case("large", payloads.chat_body(payloads.LARGE), 8), fleet)

    def tls(self) -> None:
        """Small requests and streams to an upstream with TLS, as every provider has it."""
        with self._fleet(tls=True) as fleet:
            self._measure(Case("tls-64", payloads.chat_body(), 64), fleet)
        with self._fleet(tls=True, streaming=True) as fleet:
            self._measure(Case("tls-stream", payloads.chat_body(stream=True), 64, True, payloads.CHUNKS), fleet)

    def translated(self) -> None:
        """OpenAI's API in front, Anthropic's behind: small requests over 8 connections, and 64 streams at a time."""
        with self._fleet(streaming=True, anthropic=True) as fleet:
            self._measure(Case("translated", payloads.chat_body(), 8, True), fleet)
            self._measure(Case("translated-stream", payloads.chat_body(stream=True), 64, True, payloads.CHUNKS), fleet)

    @contextmanager
    def _fleet(
        self, *, streaming: bool = False, anthropic: bool = False, tls: bool = False, starts: int = 0
    ) -> Iterator[list[Running]]:
        """All gateways that can speak to this upstream, started, warm and stopped; what fails to start is noted.

        With `starts` each is started so often, one after another, and how that went is recorded.
        """
        fleet = []
        wire: Wire = "anthropic" if anthropic else "openai"
        with ExitStack() as stack:
            if not (anthropic or tls):
                upstream, mocks = self._upstream(streaming, tls, stack)
                fleet.append(Running(DIRECT, Target(upstream.url + PATH, {}), slow=False, pid=None, daemons=mocks))
            for peer_type in self.peers:
                able = wire in peer_type.wires and (peer_type.tls or not tls)
                if not able or peer_type.name in self.results.missing:
                    continue
                upstream, mocks = self._upstream(streaming, tls, stack)
                upstream = replace(upstream, wire=wire)
                try:
                    for _ in range(starts - 1):
                        with ExitStack() as brief:
                            self._start(peer_type, upstream, brief, record=True)
                    running = self._start(peer_type, upstream, stack, record=bool(starts))
                except Failed as error:
                    self.results.missing[peer_type.name] = str(error)
                    continue
                fleet.append(replace(running, daemons=(*mocks, *running.daemons)))
                client.run(running.target, payloads.chat_body(), connections=8, seconds=0.5)
                for daemon in running.daemons:
                    daemon.pause()
            yield fleet

    def _upstream(self, streaming: bool, tls: bool, stack: ExitStack) -> tuple[Upstream, tuple[Daemon, ...]]:
        """An upstream for one gateway, and its processes if it shares them with no other."""
        authority = self.mocks.certificate.chain if tls else None
        if not streaming:
            return Upstream(self.mocks.unary_tls if tls else self.mocks.unary, authority=authority), ()
        port, daemon = stack.enter_context(self.mocks.streaming(tls=tls))
        return Upstream(port, streaming=True, authority=authority), (daemon,)

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
        return Running(peer.name, target, peer.slow, daemon.pid, (daemon,))

    def _measure(self, case: Case, fleet: Sequence[Running]) -> None:
        """All rounds of one case."""
        path = self.folder / f"body-{case.name}"
        path.write_bytes(case.body)

        def generator(contestant: Contestant) -> Generator:
            assert isinstance(contestant, Running)
            target = replace(contestant.target, headers={**contestant.target.headers, **dict(case.headers)})
            if contestant.slow or case.own_client:
                command = client.command(target, path, connections=case.connections, chunks=case.chunks)
                return Generator(command, turns.parse)
            return wrk.generator(target, path, connections=case.connections)

        for number in range(1, self.plan.rounds + 1):
            self.say(f"{case.name}, round {number} of {self.plan.rounds}")
            if case.latency:
                samples = turns.take(self._left(case, fleet), generator, seconds=self.plan.seconds, slices=1)
                self._record_latency(case, samples)
            slices = round(self.plan.seconds / turns.SLICE)
            with_cpu = [running for running in self._left(case, fleet) if running.pid is not None]
            samples = turns.take(with_cpu, generator, seconds=turns.SLICE, slices=slices)
            for name, sample in self._good(case, samples):
                done = sample.load.chunks if case.chunks else sample.load.requests
                self.results.add(case.name, name, cpu_us=sample.cpu / max(done, 1) * 1e6)

    def _left(self, case: Case, fleet: Sequence[Running]) -> list[Running]:
        """Those that take part in a case and have not failed in it."""
        missing = self.results.missing
        return [r for r in fleet if f"{r.name}: {case.name}" not in missing and (case.slow or not r.slow)]

    def _good(self, case: Case, samples: dict[str, Sample | Failed]) -> Iterator[tuple[str, Sample]]:
        """The samples in which no more than one request in 100 failed; the others are noted as missing."""
        for name, sample in samples.items():
            if isinstance(sample, Failed):
                why = str(sample)
            elif sample.load.requests == 0 or sample.load.errors > sample.load.requests / 100:
                why = f"{sample.load.errors} of {sample.load.requests} requests failed: {sample.load.error}"
            else:
                yield name, sample
                continue
            self.results.missing[f"{name}: {case.name}"] = why

    def _record_latency(self, case: Case, samples: dict[str, Sample | Failed]) -> None:
        """Rate and latency, with what was added to the sample without gateway of the same round."""
        direct: dict[str, float] = {}
        for name, sample in self._good(case, samples):
            load = sample.load
            done, p50, p99 = load.requests, load.p50, load.p99
            if case.chunks:
                done, p50, p99 = load.chunks, load.delay_p50, load.delay_p99
            figures = {"rate": done / load.seconds, "p50_ms": p50, "p99_ms": p99}
            if name == DIRECT:
                direct = figures
            elif direct:
                figures |= {f"added_{kind}": figures[kind] - direct[kind] for kind in ("p50_ms", "p99_ms")}
            self.results.add(case.name, name, **figures)
