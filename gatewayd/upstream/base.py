"""What the engine asks of an upstream, and what it gets back. Nothing here does I/O.

An upstream talks to one deployment. `open` either returns a `Reply` that is *good so far* (a whole body, or a stream
whose first event arrived and is no error) or raises a `GatewayError`; after that the request is committed and only
`Reply.pipe` runs. Three kinds exist: `forward` (bytes through), `translate` (litellm), `scripted` (no network).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gatewayd.errors import GatewayError
from gatewayd.wire.conversation import Request
from gatewayd.wire.dialect import Endpoint
from gatewayd.wire.headers import Header
from gatewayd.wire.openai import Intent, Usage

if TYPE_CHECKING:
    from gatewayd.upstream.response_memory import ResponseMemory

DROPPED: Final = "x-gatewayd-dropped"
"""The header of an answer that names the fields of the request that were left out."""


@dataclass(slots=True, frozen=True)
class Timeouts:
    """Seconds, for one try. `total` is watched by the engine, the others by the upstream."""

    connect: float
    first_byte: float
    """From the request sent to the first byte of the answer's head; for a stream: to the first event, and from each
    comment before it anew."""
    idle: float
    """Longest silence inside an answer; in a stream, the longest time without an event or a comment."""
    total: float
    """The whole try: all of it, or for a stream up to its first event (a stream may run for ever)."""


class BodyStream(Protocol):
    """A request body that is sent while it arrives, once."""

    @property
    def length(self) -> int | None:
        """Bytes, if it is known how many."""

    @property
    def begun(self) -> bool:
        """Whether some of it has been taken: then no further attempt can send it."""

    async def next(self) -> bytes:
        """The next piece; b"" at the end."""


class Call(msgspec.Struct):
    """One client request on its way to whichever deployment is tried next; shared by all tries."""

    endpoint: Endpoint
    intent: Intent
    """What was read from the body: model, stream, top-level fields, and the body's bytes as they came."""
    request_id: str
    headers: Sequence[Header] = ()
    """Client headers that may go upstream, already filtered; lower-case names."""
    timeouts: Timeouts = Timeouts(connect=10.0, first_byte=60.0, idle=120.0, total=600.0)
    """Of the deployment being tried, for this kind of call (streaming or not). Set anew for every try."""
    capture: str = ""
    """What the `*` of a wildcard group caught; replaces the `*` in the deployment's model. Set anew for every try."""
    fresh: bool = False
    """It was sent before, on a kept connection that turned out to be closed: the second time a new one is made."""
    waited: float = 0.0
    """Seconds spent waiting for upstreams so far, by all tries together."""
    timeout: float | None = None
    """Seconds the client itself grants (`x-litellm-timeout`, body `timeout`); None = the deployment's."""
    dropped: tuple[str, ...] = ()
    """Fields of the body that were left out. Set anew for every try."""
    conversation: Request | None = None
    """What it asks in the neutral form, if it had to be converted."""
    error_event: Callable[[GatewayError], bytes] | None = None
    """Writes the event that ends the stream which the answer is, if it breaks: for one that its dialect cannot write
    without knowing what has come. Set anew for every try."""
    method: str = "POST"
    content_type: str = ""
    """Of the body, if it is not JSON."""
    body: BodyStream | None = None
    """The body, if it is not the intent's: it goes as it comes."""
    memory: ResponseMemory | None = None
    """The caller's responses, for a call that may refer to one and that makes one."""

    def told(self) -> Sequence[Header]:
        """Headers with which the answer says what was not sent."""
        return ((DROPPED, ", ".join(self.dropped)),) if self.dropped else ()

    async def waiting(self, answer: Awaitable[None]) -> None:
        """Waits for an upstream, and counts the time."""
        since = time.monotonic()
        try:
            await answer
        finally:
            self.waited += time.monotonic() - since


class Flow(Protocol):
    """The reading side of a stream, as seen by the sink: told to stop and to go on."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Sink(Protocol):
    """Where a streamed reply goes: the client's connection. `write` never blocks and never raises.

    When its buffer is above the high-water mark the sink calls `flow.pause()`, below the low-water mark
    `flow.resume()`. A sink whose client is gone drops what is written.
    """

    def attach(self, flow: Flow) -> None:
        """Names the flow to pause; called once, before the first write. Pauses at once if already full."""

    def write(self, data: bytes) -> None: ...


class Reply(Protocol):
    """An upstream's answer. Whoever holds it calls `close` exactly once or more; `close` is plain and immediate."""

    status: int
    headers: Sequence[Header]
    """Already filtered for the client; lower-case names; no framing headers."""
    body: bytes | None
    """The whole body, or None for a stream that `pipe` delivers."""
    usage: Usage | None
    """Tokens, as far as the upstream told; for a stream final only after `pipe`."""

    async def pipe(self, sink: Sink) -> None:
        """Copies the stream to `sink`, first event included, and returns after its end mark.

        Raises UpstreamError when the stream breaks, stalls or ends without its end mark. Nothing is written after
        the end mark. Cancelling it leaves the reply to `close`.
        """

    def close(self) -> None:
        """Gives the connection back if the reply is complete, else drops it at once."""


class Upstream(Protocol):
    async def open(self, call: Call) -> Reply:
        """Sends the call. Raises GatewayError (its verdict says what the plan does next)."""

    async def aclose(self) -> None:
        """Closes idle connections; called when no reply of this upstream is open any more."""


@dataclass(slots=True)
class WholeReply:
    """A reply whose body is already here; what non-streaming calls return."""

    status: int
    headers: Sequence[Header]
    body: bytes | None
    usage: Usage | None = None

    async def pipe(self, sink: Sink) -> None:
        raise TypeError("a whole reply has a body, not a stream")

    def close(self) -> None:
        return None


@dataclass(slots=True)
class Gate:
    """A `Flow` for upstreams that pull: `await gate.opened()` waits while the sink is full."""

    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._open.set()

    def pause(self) -> None:
        self._open.clear()

    def resume(self) -> None:
        self._open.set()

    async def opened(self) -> None:
        await self._open.wait()
