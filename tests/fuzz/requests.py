"""Requests: whatever bytes come, in whatever pieces, a known head is answered like a parsed one, and asks upstreams
the same. Where two readers of the same bytes differ, requests can be smuggled.
"""

from __future__ import annotations

import asyncio
import re
from functools import cache
from random import Random
from typing import Any, cast

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.transport import Connection
from gatewayd.web.app import data_listener
from gatewayd.web.loop import LoopConnection, LoopServer
from gatewayd.wire.heads import HeadCache
from tests.faults.data_plane_runs import Wire
from tests.fuzz.mutate import mutated, pieces
from tests.fuzz.runner import Target
from tests.web.support import KEY

_BODY = b'{"model":"chat","n":1}'
_STREAM = b'{"model":"chat","stream":true}'
_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n" % KEY.encode()


def _post(body: bytes, *fields: bytes) -> bytes:
    return _HEAD + b"".join(field + b"\r\n" for field in fields) + b"content-length: %d\r\n\r\n" % len(body) + body


_CORPUS = [
    _post(_BODY),
    _post(_BODY) + _post(_BODY),
    _post(_STREAM),
    _post(_BODY, b"content-type: application/json") + b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n" + _post(_BODY),
    _HEAD + b"transfer-encoding: chunked\r\n\r\n16\r\n" + _BODY + b"\r\n0\r\n\r\n",
    _post(_BODY, b"expect: 100-continue"),
    _post(_BODY, b"connection: close"),
    _post(_BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    _post(b'{"model":"other"}') + _post(_BODY),
    b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n\r\n" % KEY.encode() + _post(_BODY),
]
_WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b"content-length: 5\r\n", b"Content-Length: 22\r\n"),
    *(b"content-length: +22\r\n", b"content-length:22\r\n", b"content-length : 22\r\n", b"content-length: 22, 22\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"transfer-encoding: identity\r\n", b"x: y\r\n", b" folded\r\n",),
    *(b"x: \x00\r\n", b"trailer: x\r\n", b"GET / HTTP/1.1\r\n"),
    *(b"connection: close\r\n", b"connection: content-length\r\n", b"upgrade: websocket\r\n", b"host: b\r\n"),
    *(b"x-request-id: r\r\n", b"authorization: Bearer no\r\n", b"content-encoding: gzip\r\n", b"HTTP/1.1",),
    *(b"{", b"}", b'"stream":true', _BODY, b"0\r\n\r\n", b"5\r\n", b"-1", b"x-litellm-timeout: 1\r\n"),
]  # fmt: skip
_OWN = re.compile(
    rb"(?:x-request-id|x-litellm-call-id|date|x-gatewayd-overhead-ms|x-litellm-overhead-duration-ms|"
    rb"x-litellm-response-duration-ms): [^\r]*\r\n"
)
"""What differs from answer to answer."""

_NOT_HTTP = b"The request is not valid HTTP/1.1"


class _Side:
    """A data side in front of an upstream that tells the length of what it got."""

    def __init__(self, *, fast: bool) -> None:
        self._wires: list[Wire] = []
        self._asked: list[bytes] = []
        self._gateway = Gateway(instance="0" * 16)
        listener = data_listener(self._gateway, Metrics())
        self._server = cast(LoopServer, listener._server)
        if not fast:
            self._server.heads = HeadCache(0)  # each head is parsed

    async def open(self) -> None:
        deployment = Deployment("d", "d", "chat", "forward", "openai", "m", api_base="http://127.0.0.1:1/v1")
        settings = ServerSettings(master_key=Secret(KEY))
        routing = RoutingSettings(num_retries=0, disable_cooldowns=True)
        self._gateway.swap(await build(Snapshot("r", (deployment,), routing, settings), self._gateway))
        (target,) = self._gateway.current.targets.values()
        assert isinstance(target.upstream, ForwardUpstream)
        target.upstream._pool._dialler = cast(Any, self)

    async def dial(self, make: Any, seconds: float) -> Connection:
        connection: Connection = make()
        wire = _Echo(asyncio.get_running_loop(), connection, self._asked)
        connection.connection_made(cast(asyncio.Transport, wire))
        return connection

    async def say(self, chunks: list[bytes]) -> tuple[bytes, bool, list[bytes]]:
        """What comes back, whether the connection goes on, and what the upstream got."""
        self._asked.clear()
        protocol = cast(LoopConnection, self._server.open_connection(self))
        wire = Wire(asyncio.get_running_loop(), protocol)
        protocol.connection_made(cast(asyncio.Transport, wire))
        for chunk in chunks:
            wire.deliver(chunk)
            await _settle(protocol)
        if protocol._held:  # or it would wait for the rest for a fifth of a second
            protocol._give_to_parser()
        await _settle(protocol)
        got, goes_on, asked = wire.written, not wire.closed, list(self._asked)
        wire.cut(None)
        await _settle(protocol)
        assert self._gateway.in_flight == 0
        return _OWN.sub(b"", got), goes_on, asked


class _Echo(Wire):
    """The upstream's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, asked: list[bytes]) -> None:
        super().__init__(loop, protocol)
        self._asked = asked

    def write(self, data: bytes) -> None:
        self._asked.append(data)
        body = b'{"choices":[{}],"got":%d}' % len(data)
        if b'"stream":true' in data:
            body = b'data: {"got":%d}\n\ndata: [DONE]\n\n' % len(data)
        kind = b"text/event-stream" if b"stream" in data else b"application/json"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
        self._loop.call_soon(self.deliver, head + body)


async def _settle(protocol: LoopConnection) -> None:
    """Lets the loop turn until nothing more happens."""
    for _ in range(30):
        await asyncio.sleep(0)


@cache
def _sides() -> tuple[asyncio.Runner, _Side, _Side]:
    runner = asyncio.Runner()

    async def made() -> tuple[_Side, _Side]:
        fast, ordinary = _Side(fast=True), _Side(fast=False)
        for side in (fast, ordinary):
            await side.open()
            for request in _CORPUS * 2:
                await side.say([request])
        return fast, ordinary

    return runner, *runner.run(made())


def _check(chunks: list[bytes]) -> None:
    runner, fast, ordinary = _sides()

    async def both() -> None:
        got, wanted = await fast.say(chunks), await ordinary.say(chunks)
        told = f"\nknown:  {got}\nparsed: {wanted}"
        if _NOT_HTTP in got[0] and _NOT_HTTP in wanted[0]:
            # What stands before bytes that are no HTTP is answered or not, depending on which bytes come together.
            shorter, longer = sorted((got[2], wanted[2]), key=len)
            assert longer[: len(shorter)] == shorter, told
        else:
            assert got == wanted, told

    runner.run(both())


def _make(rng: Random) -> list[bytes]:
    data = mutated(rng, _CORPUS, _WORDS, 4000) or b"G"
    chunks = pieces(rng, data) if rng.random() < 0.3 and len(data) < 500 else [data]
    return [chunk for chunk in chunks if chunk]


REQUEST = Target("request", _make, _check, runs=300)
