"""Requests, reloads, clients that leave and shutdowns in an order that a seed decides. No sockets: a turn of the event
loop is the unit of time, so a seed is played in a millisecond and gives the same story every time.

    python -m tests.fuzz interleavings --runs 10000
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict

from gatewayd.config.snapshot import RoutingSettings
from gatewayd.engine.client import ClientGone
from gatewayd.engine.head import RequestHead
from gatewayd.engine.request import Request, Requests
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import GatewayError, UpstreamBadResponse, UpstreamConnection, UpstreamIncomplete
from gatewayd.observe.metrics import Metrics
from gatewayd.upstream.base import Call, Flow, Reply, Sink, WholeReply
from gatewayd.wire.dialect import CHAT
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import DONE, Usage
from tests.engine.fakes import runtime_of
from tests.web.support import Records

_EVENT = b'data: {"n":1}\n\n'
_ROUTING = RoutingSettings(num_retries=1)
_OUTCOMES = {"ok", "rejected", "error", "broken_stream", "client_left", "shutdown"}


async def turns(rng: random.Random, most: int) -> None:
    for _ in range(rng.randrange(most)):
        await asyncio.sleep(0)


@dataclass
class _Stream:
    """A stream that ends well, breaks or falls silent."""

    rng: random.Random
    status: int = 200
    headers: Sequence[Header] = (("content-type", "text/event-stream"),)
    body: bytes | None = None
    usage: Usage | None = None
    closed: int = 0

    async def pipe(self, sink: Sink) -> None:
        for _ in range(self.rng.randrange(1, 5)):
            sink.write(_EVENT)
            await turns(self.rng, 4)
        fate = self.rng.random()
        if fate < 0.2:
            raise UpstreamIncomplete("The upstream's stream ended before its end mark.")
        if fate < 0.3:
            await asyncio.Event().wait()
        sink.write(DONE)

    def close(self) -> None:
        self.closed += 1


@dataclass
class _Upstream:
    """Answers, fails or hangs; notes what was opened, and complains of use after its end."""

    rng: random.Random
    revision: str
    replies: list[_Stream] = field(default_factory=list)
    busy: int = 0
    closed: int = 0

    async def open(self, call: Call) -> Reply:
        assert not self.closed, "asked after it was closed"
        self.busy += 1
        try:
            await turns(self.rng, 5)
            fate = self.rng.random()
            if fate < 0.15:
                raise UpstreamConnection("The upstream closed the connection before it answered.")
            if fate < 0.3:
                raise UpstreamBadResponse("The upstream's answer is not JSON.")
            if fate < 0.35:
                await asyncio.Event().wait()
        finally:
            self.busy -= 1
        if not call.intent.stream:
            return WholeReply(200, [("content-type", "application/json"), ("x-made-by", self.revision)], b"{}")
        self.replies.append(_Stream(self.rng, headers=(*_Stream.headers, ("x-made-by", self.revision))))
        return self.replies[-1]

    async def aclose(self) -> None:
        assert not self.busy, "closed while it was asked"
        assert all(reply.closed for reply in self.replies), "closed while a reply was open"
        self.closed += 1


@dataclass
class _Client:
    """Both sides of a connection without a connection: the request, and what became of its answer."""

    rng: random.Random
    stream: bool
    peer: str = "test"
    gone: bool = False
    status: int = 0
    made_by: str = ""
    revision: str = ""
    received: bytes = b""
    ends: list[str] = field(default_factory=list)
    dones: int = 0

    length = None
    begun = False

    async def next(self) -> bytes:
        raise AssertionError("bodies are read whole here")

    async def read(self, limit: int) -> bytes:
        await turns(self.rng, 3)
        if self.gone:
            raise ClientGone
        return b'{"model":"chat","stream":%b}' % (b"true" if self.stream else b"false")

    def _head(self, status: int, headers: Sequence[Header]) -> None:
        assert not self.status, "two answers"
        self.status = status
        self.made_by = dict(headers).get("x-made-by", "")
        self.revision = dict(headers).get("x-gatewayd-revision", "")

    def send(self, status: int, headers: Sequence[Header], body: bytes, *, last: bool = False) -> None:
        self._head(status, headers)
        self.ends.append("whole")

    def send_made(self, head: bytes, body: bytes) -> None:
        raise AssertionError("no attempt here is a first one without a task")

    def start(self, status: int, headers: Sequence[Header]) -> Sink:
        self._head(status, headers)
        return self

    def attach(self, flow: Flow) -> None:
        return None

    def write(self, data: bytes) -> None:
        assert not self.ends, "written after the end"
        self.received += data

    def finish(self) -> None:
        self.ends.append("finish")

    def fail(self, event: bytes) -> None:
        assert b"[DONE]" not in self.received, "an error after success"
        self.ends.append("fail")

    def abort(self) -> None:
        self.ends.append("abort")

    def done(self) -> None:
        self.dones += 1

    def check(self) -> None:
        assert self.dones == 1
        assert len(self.ends) <= 1, self.ends
        assert self.made_by in ("", self.revision), "answered by an upstream of another configuration"
        if self.ends == ["finish"]:
            assert self.received.endswith(DONE), "a clean end without the end mark"
        if not self.gone:
            assert self.ends, "a client that waits for ever"


class Story:
    """One run. Raises AssertionError when an invariant breaks."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._gateway, metrics = Gateway(), Metrics()
        self._requests = Requests(self._gateway, metrics)
        self._upstreams: list[_Upstream] = []
        self._clients: list[tuple[_Client, Request]] = []
        self.complaints: list[dict[str, Any]] = []

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        with Records() as records:
            self._reload(0)
            for step in range(1, self._rng.randrange(5, 25)):
                match self._rng.choices(("ask", "leave", "reload", "turn"), (5, 3, 2, 3))[0]:
                    case "ask":
                        self._ask()
                    case "leave" if self._clients:
                        client, request = self._rng.choice(self._clients)
                        client.gone = True
                        if not client.dones:
                            request.lost()
                    case "reload":
                        self._reload(step)
                    case _:
                        await turns(self._rng, 6)
            await self._stop()
            assert len(records.fields) == len(self._clients)
            assert {record["outcome"] for record in records.fields} <= _OUTCOMES
            assert not any(record["outcome"] == "error" and record["status"] == 500 for record in records.fields)
        assert self.complaints == [], self.complaints

    def _reload(self, number: int) -> None:
        revision = f"r{number}"
        up = _Upstream(self._rng, revision)
        self._upstreams.append(up)
        groups = {"chat": {f"{revision} one": up, f"{revision} two": up}}
        self._gateway.swap(runtime_of(self._gateway, groups, routing=_ROUTING, revision=revision))

    def _ask(self) -> None:
        client = _Client(self._rng, self._rng.random() < 0.6)
        body = b'{"model":"chat","stream":%b}' % (b"true" if client.stream else b"false")
        head = RequestHead("POST", "/v1/chat/completions", CIMultiDict(), kind="model", endpoint=CHAT)
        request = Request(self._requests, head, body if self._rng.random() < 0.5 else client, client)
        self._clients.append((client, request))
        request.begin()

    async def _stop(self) -> None:
        await turns(self._rng, 10)
        self._gateway.draining = True
        await turns(self._rng, 10)
        self._requests.interrupt()
        await turns(self._rng, 10)
        async with asyncio.timeout(20):
            while self._requests.live:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert self._gateway.in_flight == 0
        for up in self._upstreams:
            for name in ("one", "two"):
                state = self._gateway.health.state(f"{up.revision} {name}")
                assert (state.in_flight, state.probing) == (0, False)
        with contextlib.suppress(GatewayError):
            await self._gateway.close()
        for up in self._upstreams:
            assert (up.busy, up.closed) == (0, 2), (up.busy, up.closed)  # once for each of its two identities
        assert not len(self._gateway.upstreams)
        for client, _ in self._clients:
            client.check()
