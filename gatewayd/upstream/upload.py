"""A request body that is sent while it arrives, with back-pressure: never more of it is held than one piece and what
the socket has not taken yet.

It can be sent once, so a call with such a body is sent on a new connection: an idle one might turn out to be closed.
An upstream that answers before it has read the whole body ends the upload.
"""

from __future__ import annotations

import asyncio

from gatewayd.errors import GatewayError, UpstreamError
from gatewayd.tasks import spawn
from gatewayd.upstream.answer import Answer
from gatewayd.upstream.base import BodyStream, Timeouts
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.transport import Connection, Home


class UploadConnection(Connection):
    """A connection whose first request is sent piece by piece. After that it is as any other."""

    __slots__ = ("_more", "_room")

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(home, loop)
        self._more = True
        self._room = asyncio.Event()
        self._room.set()

    async def upload(self, body: BodyStream) -> None:
        """Sends the body, behind a head that says its length or that it is chunked. Raises what reading it raises."""
        chunked = body.length is None
        left = body.length or 0
        while piece := await body.next():
            await self._room.wait()
            if not self.usable or not self._more:
                return
            left -= len(piece)
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if left and not chunked:
            raise ValueError("a body of another length than it announced")
        if self.usable:
            if chunked:
                self._transport.write(b"0\r\n\r\n")
            self._more = False
            self._until(self._loop.time() + self._first_byte)  # the upstream has only now got the request

    def abort(self) -> None:
        self._room.set()
        super().abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._room.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._room.set()

    def _complete(self) -> None:
        if self._more:  # it has answered early: the rest of the body would run into the next request
            self._more = self._keep = False
        super()._complete()

    def _sending(self) -> bool:
        """While the rest of the body is awaited nothing is due."""
        return (self._more and self._room.is_set()) or super()._sending()


async def exchange_streamed(pool: Pool, answer: Answer, head: bytes, body: BodyStream, timeouts: Timeouts) -> None:
    """As `Pool.exchange`, for a body that is still arriving.

    Raises UpstreamError, or what reading the body raises. Cancelling it closes the connection.
    """
    connection = await pool.connect(timeouts.connect, UploadConnection)
    failure: list[Exception] = []

    async def feed() -> None:
        try:
            await connection.upload(body)
        except Exception as error:
            failure.append(error)
            connection.drop(answer)
            answer.fail(error if isinstance(error, GatewayError) else UpstreamError("The request body broke off."))

    try:
        connection.send(answer, head, b"", first_byte=timeouts.first_byte, idle=timeouts.idle)
        feeding = spawn(feed(), name="send a request body")
        try:
            await answer.ready
        except BaseException:
            feeding.cancel()
            raise
    except BaseException:
        connection.drop(answer)
        if failure:
            raise failure[0] from None
        raise
