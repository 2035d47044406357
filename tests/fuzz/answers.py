"""The upstream transport: whatever bytes come back, in whatever pieces, the answer ends once and says the same."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, cast

from gatewayd.errors import GatewayError
from gatewayd.upstream.answer import Answer, Fields
from gatewayd.upstream.transport import Connection
from tests.fuzz.mutate import mutated, pieces
from tests.fuzz.runner import Target

_CORPUS = [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b'f\r\ndata: {"n":1}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nbusyHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nx: y\r\n\r\n",
]
_WORDS = [
    *(b"\r\n", b"\r\n\r\n", b"\n", b"HTTP/1.1 ", b"200", b"101 Switching Protocols", b"304", b"0\r\n\r\n", b"5\r\n"),
    *(b"content-length: 5\r\n", b"Content-Length: 2\r\n", b"transfer-encoding: chunked\r\n"),
    *(b"transfer-encoding: gzip\r\n", b"ffffffffffffffffff\r\n", b":", b";", b"-", b"+5"),
    *(b"connection: close\r\n", b"connection: upgrade\r\nupgrade: x\r\n", b"x: \x00\r\n", b" folded\r\n"),
]  # fmt: skip


class _Transport:
    """As far as a connection uses one."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class _Home:
    def __init__(self) -> None:
        self.freed = self.lost = 0

    def free(self, connection: Connection) -> None:
        self.freed += 1

    def gone(self, connection: Connection) -> None:
        self.lost += 1


class _Noting(Answer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: Fields = {}
        self.body = None
        self.ends: list[str] = []

    def begin(self, connection: Connection, status: int, fields: Fields) -> None:
        assert not self.status
        assert not self.ends
        self.status, self.fields = status, dict(fields)
        connection.answering()

    def push(self, data: bytes) -> None:
        assert self.status
        assert not self.ends
        self.body = (self.body or b"") + data

    def finish(self, delimited: bool) -> None:
        self.ends.append(f"finish {delimited}")

    def fail(self, error: GatewayError) -> None:
        self.ends.append(type(error).__name__)


class _Loop:
    """No time passes."""

    def time(self) -> float:
        return 0.0

    def call_at(self, when: float, callback: Any) -> asyncio.TimerHandle:
        return cast(asyncio.TimerHandle, _Timer())


class _Timer:
    def cancel(self) -> None: ...


def _play(chunks: list[bytes]) -> tuple[Any, ...]:
    home, transport, answer = _Home(), _Transport(), _Noting()
    connection = Connection(home, cast(asyncio.AbstractEventLoop, _Loop()))
    connection.connection_made(cast(asyncio.Transport, transport))
    connection.send(answer, b"GET / HTTP/1.1\r\n\r\n", b"", first_byte=1, idle=1)
    for chunk in chunks:
        if transport.aborted:
            break
        connection.data_received(chunk)
    if not transport.aborted:
        connection.eof_received()
    connection.connection_lost(None)
    assert len(answer.ends) == 1, answer.ends
    assert home.lost == 1
    assert home.freed <= 1
    return answer.status, answer.fields, answer.body or b"", answer.ends


def _check(made: tuple[bytes, list[bytes]]) -> None:
    data, chunks = made
    whole, cut = _play([data] if data else []), _play([chunk for chunk in chunks if chunk])
    # An answer that breaks the rules after its head may be told of before or after some of its body.
    if whole[3] == cut[3] and whole[3][0].startswith("finish"):
        assert whole == cut, (whole, cut)
    assert whole[3][0].startswith("finish") == cut[3][0].startswith("finish"), (whole, cut)


def _make(rng: Random) -> tuple[bytes, list[bytes]]:
    data = mutated(rng, _CORPUS, _WORDS, 2000)
    return data, pieces(rng, data)


ANSWER = Target("answer", _make, _check, runs=5000)
