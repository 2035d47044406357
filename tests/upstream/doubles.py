"""The two neighbours of a connection, a transport and a pool, and what every test of a forwarding call needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from gatewayd.config.snapshot import Deployment
from gatewayd.secret import Secret
from gatewayd.upstream.base import Call, Flow, Timeouts
from gatewayd.upstream.transport import Answer, Connection
from gatewayd.wire.dialect import ENDPOINTS, OPENAI, Endpoint
from gatewayd.wire.openai import peek

KEY = "sk-upstream-canary"
SHORT = Timeouts(connect=0.2, first_byte=0.2, idle=0.2, total=5.0)
LONG = Timeouts(connect=20.0, first_byte=20.0, idle=20.0, total=20.0)
SILENT = replace(LONG, first_byte=0.2)
"""For an upstream that does not begin."""
STALLED = replace(LONG, idle=0.2)
"""For one that stops in the middle; one that is only late, on a busy machine, must not be taken for it."""


def deployment(api_base: str, **changes: Any) -> Deployment:
    values: dict[str, Any] = {
        "id": "one", "identity": "one", "group": "gpt", "kind": "forward", "provider": "openai", "model": "gpt-real",
        "api_base": api_base, "api_key": Secret(KEY),
    }  # fmt: skip
    return Deployment(**{**values, **changes})


def call(
    fields: Mapping[str, Any] | bytes | None = None,
    *,
    endpoint: str = "chat/completions",
    headers: Sequence[tuple[str, str]] = (),
    timeouts: Timeouts = LONG,
    capture: str = "",
    **more: Any,
) -> Call:
    """A call whose body has `model`, the fields given, and `more`; or the body itself."""
    body = fields if isinstance(fields, bytes) else json.dumps({"model": "gpt", **(fields or {}), **more}).encode()
    return Call(endpoint_of(endpoint), peek(body), "req-1", headers, timeouts, capture)


def endpoint_of(path: str) -> Endpoint:
    return next((one for one in ENDPOINTS if one.path == path), Endpoint(path, OPENAI))


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits until the condition holds; fails after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


class SlowSink:
    """A client that is behind: full after so many bytes, until it is drained."""

    def __init__(self, room: int = 1 << 60) -> None:
        self.data = bytearray()
        self.flow: Flow | None = None
        self._room = room
        self._behind = 0
        self.full = False

    def attach(self, flow: Flow) -> None:
        self.flow = flow

    def write(self, data: bytes) -> None:
        self.data += data
        self._behind += len(data)
        if self._behind >= self._room and not self.full:
            self.full = True
            assert self.flow is not None
            self.flow.pause()

    def drain(self) -> None:
        self._behind = 0
        if self.full:
            self.full = False
            assert self.flow is not None
            self.flow.resume()


class FakeTransport(asyncio.Transport):
    """The event loop's side of a connection, moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.unsent = 0
        self.reading = True
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.aborted
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        return None

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Nest:
    """A pool that only remembers."""

    def __init__(self) -> None:
        self.freed: list[Connection] = []
        self.lost: list[Connection] = []

    def free(self, connection: Connection) -> None:
        self.freed.append(connection)

    def gone(self, connection: Connection) -> None:
        self.lost.append(connection)


class Clock:
    """The timers of an event loop, wound by hand: stands in for the loop that a connection is given."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[tuple[float, asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, (), asyncio.get_running_loop())
        self._timers.append((when, handle))
        return handle

    def wind(self, seconds: float) -> None:
        """Lets time pass; what falls due on the way is called at its time."""
        until = self._now + seconds
        while due := [timer for timer in self._timers if timer[0] <= until and not timer[1].cancelled()]:
            timer = min(due, key=lambda timer: timer[0])
            self._timers.remove(timer)
            self._now = max(self._now, timer[0])
            timer[1]._run()
        self._now = until


class Bench:
    """A connection between its doubles, busy with `answer` after `ask`; its time is `clock`'s if there is one."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.home = Nest()
        self.transport = FakeTransport()
        self.connection = Connection(self.home, cast(asyncio.AbstractEventLoop, clock) if clock else self.loop)
        self.connection.connection_made(self.transport)
        self.answer = Answer(self.loop.create_future())

    def ask(self, answer: Answer | None = None, *, first_byte: float = 10.0, idle: float = 10.0) -> Answer:
        self.answer = answer or Answer(self.loop.create_future())
        self.connection.send(self.answer, b"POST / HTTP/1.1\r\n\r\n", b"{}", first_byte=first_byte, idle=idle)
        return self.answer

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.transport.aborted:
                self.connection.data_received(piece)

    def fin(self) -> None:
        self.connection.eof_received()
        self.connection.connection_lost(None)

    def rst(self) -> None:
        self.connection.connection_lost(ConnectionResetError())

    @property
    def reusable(self) -> bool:
        return self.home.freed == [self.connection] and not self.transport.aborted
