"""The upstream of a soak: OpenAI's wire, and a fault in some of its answers.

fault          what the daemon sees
error          500, 429 or 503 instead of an answer
reset, close   the connection ends before the answer
cut            it ends in the middle of the answer, by FIN or by reset
wrong          an error event, in the beginning or in the middle of a stream; an answer that is a web page
noise          bytes that are no HTTP
hang           silence, from the beginning or in the middle
slow           the answer in small pieces
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import cast

HELD = b'"held"'
"""A request with these bytes is begun to be answered, if it streams, and then left alone: the storm's."""

LARGE = b'"large"'
"""A request with these bytes gets an answer of four megabytes: the burst's."""

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream"\s*:\s*true')


def _http(status: bytes, kind: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, kind, more, len(body)) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENTS = 10
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"All work and no play. " * 8 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":40,"total_tokens":49}}'
)
PIECES = [
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"piece %d of the answer"},"finish_reason":null}]}\n\n' % number
    for number in range(EVENTS)
]
DONE = b"data: [DONE]\n\n"
WHOLE_STREAM = b"".join(PIECES) + DONE
_ERROR = b'{"error":{"message":"The upstream is unwell.","type":"server_error","param":null,"code":null}}'
_ERROR_EVENT = b"data: " + _ERROR + b"\n\n"
_GOOD = _http(b"200 OK", b"application/json", ANSWER)
_LARGE = _http(b"200 OK", b"application/json", ANSWER.replace(b"All work and no play. ", b"All work. " * 50_000))
_BAD = [
    _http(b"500 Internal Server Error", b"application/json", _ERROR),
    _http(b"503 Service Unavailable", b"application/json", _ERROR),
    _http(b"429 Too Many Requests", b"application/json", _ERROR),
]
_PAGE = _http(b"200 OK", b"text/html", b"<html>Welcome to the hotel's network</html>")
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_FRAMES = [_chunk(piece) for piece in PIECES]
_TAIL = _chunk(DONE) + b"0\r\n\r\n"

_FAULTS = ("error", "reset", "close", "cut", "wrong", "noise", "slow") * 3 + ("hang",)
_PAUSE = 0.005


class Upstream:
    """All its connections. `faults` is the share of answers with one; `held`, `left` hear of the storm's."""

    def __init__(self, seed: int, faults: float) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.open: set[_Connection] = set()
        self.served = 0
        self.faulty = 0
        self.held: Callable[[bytes], None] = lambda body: None
        self.left: Callable[[bytes], None] = lambda body: None
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Returns the port."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=1024
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def drop_idle(self) -> int:
        """Closes connections without a request, as a server does after a while; returns how many others there are."""
        for connection in list(self.open):
            connection.close_if_idle()
        return sum(connection.busy for connection in self.open)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.open):
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._holding: bytes | None = None
        self.transport: asyncio.Transport
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._upstream.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._holding is not None:
            self._upstream.left(self._holding)

    def close_if_idle(self) -> None:
        if not self.busy:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        assert length is not None
        end += 4
        if len(self._buffer) < end + int(length[1]):
            return
        body, self._buffer = self._buffer[end:], b""
        self.busy = True
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        upstream = self._upstream
        upstream.served += 1
        stream = _STREAM.search(body) is not None
        if HELD in body:
            self._holding = body
            if stream:
                self.transport.write(_STREAM_HEAD + _FRAMES[0])
            upstream.held(body)
        elif LARGE in body:
            self._send(_LARGE)
        elif upstream.rng.random() < upstream.faults:
            upstream.faulty += 1
            getattr(self, f"_{upstream.rng.choice(_FAULTS)}")(stream)
        elif stream:
            cut = upstream.rng.randrange(EVENTS)
            rest = b"".join(_FRAMES[cut:]) + _TAIL
            self.transport.write(_STREAM_HEAD + b"".join(_FRAMES[:cut]))
            if upstream.rng.random() < 0.5:
                self._later([rest])
            else:
                self._send(rest)
        else:
            self._send(_GOOD)

    def _send(self, data: bytes) -> None:
        """The last bytes of an answer."""
        self.busy = False
        self.transport.write(data)

    def _later(self, pieces: list[bytes]) -> None:
        """One piece after a pause, then the others."""

        def send() -> None:
            if len(pieces) == 1:
                self._send(pieces[0])
            else:
                self.transport.write(pieces[0])
                self._later(pieces[1:])

        self._timer = self._loop.call_later(_PAUSE, send)

    # --- faults

    def _error(self, stream: bool) -> None:
        self._send(self._upstream.rng.choice(_BAD))

    def _reset(self, stream: bool) -> None:
        self.transport.abort()

    def _close(self, stream: bool) -> None:
        self.transport.close()

    def _cut(self, stream: bool) -> None:
        self.transport.write(_STREAM_HEAD + b"".join(_FRAMES[:4]) if stream else _GOOD[:-20])
        end = self.transport.close if self._upstream.rng.random() < 0.5 else self.transport.abort
        self._timer = self._loop.call_later(_PAUSE, end)

    def _wrong(self, stream: bool) -> None:
        if stream:
            count = self._upstream.rng.choice((0, 3))
            self.transport.write(_STREAM_HEAD + b"".join(_FRAMES[:count]) + _chunk(_ERROR_EVENT))
            self._later([b"0\r\n\r\n"])
        else:
            self._send(_PAGE)

    def _noise(self, stream: bool) -> None:
        self.transport.write(self._upstream.rng.randbytes(60))
        self.transport.close()

    def _hang(self, stream: bool) -> None:
        if stream and self._upstream.rng.random() < 0.5:
            self.transport.write(_STREAM_HEAD + _FRAMES[0])

    def _slow(self, stream: bool) -> None:
        whole = _STREAM_HEAD + b"".join(_FRAMES) + _TAIL if stream else _GOOD
        size = len(whole) // 5 + 1
        self._later([whole[at : at + size] for at in range(0, len(whole), size)])
