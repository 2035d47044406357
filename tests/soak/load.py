"""The load of a soak: clients that ask one request after another, judge every answer, and sometimes leave."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tests.soak.upstream import ANSWER, DONE, PIECES, WHOLE_STREAM

Kind = Literal["unary", "stream", "stranger"]

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)")
_CHUNKS = -1
_LAST = b"0\r\n\r\n"
_SOON, _LATE = 0.003, 0.02
"""Seconds until a client leaves, at most."""
_PATH = "/v1/chat/completions"
_FILL = "x" * 120


@dataclass
class Plan:
    """What is still to be asked."""

    unary: int
    streams: int
    cancelled: float
    """Share of requests whose client leaves."""
    strangers: float
    """Share of requests, beside the planned ones, with a key or a model that nobody knows; no two are alike."""
    rng: random.Random
    done: int = 0
    """Requests taken so far."""
    _strange: int = 0

    @property
    def total(self) -> int:
        return self.done + self.unary + self.streams

    def take(self) -> Kind | None:
        left = self.unary + self.streams
        if not left:
            return None
        if self.rng.random() < self.strangers:
            return "stranger"
        self.done += 1
        if self.rng.random() * left < self.unary:
            self.unary -= 1
            return "unary"
        self.streams -= 1
        return "stream"

    def stranger(self) -> int:
        self._strange += 1
        return self._strange


@dataclass
class Tally:
    """How the requests ended."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Answers that break a promise; the first of them."""

    def blame(self, what: str) -> None:
        self.ends["wrong"] += 1
        if len(self.wrong) < 20:
            self.wrong.append(what)


class Client(asyncio.Protocol):
    """One connection at a time, one request at a time, until there is nothing left to ask; then `over` is called."""

    def __init__(self, port: int, key: str, plan: Plan, tally: Tally, over: Callable[[], None]) -> None:
        self._port = port
        self._key = key
        self._plan = plan
        self._tally = tally
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._kind: Kind | None = None
        """Of the request under way."""
        self._leaves = ""
        """How its client leaves; empty: it stays."""
        self._timer: asyncio.TimerHandle | None = None
        self._left: int | None = None
        """Length of the body that comes, _CHUNKS, or None before the head is complete."""
        self._head = b""
        self._received: list[bytes] = []
        self._ended = False

    def begin(self) -> None:
        """Connects, then asks."""
        task = self._loop.create_task(self._loop.create_connection(lambda: self, "127.0.0.1", self._port))
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tally.blame(f"connection refused: {error}")
            self._timer = self._loop.call_later(0.1, self.begin)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kind, self._kind = self._kind, None
        if kind is not None and self._leaves:
            self._tally.ends["cancelled"] += 1
        elif kind is not None:
            self._tally.blame(f"{kind} cut off ({exc}): {self._head!r} {b''.join(self._received)[-300:]!r}")
        if not self._ended:
            self.begin()

    def _next(self) -> None:
        plan, rng = self._plan, self._plan.rng
        self._kind = kind = plan.take()
        if kind is None:
            self._ended = True
            self._transport.close()
            self._over()
            return
        self._received.clear()
        self._left = None
        self._head = b""
        self._leaves = ""
        request = self._request(kind)
        if kind != "stranger" and rng.random() < plan.cancelled:
            self._leaves = rng.choice(("half", "soon", "soon", "late", "data"))
            if self._leaves == "half":
                request = request[: rng.randrange(1, len(request))]
            if self._leaves != "data":
                self._timer = self._loop.call_later(
                    rng.random() * (_LATE if self._leaves == "late" else _SOON), self._leave
                )
        self._transport.write(request)

    def _leave(self) -> None:
        self._timer = None
        if self._plan.rng.random() < 0.5:
            self._transport.abort()
        else:
            self._transport.close()

    def _request(self, kind: Kind) -> bytes:
        key, model = self._key, "chat"
        if kind == "stranger":
            number = self._plan.stranger()
            if number % 2:
                key = f"sk-nobody-{number:012}"
            else:
                model = f"no-such-model-{number}"
        stream = "true" if kind == "stream" else "false"
        body = f'{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"{_FILL}"}}]}}'
        head = f"POST {_PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()

    def data_received(self, data: bytes) -> None:
        if self._kind is None:
            self._tally.blame(f"unasked: {data[:200]!r}")
            return
        received = self._received
        received.append(data)
        if self._leaves == "data":
            self._leave()
            return
        if self._left is None and not self._has_head():
            return
        if self._left == _CHUNKS:
            data = received[-1]
            if not data.endswith(_LAST) and (len(data) >= len(_LAST) or not b"".join(received).endswith(_LAST)):
                return
            body = _dechunked(b"".join(received))
        else:
            body = b"".join(received)
            if len(body) < (self._left or 0):
                return
        self._answered(body)

    def _has_head(self) -> bool:
        head, end, body = b"".join(self._received).partition(b"\r\n\r\n")
        if not end:
            return False
        self._head = head.lower()
        self._received[:] = [body]
        length = _LENGTH.search(self._head)
        self._left = _CHUNKS if length is None else int(length[1])
        return True

    def _answered(self, body: bytes) -> None:
        kind, self._kind, self._leaves = self._kind, None, ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if kind is not None:
            kept = self._judge(kind, int(self._head[9:12]), body)
            if kept and b"\r\nconnection: close" not in self._head:
                self._next()
            else:
                self._transport.close()

    def _judge(self, kind: Kind, status: int, body: bytes) -> bool:
        """Counts the answer; whether the connection can carry another request."""
        ends = self._tally.ends
        if kind == "stranger":
            if status in (401, 404) and body.startswith(b'{"error":'):
                ends["refused"] += 1
                return True
        elif status == 200:
            if body == (ANSWER if kind == "unary" else WHOLE_STREAM):
                ends[kind] += 1
                return True
            if kind == "stream" and _is_broken(body):
                ends["broken"] += 1
                return False  # the gateway ends such a connection
        elif status in (429, 500, 502, 503, 504) and body.startswith(b'{"error":'):
            ends["failed"] += 1
            return True
        self._tally.blame(f"{kind}: {status} {body[:300]!r}")
        return False


def _is_broken(stream: bytes) -> bool:
    """What came before it unaltered, one error event, no end mark."""
    events = stream.split(b"\n\n")
    return (
        events[-1] == b""
        and events[-2].startswith(b'data: {"error":')
        and DONE not in stream
        and [event + b"\n\n" for event in events[:-2]] == PIECES[: len(events) - 2]
    )


def _dechunked(body: bytes) -> bytes:
    pieces = []
    at = 0
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end], 16)
        if not size:
            break
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(pieces)
