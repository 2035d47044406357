"""The mock upstream that streams: OpenAI's and Anthropic's wire, fixed answers, a piece of text every few milliseconds.

Run as a process of its own: `python -m benchmarks.upstream --port 9000`. It must cost much less than what is measured,
so it is a bare asyncio protocol. How many pieces a stream has is the request's `max_tokens`; every piece holds the time
of its sending (`benchmarks.payloads`).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import ssl
import time
from typing import cast

import httptools
import uvloop

from benchmarks import payloads

_STREAM = re.compile(rb'"stream"\s*:\s*true')
_COUNT = re.compile(rb'"max_tokens"\s*:\s*(\d+)')


def _fixed(content: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(content)) + content


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MODELS = payloads.dumps({"object": "list", "data": [{"id": payloads.MODEL, "object": "model", "owned_by": "mock"}]})
_ANSWERS = {
    b"/v1/chat/completions": _fixed(payloads.answer()),
    b"/v1/messages": _fixed(payloads.anthropic_answer()),
    b"/v1/models": _fixed(_MODELS),
    b"/health": _fixed(b"{}"),
}
_NOT_FOUND = _fixed(b'{"error":{"message":"no such path","type":"invalid_request_error"}}', b"404 Not Found")


class _Script:
    """One wire's stream, cut into what is written at once."""

    def __init__(self, opening: bytes, piece: tuple[bytes, bytes], closing: bytes) -> None:
        self.opening = _STREAM_HEAD + _chunk(opening)
        frame = _chunk(piece[0] + b"?" * payloads.STAMP_BYTES + piece[1])
        self.before, _, self.after = frame.partition(b"?" * payloads.STAMP_BYTES)
        self.closing = _chunk(closing) + b"0\r\n\r\n"


_SCRIPTS = {
    b"/v1/chat/completions": _Script(*payloads.openai_stream()),
    b"/v1/messages": _Script(*payloads.anthropic_stream()),
}


class Mock(asyncio.Protocol):
    """One connection; requests one after another, pipelined ones are not expected."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # what the parser calls

    def on_message_begin(self) -> None:
        self._path = b""
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path = self._path.partition(b"?")[0]
        body = b"".join(self._body)
        if path in _SCRIPTS and _STREAM.search(body):
            count = _COUNT.search(body)
            self._script = _SCRIPTS[path]
            self._left = int(count[1]) if count else payloads.CHUNKS
            self._transport.write(self._script.opening)
            self._timer = self._loop.call_later(self._interval, self._send)
        else:
            self._transport.write(_ANSWERS.get(path, _NOT_FOUND))

    def _send(self) -> None:
        self._transport.write(b"%b@%018d@%b" % (self._script.before, time.monotonic_ns(), self._script.after))
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._interval, self._send)
        else:
            self._transport.write(self._script.closing)


async def _serve(port: int, interval: float, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Mock(interval), "127.0.0.1", port, backlog=1024, ssl=tls)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--interval", type=float, default=0.005, help="seconds between two pieces (default: 0.005)")
    parser.add_argument("--certificate", nargs=2, metavar=("CHAIN", "KEY"), help="speak TLS")
    options = parser.parse_args()
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*options.certificate)
    uvloop.run(_serve(options.port, options.interval, tls))


if __name__ == "__main__":
    main()
