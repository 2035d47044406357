"""The request loop of the data side: what aiohttp's parser has read goes straight to the gateway.

aiohttp makes a Request, a StreamWriter, a task and a Response for each message, and spends half of its time on them.
The data side needs none of them: a `Handler` gets the head and the body, and answers when it can. A message whose head
came before (`wire.heads`) does not even need the parser. Everything below stays aiohttp's: the parser and its limits,
pausing, the queue of pipelined messages, the keep-alive timer. Why: docs/adr/0047-one-request-life.md.

It leans on more names of aiohttp that are not documented (`_messages`, `_waiter`, `_parser.message_consumed`,
`_resume_reading_if_drained`, `_keepalive_handle`); tests/web pins what each is used for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import HttpVersion10, StreamReader, web
from aiohttp.http_parser import RawRequestMessage

from gatewayd.engine.render import new_request_id
from gatewayd.web.bodies import Bodies
from gatewayd.web.connection import LINGER_SECONDS, Connection, Deadlines, HttpServer, broken
from gatewayd.web.handler import Handler, KeptHead, Running
from gatewayd.web.pieces import PiecewiseConnection
from gatewayd.web.relay import ClientResponder
from gatewayd.web.request import ClientBody, complaint, target_of, whole_body
from gatewayd.web.turns import Turns
from gatewayd.wire.heads import HeadCache, split, without_values

MOST: Final = 64 * 1024
"""Bytes of a message that needs no parser."""
HOLD_SECONDS: Final = 0.2
"""How long the rest of such a message is waited for: clients write head and body one after the other. After that
aiohttp's parser has it, and its rules about slow bodies hold."""
MOST_HEADS: Final = 4 * 1024 * 1024
"""Bytes of the heads that are kept."""


class LoopServer(HttpServer):
    """An `HttpServer` whose connections run this loop."""

    def __init__(
        self,
        handler: Handler,
        *,
        max_connections: Callable[[], int],
        is_overloaded: Callable[[], bool] = lambda: False,
        deadlines: Deadlines | None = None,
        bodies: Bodies,
    ) -> None:
        """`bodies` counts what is held of bodies."""
        super().__init__(_never, max_connections=max_connections, is_overloaded=is_overloaded, deadlines=deadlines)
        self.handler = handler
        self.bodies = bodies
        self.heads: HeadCache[KeptHead] = HeadCache(MOST_HEADS)
        self.turns = Turns(self._loop)

    def make_connection(self, listening: object) -> Connection:
        return LoopConnection(self, listening, self._loop)


class LoopConnection(PiecewiseConnection):
    """See the module."""

    __slots__ = (
        "_behind", "_bodies", "_body", "_ended", "_handler", "_heads", "_held", "_held_timer", "_keyed", "_payload",
        "_running",
    )  # fmt: skip

    def __init__(self, server: LoopServer, listening: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, listening, loop, server.turns)
        self._handler = server.handler
        self._heads = server.heads
        self._bodies = server.bodies
        self._running: Running | None = None
        """The request in flight."""
        self._body: bytes | ClientBody = b""
        """Its body,"""
        self._payload: StreamReader | None = None
        """and if it came through the parser, where the rest of that comes from."""
        self._ended = False
        """The last request has been answered."""
        self._behind = False
        """The next request was here before the last one had ended."""
        self._keyed: tuple[RawRequestMessage, bytes] | None = None
        """The message that began last where a message was certain to begin, and the key of its head (`wire.heads`)."""
        self._held = b""
        """The beginning of a message whose head is known."""
        self._held_timer: asyncio.TimerHandle | None = None

    # --- reading

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp's way to ask its parser for what it has kept back
            self.give(data)
            return
        if self._held:
            data = self._unhold() + data
        if (
            self._owed == 0
            and self._request_count == self._answered
            and not (self._rest or self._ended or self.retiring or self.full or self._force_close or self._close)
            and self._take(data)
        ):
            return
        if self._held_timer is not None:
            self._drop_hold_timer()
        self.give(data)

    def _take(self, data: bytes) -> bool:
        """Begins the request that `data` is, if its head is known; or keeps it until the rest of it comes."""
        found = split(data)
        if found is None:
            return False
        key, at, length = found
        head = self._heads.get(key) or self._alike(key)
        if head is None or at + length > MOST:
            return False
        missing = at + length - len(data)
        if missing:
            return missing > 0 and self._hold(data)
        if self._held_timer is not None:
            self._drop_hold_timer()
        if self._head_timer is not None:
            self._head_is_here()
        self._request_count += 1
        self._payload = None
        self._begin(head, data[at:], ClientResponder(self))
        return True

    def _alike(self, key: bytes) -> KeptHead | None:
        """What is known of a head that differs in values that name one request only."""
        varying = without_values(key)
        head = None if varying is None else self._heads.get(varying[0])
        return None if varying is None or head is None else head.varied(varying[1])

    def began(self, message: RawRequestMessage, key: bytes) -> None:
        self._keyed = message, key

    def _hold(self, data: bytes) -> bool:
        """Keeps the beginning of a message, if there is room: what is held counts as a body does."""
        bodies = self._bodies
        if not bodies.has_room(len(data)):
            return False
        bodies.held += len(data)
        self._held = data
        self._head_is_here()
        if self._held_timer is None:  # one deadline for each message, however many segments it comes in
            self._held_timer = self._loop.call_later(HOLD_SECONDS, self._give_to_parser)
        return True

    def _unhold(self) -> bytes:
        data, self._held = self._held, b""
        self._bodies.held -= len(data)
        return data

    def _drop_hold_timer(self) -> None:
        if self._held_timer is not None:
            self._held_timer.cancel()
            self._held_timer = None

    def _give_to_parser(self) -> None:
        self._drop_hold_timer()
        self.give(self._unhold())

    # --- requests

    def _begin(self, head: Any, body: bytes | ClientBody, client: ClientResponder) -> Running:
        self._body = body
        if isinstance(body, bytes):
            self._bodies.held += len(body)
        running = self._handler.begin(head, body, client)
        if self._request_count != self._answered + len(self._messages):  # it has not ended yet
            self._running = running
        return running

    def _next(self) -> None:
        """Begins the next request that the parser has found."""
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        if not isinstance(message, RawRequestMessage):  # the parser's complaint
            self._say(self._handler.unreadable(self.peer, message.exc))
            self._ended = True
            return
        problem = complaint(message)
        headers = message.headers
        http10 = message.version == HttpVersion10
        # aiohttp's parser takes the last trailer of a chunked body for a header of the next request, and forgets what
        # stands behind an offer to upgrade: nothing may follow either.
        keep_alive = not (message.should_close or message.chunked or message.upgrade or problem)
        if http10 and "close" in headers.get("connection", "").lower():  # the parser looks for keep-alive only
            keep_alive = False
        self._payload = payload
        body: bytes | ClientBody
        if payload.is_eof() and payload.exception() is None:
            body = whole_body(payload, self)
        else:
            body = ClientBody(message, payload, self, self._bodies)
        head = self._handler.understand(message.method, *target_of(message), headers, problem)
        client = ClientResponder(self, payload, http10, keep_alive, message.method == "HEAD")
        running = self._begin(head, body, client)
        if keep_alive and not http10 and "expect" not in headers and running.admitted:
            self._remember(message, head)

    def _remember(self, message: RawRequestMessage, head: KeptHead) -> None:
        """The next request with this head need not be parsed."""
        if head.keeps and self._keyed is not None and self._keyed[0] is message:
            key = self._keyed[1]
            varying = without_values(key)
            self._heads.remember(key if varying is None else varying[0], head)

    def done(self, keep: bool) -> None:
        """The request in flight has ended; `keep`: another one may follow."""
        self._running = None
        body, self._body = self._body, b""
        self._bodies.held -= len(body) if isinstance(body, bytes) else body.held
        self._answered += 1
        self._behind = bool(self._messages)
        if self.transport is None:
            return
        if self.retiring:
            self._loop.call_soon(self.retire)
        if keep and not self.retiring:
            self._next_keepalive_close_time = self._loop.time() + self.server.deadlines.idle
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        else:
            self._ended = True
        if (self._messages or self._ended or self._close) and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- life

    def retire(self, *, unused: bool = True) -> None:
        if self._held:
            self._give_to_parser()
        super().retire(unused=unused)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._drop_hold_timer()
        self._unhold()
        if self._running is not None:
            self._running.lost()
        self._payload = None  # it refers to this connection
        super().connection_lost(exc)

    async def start(self) -> None:
        """Runs as long as the connection lives; aiohttp starts it, and cancels it when the client disconnects."""
        messages = self._messages
        while not self._force_close:
            if self._running is None:
                if self._ended or self._close:  # no request is answered behind the last one (RFC 9112, 9.6)
                    break
                if self.full:
                    await self.drained()
                    continue
                if messages:
                    if self._behind:
                        self._behind = False
                        await self._turns.next()
                        continue
                    try:
                        self._next()
                    except Exception as error:
                        self._say(broken(error, new_request_id()))
                        break
                    continue
            self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        payload = self._payload
        if self._running is None and payload is not None and not payload.is_eof():
            await self._linger(payload)
        if not self._force_close and (messages or self._rest):
            await self._discard()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _linger(self, payload: StreamReader) -> None:
        """Reads what a refused client still sends, for a moment: closing at once would reset its connection before it
        has read why."""
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not payload.at_eof() and not self._force_close:
                    await payload.readany()
        except Exception:  # it took too long, left, or is no HTTP after all: in every case this was the end
            if isinstance(payload.exception(), web.RequestPayloadError):
                await self._discard()

    async def _discard(self) -> None:
        """Closes the sending half and throws away what still comes, for the same reason and as long."""
        self._close = True
        self._messages.clear()
        self._answered = self._request_count
        self._rest = b""
        self._resume_reading_for_buffer()
        if self.transport is not None and not self.transport.is_closing():
            if self.transport.can_write_eof():
                self.transport.write_eof()
            await asyncio.sleep(LINGER_SECONDS)  # the connection's end cancels it

    def _say(self, text: bytes) -> None:
        if self.transport is not None:
            self.transport.write(text)


async def _never(request: Any) -> Any:
    raise AssertionError("the loop answers")
