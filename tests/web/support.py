"""A data listener on a loopback port in front of upstreams that say what they are told to, and a raw HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from gatewayd.config.snapshot import Address, Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import GatewayError
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.upstream.base import Call, Gate, Reply, Sink, Upstream, WholeReply
from gatewayd.web.app import data_listener
from gatewayd.web.connection import Deadlines
from gatewayd.web.listener import Listener
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import DONE, Usage
from tests.engine.fakes import NO_RETRIES, runtime_of

PATIENCE = 30.0
"""Seconds that something is waited for that comes at once on an idle machine."""
KEY = "sk-master-0123456789"
LOCAL = Address("127.0.0.1", 0)
WITH_KEY = ServerSettings(master_key=Secret(KEY))
OPEN = ServerSettings()
SSE: tuple[Header, ...] = (("content-type", "text/event-stream"),)
CHAT = b'{"model":"chat","messages":[]}'
STREAM = b'{"model":"chat","stream":true,"messages":[]}'

Step = bytes | asyncio.Event | GatewayError | Exception
"""What a stream does: sends bytes, waits, or breaks."""


@dataclass
class Stream:
    """A streamed reply made of steps."""

    steps: Sequence[Step] = (b"data: {}\n\n", DONE)
    status: int = 200
    headers: Sequence[Header] = SSE
    body: bytes | None = None
    usage: Usage | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def pipe(self, sink: Sink) -> None:
        gate = Gate()
        sink.attach(gate)
        for step in self.steps:
            if isinstance(step, bytes):
                await gate.opened()
                sink.write(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            else:
                raise step

    def close(self) -> None:
        self.closed.set()


@dataclass
class Teller:
    """An upstream whose every answer is made by a function of the call; a list of answers is told one by one."""

    answer: Callable[[Call], Awaitable[Reply]] | Sequence[Reply | GatewayError | Exception] = ()
    calls: list[Call] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, call: Call) -> Reply:
        self.calls.append(call)
        self.asked.set()
        try:
            if callable(self.answer):
                return await self.answer(call)
            told = self.answer[min(len(self.calls), len(self.answer)) - 1] if self.answer else whole({"ok": True})
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(told, Exception):
            raise told
        return told

    async def aclose(self) -> None:
        return None


def whole(value: Any, usage: Usage | None = None) -> WholeReply:
    return WholeReply(200, [("content-type", "application/json")], json.dumps(value).encode(), usage)


async def hang(call: Call) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


class Records(logging.Handler):
    """The access records that were logged, as dicts; a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.fields.append(record.__dict__["fields"])

    def __enter__(self) -> Self:
        logger = logging.getLogger("gatewayd.access")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *exc: object) -> None:
        logger = logging.getLogger("gatewayd.access")
        logger.removeHandler(self)
        logger.setLevel(logging.NOTSET)


@dataclass
class Site:
    """What `serving` yields."""

    gateway: Gateway
    metrics: Metrics
    listener: Listener
    records: Records

    @property
    def port(self) -> int:
        return self.listener.addresses[0].port

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    async def record(self) -> dict[str, Any]:
        """The one access record, waited for: it may come after the last byte of the answer."""
        await until(lambda: len(self.records.fields) > 0)
        assert len(self.records.fields) == 1, self.records.fields
        return self.records.fields[0]


@contextlib.asynccontextmanager
async def serving(
    groups: Mapping[str, Mapping[str, Upstream]] | None = None,
    *,
    server: ServerSettings = OPEN,
    routing: RoutingSettings = NO_RETRIES,
    deadlines: Deadlines | None = None,
    listening: Sequence[Address] = (LOCAL,),
) -> AsyncIterator[Site]:
    """The data side, serving; one group `chat` with one deployment `d1` unless told otherwise."""
    gateway, metrics = Gateway(), Metrics()
    gateway.swap(runtime_of(gateway, groups or {"chat": {"d1": Teller()}}, server=server, routing=routing))
    listener = data_listener(gateway, metrics, deadlines=deadlines)
    with Records() as records:
        await listener.serve(listening)
        try:
            yield Site(gateway, metrics, listener, records)
        finally:
            await listener.drain(0)
            await gateway.close()


@contextlib.asynccontextmanager
async def serving_deployments(
    *deployments: Deployment,
    server: ServerSettings = OPEN,
    routing: RoutingSettings = NO_RETRIES,
    deadlines: Deadlines | None = None,
    listening: Sequence[Address] = (LOCAL,),
) -> AsyncIterator[Site]:
    """The data side in front of the real upstreams that `engine.build` makes of deployments."""
    gateway, metrics = Gateway(), Metrics()
    gateway.swap(await build(Snapshot("r1", deployments, routing, server), gateway))
    listener = data_listener(gateway, metrics, deadlines=deadlines)
    with Records() as records:
        await listener.serve(listening)
        try:
            yield Site(gateway, metrics, listener, records)
        finally:
            await listener.drain(0)
            await gateway.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Waits for what no event announces. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: Sequence[bytes] = ()

    @property
    def error(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert set(value) == {"error"}
        assert set(value["error"]) == {"message", "type", "param", "code"}
        return dict(value["error"])


class RawClient:
    """One connection on which a test writes bytes and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int | socket.socket) -> AsyncIterator[RawClient]:
        """Connects to a port, or goes on with a connected socket."""
        if isinstance(port, int):
            client = cls(*await asyncio.open_connection("127.0.0.1", port))
        else:
            client = cls(*await asyncio.open_connection(sock=port))
        try:
            yield client
        finally:
            client.close()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()

    def send(self, data: bytes) -> None:
        if not self.writer.is_closing():  # uvloop raises when the server has closed the connection
            self.writer.write(data)

    def post(self, path: str, body: bytes = CHAT, *headers: str, content_type: str | None = "application/json") -> None:
        kind = [] if content_type is None else [f"content-type: {content_type}"]
        lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *kind, *headers]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def get(self, path: str, *headers: str, method: str = "GET") -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(PATIENCE):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}

    async def answer(self, *, has_body: bool = True) -> Answer:
        status, headers = await self.head()
        async with asyncio.timeout(PATIENCE):
            if headers.get("transfer-encoding") == "chunked":
                chunks = [chunk async for chunk in self.chunks()]
                return Answer(status, headers, b"".join(chunks), chunks)
            size = int(headers["content-length"]) if has_body else 0
            return Answer(status, headers, await self.reader.readexactly(size))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body, to its end mark. Raises IncompleteReadError if the connection ends before."""
        while True:
            async with asyncio.timeout(PATIENCE):
                size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
                piece = (await self.reader.readexactly(size + 2))[:-2]
            if not size:
                return
            yield piece

    async def ended(self) -> bytes:
        """What else comes until the connection ends."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()
