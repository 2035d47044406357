"""A scripted upstream on a loopback socket: says exactly the bytes it is told to, when it is told to, and takes notes.

    async with FakeUpstream(error_reply(500), json_reply({"id": "x"})) as up:
        ...                                   # up.base_url, up.requests, up.peers
        assert up.connection_count == 1

Each request takes the next reply of the script; the last one is repeated for ever. A callable in place of replies gets
the `Received` request and returns its `Reply`. A reply is a row of steps:

    bytes            sent as they are; every step is flushed and the loop turned, so that a reader on the same loop sees
                     separate segments
    float            a pause in seconds
    asyncio.Event    a wait until the test sets it
    FIN              half-close: no more bytes from here
    RST              reset: unread bytes on both sides are lost
    HANG             silence until the client closes

The replies are made in `tests.replies` and can be imported from here. The server knows only as much of HTTP as is
needed to read requests: a head and a Content-Length body.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from gatewayd.tasks import spawn
from tests.replies import (
    DONE,
    FIN,
    HANG,
    LAST_CHUNK,
    RST,
    End,
    Reply,
    Step,
    body_reply,
    chat_chunk,
    chat_events,
    chunk,
    error_reply,
    event,
    head,
    json_reply,
    raw_reply,
    split,
    sse_reply,
)

__all__ = [
    "DONE", "FIN", "HANG", "LAST_CHUNK", "RST", "End", "FakeUpstream", "Peer", "Received", "Reply", "Script", "Step",
    "body_reply", "chat_chunk", "chat_events", "chunk", "error_reply", "event", "head", "json_reply", "raw_reply",
    "split", "sse_reply",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived. Header names are lower-case, of equal names the last is kept; `head` has all bytes."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    head: bytes
    peer: Peer

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(eq=False, slots=True)
class Peer:
    """One accepted connection, seen from here."""

    index: int
    """0 for the first connection accepted."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed or reset the connection, or the script did."""
    requests: int = 0
    sent: int = 0
    """Response bytes handed to the socket so far (with back-pressure: no more than the socket takes)."""


Script = Callable[[Received], Reply]


class FakeUpstream:
    """The server. `base_url` has no trailing slash and ends in `/v1`."""

    def __init__(self, *replies: Reply | Script, tls: ssl.SSLContext | None = None, host: str = "localhost") -> None:
        self._replies = list(replies) or [json_reply({"object": "chat.completion", "choices": [{}]})]
        self._tls = tls
        self._host = host if tls else "127.0.0.1"
        self._server: asyncio.Server | None = None
        self._live: set[_Conversation] = set()
        self.requests: list[Received] = []
        self.peers: list[Peer] = []
        self.port = 0

    @property
    def connection_count(self) -> int:
        return len(self.peers)

    @property
    def open_count(self) -> int:
        return sum(not peer.gone.is_set() for peer in self.peers)

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}/v1"

    def then(self, *replies: Reply | Script) -> None:
        """Replaces what is left of the script."""
        self._replies = list(replies)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Conversation(self), "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stops listening and resets every connection; entering again listens on the same port."""
        assert self._server is not None
        self._server.close()
        for conversation in list(self._live):
            conversation.stop()
        while self._live:
            await next(iter(self._live)).closed.wait()

    def _next(self, request: Received) -> Reply:
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return reply if isinstance(reply, Reply) else reply(request)


class _Conversation(asyncio.Protocol):
    """One connection: reads requests one after the other and plays a reply for each."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self._up = upstream
        self._inbox = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self.peer = Peer(len(upstream.peers))
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of asyncio's
        self._transport.set_write_buffer_limits(high=1)  # `_writable` then says whether the socket took everything
        self._up.peers.append(self.peer)
        self._up._live.add(self)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = spawn(self._serve(), name=f"fake-upstream-{self.peer.index}")

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        self._news.set()

    def eof_received(self) -> bool:
        self._note_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._note_gone()
        self._writable.set()
        self._up._live.discard(self)
        self.closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._reset()

    def _note_gone(self) -> None:
        if not self.peer.gone.is_set():
            self.peer.gone.set()
            self._news.set()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _serve(self) -> None:
        while (head := await self._take_until(b"\r\n\r\n")) is not None:
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ", 2)
            pairs = (line.partition(":") for line in lines[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            request = Received(method, target, headers, b"", head, self.peer)
            size = int(headers.get("content-length", "0"))
            # Whether the body is read is the reply's decision, and a function decides by the body: so only a ready
            # reply can be an early one.
            reply = self._up._next(request) if self._early_possible() else None
            if reply is not None and reply.early:
                self._transport.pause_reading()
                self._record(request)
            else:
                body = await self._take(size)
                if body is None:
                    return
                request = Received(method, target, headers, body, head, self.peer)
                self._record(request)
                reply = reply or self._up._next(request)
            if not await self._play(reply):
                return

    def _early_possible(self) -> bool:
        first = self._up._replies[0]
        return isinstance(first, Reply) and first.early

    def _record(self, request: Received) -> None:
        self._up.requests.append(request)
        self.peer.requests += 1

    async def _play(self, reply: Reply) -> bool:
        for step in reply.steps:
            if self._transport.is_closing():
                return False
            if isinstance(step, bytes):
                await self._send(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, End):
                await self._end(step)
                return False
            else:
                await asyncio.sleep(step)
        if reply.close:
            self._transport.close()
        elif reply.early:  # from here on reading only serves to see the client go
            self._transport.resume_reading()
            await self.peer.gone.wait()
        return not (reply.close or reply.early)

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), 65536):
            await self._writable.wait()
            if self._transport.is_closing():
                return
            part = view[start : start + 65536]
            self._transport.write(part)
            self.peer.sent += len(part)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _end(self, end: End) -> None:
        if end is RST:
            await self._writable.wait()
            self._reset()
        elif end is FIN:
            if self._transport.can_write_eof():
                self._transport.write_eof()
                await self.peer.gone.wait()
            self._transport.close()
        else:
            await self.peer.gone.wait()
            self._transport.close()

    async def _take_until(self, mark: bytes) -> bytes | None:
        while (at := self._inbox.find(mark)) < 0:
            if not await self._more():
                return None
        return await self._take(at + len(mark))

    async def _take(self, size: int) -> bytes | None:
        while len(self._inbox) < size:
            if not await self._more():
                return None
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        return data

    async def _more(self) -> bool:
        if self.peer.gone.is_set():
            return False
        self._news.clear()
        await self._news.wait()
        return True
