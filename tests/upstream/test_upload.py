"""Request bodies that are sent while they arrive: whole, in bounded memory, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import RequestTimeout, UpstreamStatus, UpstreamTimeout
from gatewayd.upstream.base import Call, Timeouts
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.wire.dialect import SPEECH
from gatewayd.wire.openai import Intent
from tests.upstream.doubles import SlowSink, eventually

PIECE = bytes(range(256)) * 256
KIND = "multipart/form-data; boundary=x"
LONG = Timeouts(5.0, 5.0, 5.0, 20.0)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 5\r\n\r\nsound"
REFUSAL = b"HTTP/1.1 413 No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Pieces:
    """A body of these pieces; an error among them is raised, an event waited for."""

    pieces: Sequence[bytes | Exception | asyncio.Event]
    length: int | None = None
    given: int = 0

    @property
    def begun(self) -> bool:
        return self.given > 0

    async def next(self) -> bytes:
        while self.given < len(self.pieces):
            piece = self.pieces[self.given]
            self.given += 1
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, Exception):
                raise piece
            else:
                return piece
        return b""


@dataclass
class Server:
    """Speaks HTTP as `serve` does; notes what it got."""

    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter, Server], Awaitable[None]]
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    opened: list[asyncio.StreamWriter] = field(default_factory=list)
    closed: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.serve(reader, writer, self)
        self.closed += 1
        writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(serve: Any) -> AsyncIterator[tuple[Server, ForwardUpstream]]:
    server = Server(serve)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    deployment = Deployment("d", "d", "g", "forward", "openai", "m", api_base=f"http://127.0.0.1:{port}/v1")
    upstream = ForwardUpstream(deployment)
    try:
        yield server, upstream
    finally:
        await upstream.aclose()
        assert upstream._pool.open_count == 0
        listening.close()
        server.over.set()
        await eventually(lambda: server.closed == len(server.opened))
        for writer in server.opened:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
    """Reads each request whole, then answers."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        server.heads.append(head)
        body = b""
        if b"transfer-encoding: chunked" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            body = await reader.readexactly(int(length.partition(b": ")[2]))
        server.bodies.append(body)
        writer.write(ANSWER)


async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
    """Answers before it has read the body."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(REFUSAL)
    await reader.read()


async def sleeps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
    """Reads nothing of the body."""
    await reader.readuntil(b"\r\n\r\n")
    await server.over.wait()


def call(body: Pieces, timeouts: Timeouts = LONG) -> Call:
    intent = Intent("m", False, {}, b"")
    return Call(
        SPEECH,
        intent,
        "r",
        [("x-a", "b")],
        timeouts=timeouts,
        content_type=KIND,
        body=body,
    )


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
async def test_a_body_arrives_byte_for_byte_and_the_connection_is_kept(known: bool) -> None:
    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, gate.set)
    async with serving(answers) as (server, upstream):
        for _ in range(2):
            pieces: list[bytes | Exception | asyncio.Event] = [PIECE[:1], gate, PIECE, PIECE[:777]]
            whole = PIECE[:1] + PIECE + PIECE[:777]
            reply = await upstream.open(call(Pieces(pieces, len(whole) if known else None)))
            assert reply.body is None
            sink = SlowSink()
            await reply.pipe(sink)
            reply.close()
            assert server.bodies.pop() == whole
            head = server.heads.pop()
            assert head.startswith(b"POST /v1/audio/speech HTTP/1.1\r\n")
            assert b"\r\ncontent-type: multipart/form-data; boundary=x\r\n" in head
            assert b"\r\nx-a: b\r\n" in head
            assert head.count(b"content-length: ") == known
        await eventually(lambda: upstream._pool.idle_count == 2)


async def test_no_more_is_held_than_the_sockets_take() -> None:
    """An upstream that takes nothing stops the reading of the body; after its time it has failed."""
    body = Pieces([PIECE] * 2000, len(PIECE) * 2000)
    async with serving(sleeps) as (_, upstream):
        with pytest.raises(UpstreamTimeout):
            await upstream.open(call(body, Timeouts(5.0, 0.5, 5.0, 20.0)))
        assert body.given < 300


async def test_an_early_answer_ends_the_upload() -> None:
    never = asyncio.Event()
    async with serving(refuses) as (server, upstream):
        with pytest.raises(UpstreamStatus) as caught:
            await upstream.open(call(Pieces([PIECE, never, PIECE], None)))
        assert caught.value.status == 413
        await eventually(lambda: server.closed == 1)
        never.set()


async def test_a_body_that_breaks_off_ends_the_call_with_its_own_error() -> None:
    async with serving(answers) as (server, upstream):
        with pytest.raises(RequestTimeout):
            await upstream.open(call(Pieces([PIECE, RequestTimeout("late")], 10 * len(PIECE))))
        await eventually(lambda: server.closed == 1)
        assert not server.bodies


async def test_cancelling_closes_the_connection() -> None:
    async with serving(answers) as (server, upstream):
        task = asyncio.ensure_future(upstream.open(call(Pieces([PIECE, asyncio.Event()], None))))
        await eventually(lambda: len(server.heads) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.closed == 1)
