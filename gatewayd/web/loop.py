"""The request loop of the data side: what aiohttp's parser has read goes straight to the answer.

aiohttp makes a Request, a StreamWriter, a task and a Response for each message, and spends half of its time on them.
The data side needs none of them: this loop takes the parsed head and the body's reader, awaits the answer in the
connection's own task, and goes on to the next message. Everything below stays aiohttp's: the parser and its limits,
pausing, the queue of pipelined messages, the keep-alive timer. Why, and what it gave: docs/adr/0009-request-loop.md.

It leans on more names of aiohttp that are not documented (`_messages`, `_waiter`, `_parser.message_consumed`,
`_resume_reading_if_drained`, `_keepalive_handle`); tests/web pins what each is used for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from gatewayd.errors import InvalidRequest
from gatewayd.observe.record import Record
from gatewayd.web.bodies import Bodies
from gatewayd.web.connection import LINGER_SECONDS, Connection, Deadlines, HttpServer, broken, not_http
from gatewayd.web.exchange import Exchange, Route
from gatewayd.web.fastpath import FastCall, FastPath
from gatewayd.web.known import KnownRequest
from gatewayd.web.pieces import PiecewiseConnection
from gatewayd.web.relay import ClientResponder
from gatewayd.web.render import new_request_id
from gatewayd.web.request import whole_body
from gatewayd.web.turns import Turns

HOLD_SECONDS = 0.2
"""How long the body of a request that began like one for the fast path is waited for: clients write head and body one
after the other. After that aiohttp's parser has it, and its rules about slow bodies hold."""

Answer = Callable[[RawRequestMessage, StreamReader, Connection], Awaitable[bool]]
"""Answers one request; whether another one may follow on the connection. Cancelled when the client leaves."""


class LoopServer(HttpServer):
    """An `HttpServer` whose connections run this loop, and offer their requests to the fast path first."""

    def __init__(
        self,
        answer: Answer,
        *,
        max_connections: Callable[[], int],
        is_overloaded: Callable[[], bool] = lambda: False,
        deadlines: Deadlines | None = None,
        bodies: Bodies,
        ended: Callable[[Record], None] = lambda record: None,
        fast: FastPath | None = None,
        known: Callable[[RawRequestMessage], KnownRequest | None] = lambda message: None,
    ) -> None:
        """`known` says what a head means that `fast` has not seen before. `bodies` counts what is held of bodies.
        `ended` gets the record of what never became a request."""
        super().__init__(_never, max_connections=max_connections, is_overloaded=is_overloaded, deadlines=deadlines)
        self.answer = answer
        self.bodies = bodies
        self.ended = ended
        self.fast = fast
        self.known = known
        self.turns = Turns(self._loop)

    def make_connection(self, listening: object) -> Connection:
        return LoopConnection(self, listening, self._loop)


class LoopConnection(PiecewiseConnection):
    """See the module. Implements `fastpath.Client`."""

    __slots__ = (
        "_answer",
        "_bodies",
        "_call",
        "_ended",
        "_fast",
        "_held",
        "_held_timer",
        "_keyed",
        "_known",
        "_resumed",
    )

    def __init__(self, server: LoopServer, listening: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, listening, loop, server.turns)
        self._answer = server.answer
        self._bodies = server.bodies
        self._ended = server.ended
        self._fast = server.fast
        self._known = server.known
        self._call: FastCall | None = None
        """The call that the fast path has under way."""
        self._resumed: tuple[Exchange, Route] | None = None
        """A request that the fast path has given back, or never had; nobody has gone on with it yet."""
        self._keyed: tuple[RawRequestMessage, bytes] | None = None
        """The message that began last where a message was certain to begin, and the key of its head (`wire.heads`)."""
        self._held = b""
        """The beginning of a message that may be one for the fast path."""
        self._held_timer: asyncio.TimerHandle | None = None

    # --- reading

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp's way to ask its parser for what it has kept back
            self.give(data)
            return
        if self._held:
            data = self._unhold() + data
        fast = self._fast
        if (
            fast is not None
            and self._owed == 0
            and not self._rest
            and not (self.busy or self.retiring or self._force_close or self._close or self.writing_paused)
        ):
            taking = fast.take(self, data)
            if taking == "taken":
                self._drop_hold_timer()
                self._head_is_here()
                return
            if taking == "partial" and self._hold(data):
                return
        self._drop_hold_timer()
        self.give(data)

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

    # --- the fast path

    def _take(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Whether the fast path takes a request that came through the parser, because its head was a new one."""
        fast = self._fast
        if (
            fast is None
            or type(payload) is not StreamReader  # aiohttp's stand-in for no body
            or not payload.is_eof()
            or self.retiring
            or self._close
            or self.writing_paused
            or self.reading_paused
            or payload.exception() is not None
        ):
            return False
        known = self._known(message)
        if known is None or not fast.begin(self, known, whole_body(payload)):
            return False
        self._request_count -= 1  # it was counted when it was parsed
        self._remember(message, known)
        return True

    def _remember(self, message: RawRequestMessage, known: KnownRequest | None = None) -> None:
        """The next request with this head need not be parsed."""
        fast, keyed = self._fast, self._keyed
        if fast is None or keyed is None or keyed[0] is not message or fast.knows(keyed[1]):
            return
        known = known or self._known(message)
        if known is not None:
            fast.remember(keyed[1], known)

    def taken(self, call: FastCall) -> None:
        self._call = call
        self._request_count += 1

    def answer(self, data: bytes, now: float, rest: bytes = b"") -> None:
        if self.retiring:  # since the call was sent: it is the last one here, and the client is told so
            data = data.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
            self._close = True
        if self.transport is not None:
            self.transport.write(data)
            if rest:
                self.transport.write(rest)
        self._call = None
        self.answered()
        self._expect_more(now)
        if self._messages or self._close:
            self._wake()

    def go_on(self, exchange: Exchange, route: Route) -> None:
        self._call = None
        self._resumed = exchange, route
        self._wake()

    def run(self, exchange: Exchange, route: Route) -> None:
        self._request_count += 1
        self.go_on(exchange, route)

    def responder(self) -> ClientResponder:
        return ClientResponder(self, EMPTY_PAYLOAD, http10=False, keep_alive=True, head_only=False)

    def _wake(self) -> None:
        if (self._messages or self._resumed or self._close) and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- life

    def retire(self, *, unused: bool = True) -> None:
        if self._held:
            self._give_to_parser()
        super().retire(unused=unused)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._drop_hold_timer()
        self._unhold()
        if self._call is not None:
            self._call.client_left()
            self._call = None
        if self._resumed is not None:  # given back in this very moment: nobody will go on with it
            exchange, _ = self._resumed
            self._resumed = None
            exchange.left()
        super().connection_lost(exc)

    async def start(self) -> None:
        """Runs as long as the connection lives; aiohttp starts it, and cancels it when the client leaves."""
        loop = self._loop
        messages = self._messages
        while not self._force_close:
            if self._resumed is not None:
                if not await self._one(self._resume(), EMPTY_PAYLOAD):
                    break
                self._expect_more(loop.time())
                continue
            if (
                self._close and self._call is None
            ):  # no request is answered behind one that was the last (RFC 9112, 9.6)
                break
            if not messages or self._call is not None:
                self._waiter = waiter = loop.create_future()
                try:
                    await waiter
                finally:
                    self._waiter = None
                continue
            message, payload = messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            if not isinstance(message, RawRequestMessage):  # the parser's complaint
                request_id = new_request_id()
                self._say(not_http(message.exc, request_id))
                unreadable = Record(request_id, peer=self.peer, status=400, outcome="rejected")
                unreadable.error = InvalidRequest("")
                self._ended(unreadable)
                break
            if self._take(message, payload):
                continue
            if not await self._one(self._answer(message, payload, self), payload):
                break
            self._remember(message)
            self._expect_more(loop.time())
            if messages:
                await self._turns.next()
        if not self._force_close and (messages or self._rest):
            await self._discard()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def _expect_more(self, now: float) -> None:
        """An answer is complete: from now on the connection is idle."""
        self._next_keepalive_close_time = now + self.server.deadlines.idle
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    async def _resume(self) -> bool:
        assert self._resumed is not None
        (exchange, route), self._resumed = self._resumed, None
        await exchange.run(route)
        assert isinstance(exchange.responder, ClientResponder)
        return exchange.responder.keeps

    async def _one(self, answering: Awaitable[bool], payload: StreamReader) -> bool:
        """One request; whether the connection goes on."""
        try:
            keep = await answering
        except asyncio.CancelledError:
            self.force_close()
            raise
        except Exception as error:
            self._say(broken(error, new_request_id()))
            keep = False
        if self.writing_paused:
            await self.drained()
        self.answered()
        if not payload.is_eof():
            await self._linger(payload)
            return False
        return keep and not self._close and not self.retiring

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
