"""A stream from a connection to a client that may be slow, moved by hand."""

from __future__ import annotations

import asyncio

from gatewayd.errors import UpstreamError
from gatewayd.upstream.stream import StreamAnswer
from gatewayd.wire.sse import StreamWatcher
from tests.replies import LAST_CHUNK, chat_chunk, chunk, event, head
from tests.upstream.doubles import Bench, Clock, SlowSink

SSE = ("Content-Type", "text/event-stream")
CHUNKED = head(200, [SSE, ("Transfer-Encoding", "chunked")])
CLOSING = head(200, [SSE])
GOOD = event(chat_chunk("a"))


class StreamBench:
    """A bench with a streaming answer, and the task that pipes it."""

    def __init__(self, *, choices: int = 0, first_byte: float = 10.0, idle: float = 10.0, room: int = 1 << 60,
                 clock: Clock | None = None) -> None:  # fmt: skip
        self.bench = Bench(clock)
        self.answer = StreamAnswer(self.bench.loop.create_future(), StreamWatcher(choices=choices))
        self.bench.ask(self.answer, first_byte=first_byte, idle=idle)
        self.sink = SlowSink(room)
        self._task: asyncio.Task[None] | None = None

    def feed(self, *pieces: bytes) -> None:
        self.bench.feed(*pieces)

    @property
    def begun(self) -> bool | type[BaseException]:
        ready = self.answer.ready
        if not ready.done():
            return False
        error = ready.exception()
        return True if error is None else type(error)

    async def pipe(self) -> None:
        assert self.begun is True
        self._task = asyncio.ensure_future(self.answer.pipe(self.sink))
        await asyncio.sleep(0)

    async def end(self) -> UpstreamError | None:
        assert self._task is not None
        try:
            await asyncio.wait_for(self._task, 5)
        except UpstreamError as error:
            return error
        finally:
            self.answer.close()
        return None

    def reading(self) -> bool:
        return self.bench.transport.reading

    @property
    def out(self) -> bytes:
        return bytes(self.sink.data)


def framed(body: bytes, framing: str) -> bytes:
    match framing:
        case "chunked":
            return CHUNKED + b"".join(chunk(body[at : at + 50]) for at in range(0, len(body), 50)) + LAST_CHUNK
        case "length":
            return head(200, [SSE, ("Content-Length", str(len(body)))]) + body
        case _:
            return CLOSING + body
