"""A small real `Upstream` that says what it is told to, and runtimes built around it without files or sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.runtime import Gateway, Runtime, Target
from gatewayd.errors import GatewayError
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.table import Group, Table
from gatewayd.upstream.base import Call, Reply, Timeouts, Upstream, WholeReply
from gatewayd.wire.dialect import CHAT
from gatewayd.wire.openai import peek

TIMEOUTS = Timeouts(connect=1, first_byte=1, idle=1, total=5)
NO_RETRIES = RoutingSettings(num_retries=0)
SERVER = ServerSettings()


@dataclass
class FakeUpstream:
    """Answers with the next of `script`: an error is raised, None is success; success when the script is over."""

    script: Sequence[GatewayError | None] = ()
    hang: bool = False
    calls: list[Call] = field(default_factory=list)
    captures: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: int = 0
    closed: int = 0

    async def open(self, call: Call) -> Reply:
        self.calls.append(call)
        self.asked.set()
        self.captures.append(call.capture)
        if self.hang:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        index = len(self.calls) - 1
        if index < len(self.script) and (error := self.script[index]) is not None:
            raise error
        return WholeReply(200, [("content-type", "application/json")], b"{}")

    async def aclose(self) -> None:
        self.closed += 1


def _same(upstream: Upstream) -> Upstream:
    return upstream


def runtime_of(
    gateway: Gateway,
    groups: Mapping[str, Mapping[str, Upstream]],
    *,
    routing: RoutingSettings = NO_RETRIES,
    server: ServerSettings = SERVER,
    timeouts: Timeouts = TIMEOUTS,
    revision: str = "r1",
) -> Runtime:
    """`groups` maps group name to deployment id to upstream; ids are identities too."""
    targets: dict[str, Target] = {}
    tables: dict[str, Group] = {}
    for name, members in groups.items():
        candidates = []
        for id, upstream in members.items():
            deployment = Deployment(id=id, identity=id, group=name, kind="scripted", provider="fake", model=id)
            candidate = Candidate(id, id)
            candidates.append(candidate)
            targets[id] = Target(
                deployment, candidate, gateway.upstreams.acquire(id, partial(_same, upstream)), timeouts, timeouts
            )
        tables[name] = Group.of(name, candidates, routing.num_retries)
    snapshot = Snapshot(revision, tuple(t.deployment for t in targets.values()), routing, server)
    table = Table(tables, fallbacks=routing.fallbacks)
    return Runtime(snapshot, table, targets, gateway.health, gateway.upstreams)


def call(model: str, *, stream: bool = False, timeout: float | None = None) -> Call:
    body = b'{"model":"%s","stream":%s}' % (model.encode(), b"true" if stream else b"false")
    return Call(CHAT, peek(body), "req-1", timeout=timeout)
