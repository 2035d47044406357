"""The data side from socket to socket without sockets: clients, requests with and without a task, upstreams, reloads
and the end, in an order that a seed decides. Like `tests.faults.interleavings`, but with the real connections on both
sides; what a network does is done to them by a `Wire`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, cast

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import UpstreamConnection
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.transport import Connection
from gatewayd.web.app import data_listener
from gatewayd.web.listener import Listener
from tests.faults.interleavings import turns
from tests.replies import chat_events, chunk
from tests.web.support import KEY, Records

_ROUTING = RoutingSettings(num_retries=1, disable_cooldowns=True)
_SERVER = ServerSettings(master_key=Secret(KEY))
_WHOLE = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{"choices":[{}]}'
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(chunk(event) for event in chat_events("one ", "two"))
    + b"0\r\n\r\n"
)
_ERROR = (
    b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 26\r\n\r\n" + b'{"error":{"message":"no"}}'
)
_NOISE = b"\x00\x01 this is no HTTP\r\n\r\n"


class Wire:
    """A transport, and what the network does to its protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        self._loop = loop
        self._protocol = protocol
        self._paused = False
        self._arrived = b""
        self.written = b""
        self.closed = False

    # --- the transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self.deliver, b"")

    def close(self) -> None:
        self.cut(None)

    abort = close

    # --- the network

    def cut(self, error: Exception | None) -> None:
        """The connection ends; its protocol hears of it in the loop's next turn, as always."""
        if not self.closed:
            self.closed = True
            self._loop.call_soon(lambda: self._protocol.connection_lost(error))

    def half_close(self) -> None:
        if not self.closed and not self._protocol.eof_received():
            self.close()

    def deliver(self, data: bytes) -> None:
        self._arrived += data
        while self._arrived and not self.closed and not self._paused:
            data, self._arrived = self._arrived, b""
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                buffer: Any = self._protocol.get_buffer(-1)
                size = min(len(buffer), len(data))
                buffer[:size], self._arrived = data[:size], data[size:]
                self._protocol.buffer_updated(size)
            else:
                self._protocol.data_received(data)


class DataPlaneRun:
    """One run. Raises AssertionError when an invariant breaks."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._gateway = Gateway()
        self._loop: asyncio.AbstractEventLoop
        self._listener: Listener
        self._clients: list[tuple[Wire, list[bytes]]] = []
        """With the pieces of requests that are still to come."""
        self._upstreams: list[Wire] = []
        self._asked = 0
        self.complaints: list[Any] = []

    async def play(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = data_listener(self._gateway, Metrics())
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        errors = _Errors(self.complaints)
        logging.getLogger("gatewayd").addHandler(errors)
        try:
            with Records() as records:
                await self._reload(0)
                self._connect()
                for number in range(1, self._rng.randrange(5, 60)):
                    await self._step(number)
                await self._stop()
                ids = [record["request_id"] for record in records.fields]
                answers = sum(wire.written.count(b"HTTP/1.1 ") for wire, _ in self._clients)
                assert answers <= self._asked
                assert answers <= len(ids) <= self._asked, (answers, len(ids), self._asked)
                assert len(set(ids)) == len(ids)
        finally:
            logging.getLogger("gatewayd").removeHandler(errors)
        assert self.complaints == []

    async def _step(self, number: int) -> None:
        rng = self._rng
        match rng.choices(
            ("ask", "more", "answer", "leave", "connect", "drop", "reload", "turn"), (6, 4, 8, 2, 2, 1, 1, 4)
        )[0]:
            case "ask":
                rng.choice(self._clients)[1].extend(self._request())
            case "more":
                wire, pieces = rng.choice(self._clients)
                while pieces and rng.random() < 0.8:
                    wire.deliver(pieces.pop(0))
            case "answer" if busy := [up for up in self._upstreams if up.written and not up.closed]:
                self._answer(rng.choice(busy))
            case "leave":
                rng.choice(self._clients)[0].cut(rng.choice((None, ConnectionResetError())))
            case "connect":
                self._connect()
            case "drop" if self._upstreams:
                rng.choice(self._upstreams).half_close()
            case "reload":
                await self._reload(number)
            case _:
                await turns(rng, 5)
        if rng.random() < 0.5:  # what comes within one turn of the loop is where surprises are
            await asyncio.sleep(0)

    def _request(self) -> list[bytes]:
        """In one piece or two; mostly with a head that has been seen before."""
        rng = self._rng
        self._asked += 1
        stream = rng.random() < 0.3
        key = KEY if rng.random() < 0.95 else "sk-nobody"
        body = b'{"model":"chat","stream":%b}' % (b"true" if stream else b"false")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n"
        head += f"x-n: {self._asked}\r\n" if rng.random() < 0.1 else ""
        data = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        cut = rng.randrange(1, len(data)) if rng.random() < 0.3 else len(data)
        return [data[:cut], data[cut:]] if cut < len(data) else [data]

    def _answer(self, up: Wire) -> None:
        rng = self._rng
        stream = b'"stream":true' in up.written
        whole = _STREAM if stream else _WHOLE
        match rng.choices(("good", "slow", "error", "noise", "reset", "end", "cut"), (10, 4, 3, 1, 2, 1, 2))[0]:
            case "good":
                up.written = b""
                up.deliver(whole)
            case "slow":
                up.written = b""
                at = rng.randrange(len(whole))
                up.deliver(whole[:at])
                later: Callable[[], object] = lambda: up.deliver(whole[at:])  # noqa: E731
                if rng.random() < 0.8:
                    self._loop.call_soon(later)
            case "error":
                up.written = b""
                up.deliver(_ERROR)
            case "noise":
                up.deliver(_NOISE)
            case "reset":
                up.cut(ConnectionResetError())
            case "end":
                up.half_close()
            case _:
                up.deliver(whole[: rng.randrange(len(whole))])
                up.cut(None)

    def _connect(self) -> None:
        protocol = self._listener._server.open_connection(self)
        wire = Wire(self._loop, protocol)
        protocol.connection_made(cast(asyncio.Transport, wire))
        self._clients.append((wire, []))

    async def _reload(self, number: int) -> None:
        deployments = tuple(
            Deployment(
                name, name, "chat", "forward", "openai", "m", api_base="http://127.0.0.1:1/v1", api_key=Secret("k")
            )
            for name in ("same", f"r{number}")
        )
        self._gateway.swap(await build(Snapshot(f"r{number}", deployments, _ROUTING, _SERVER), self._gateway))
        for target in self._gateway.current.targets.values():
            assert isinstance(target.upstream, ForwardUpstream)
            target.upstream._pool._dialler = cast(Any, self)

    async def dial(self, make: Callable[[], Connection], seconds: float) -> Connection:
        """In the place of a pool's `Dialler`."""
        await turns(self._rng, 4)
        if self._rng.random() < 0.1:
            raise UpstreamConnection("The upstream cannot be reached.")
        connection = make()
        wire = Wire(self._loop, connection)
        connection.connection_made(cast(asyncio.Transport, wire))
        self._upstreams.append(wire)
        return connection

    async def _stop(self) -> None:
        await turns(self._rng, 10)
        self._gateway.draining = True
        await turns(self._rng, 10)
        await self._listener.drain(0)
        assert all(wire.closed for wire, _ in self._clients), "a client's connection is left"
        assert self._gateway.in_flight == 0, "a lease is left"
        for target in self._gateway.current.targets.values():
            state = self._gateway.health.state(target.candidate.identity)
            assert (state.in_flight, state.probing) == (0, False)
        await self._gateway.close()
        assert not len(self._gateway.upstreams)
        assert all(wire.closed for wire in self._upstreams), "an upstream's connection is left"


class _Errors(logging.Handler):
    """Faults of our own, which are logged."""

    def __init__(self, found: list[Any]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(record.getMessage() + str(record.exc_info))
