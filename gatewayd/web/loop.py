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
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import StreamReader
from aiohttp.http_parser import RawRequestMessage

from gatewayd.errors import InternalError
from gatewayd.web.connection import KEEPALIVE_SECONDS, LINGER_SECONDS, Connection, Deadlines, HttpServer, not_http
from gatewayd.web.render import last_words

_log = logging.getLogger("gatewayd.web")

Answer = Callable[[RawRequestMessage, StreamReader, Connection], Awaitable[bool]]
"""Answers one request; whether another one may follow on the connection. Cancelled when the client leaves."""


class LoopServer(HttpServer):
    """An `HttpServer` whose connections run this loop."""

    def __init__(
        self, answer: Answer, *, max_connections: Callable[[], int], deadlines: Deadlines | None = None
    ) -> None:
        super().__init__(_never, max_connections=max_connections, deadlines=deadlines)
        self.answer = answer

    def make_connection(self, door: object) -> Connection:
        return LoopConnection(self, door, self._loop)


class LoopConnection(Connection):
    """See the module."""

    __slots__ = ("_answer",)

    def __init__(self, server: LoopServer, door: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, door, loop)
        self._answer = server.answer

    async def start(self) -> None:
        """Runs as long as the connection lives; aiohttp starts it, and cancels it when the client leaves."""
        loop = self._loop
        messages = self._messages
        while not self._force_close:
            if not messages:
                self._waiter = waiter = loop.create_future()
                try:
                    await waiter
                finally:
                    self._waiter = None
            message, payload = messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            if not isinstance(message, RawRequestMessage):  # the parser's complaint
                self._say(not_http(message.exc))
                break
            if not await self._one(message, payload):
                break
            self._next_keepalive_close_time = loop.time() + KEEPALIVE_SECONDS
            if self._keepalive_handle is None:
                self._keepalive_handle = loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _one(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """One request; whether the connection goes on."""
        try:
            keep = await self._answer(message, payload, self)
        except asyncio.CancelledError:
            self.force_close()
            raise
        except Exception as error:
            _log.error("unhandled exception in a request handler", exc_info=error)
            self._say(last_words(InternalError("The gateway failed.")))
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
            return

    def _say(self, text: bytes) -> None:
        if self.transport is not None:
            self.transport.write(text)


async def _never(request: Any) -> Any:
    raise AssertionError("the loop answers")
