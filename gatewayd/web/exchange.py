"""The life of one API request, from its head to its access record, without any HTTP server.

    lease → admit → read body → peek → stages → dispatch ── commit point ── send, or start and pipe → record

Before the commit point every error becomes an answer of its own; after it a broken event stream gets exactly one error
event and a clean end without `[DONE]`, and anything else is cut off so that nobody takes it for whole. A client that
leaves cancels the task this runs in: the reply is closed at once and nobody is blamed. However it ends, the request
leaves exactly one access record. What the sockets look like is `Inbound`'s and `Responder`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gatewayd.access.keys import PresentedCredential, RequestHeaders
from gatewayd.engine.dispatch import dispatch
from gatewayd.engine.runtime import Gateway, Runtime
from gatewayd.errors import GatewayError, InternalError, ShuttingDown
from gatewayd.observe import access
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.record import Observer, Record, RecordKind, observe
from gatewayd.policy.stages import Passage
from gatewayd.routing.table import Table
from gatewayd.tasks import in_steps
from gatewayd.upstream.base import Call, Reply, Sink
from gatewayd.upstream.naming import NamedReply
from gatewayd.web.keepalive import KeepAlives
from gatewayd.web.render import EVENTS, JSON, STREAM_HEADERS, failure, request_id, success_headers
from gatewayd.web.timeout import client_timeout
from gatewayd.wire.dialect import Dialect, Endpoint
from gatewayd.wire.headers import Header, unlooped, upstream_headers
from gatewayd.wire.large import LARGE

_log = logging.getLogger("gatewayd.web")

CLIENT_LEFT = 499
"""nginx's status for a client that closed before its answer; it appears in records only."""
MEGABYTE = 1024 * 1024


class ClientGone(Exception):
    """The client's connection ended while its request was being read."""


class Inbound(Protocol):
    """A request as far as its head has been read."""

    method: str
    path: str
    peer: str
    query: str
    model: str | None
    """The model that the path names, if it does; it goes before the body's."""

    @property
    def headers(self) -> InboundHeaders: ...

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge (`limit` in bytes), UnsupportedMediaType, RequestTimeout,
        InvalidRequest or ClientGone."""


class InboundHeaders(RequestHeaders, Protocol):
    def items(self) -> Iterable[Header]: ...


class Responder(Protocol):
    """Where the one answer to a request goes. No method blocks or raises; a client that is gone swallows all."""

    @property
    def gone(self) -> bool: ...

    def send(self, status: int, headers: Sequence[Header], body: bytes, *, last: bool = False) -> None:
        """A whole answer; after a `last` one the connection is closed."""

    def start(self, status: int, headers: Sequence[Header]) -> Sink:
        """The commit point of a streamed answer."""

    def finish(self) -> None:
        """The clean end of a streamed answer."""

    def fail(self, event: bytes) -> None:
        """Ends an event stream that broke: with one more event (unless it is empty) after a clean event boundary; then
        closes the connection."""

    def abort(self) -> None:
        """Cuts the connection so that what was sent cannot pass for a whole answer."""


Handle = Callable[["Exchange"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the registration table (`gatewayd.web.app`). `path` may hold one `{model}`, or another name."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handle: Handle
    kind: RecordKind = "info"
    endpoint: Endpoint | None = None
    """For a route that does nothing but ask a model."""


@dataclass(frozen=True, slots=True)
class Held:
    """A request that was begun on the fast path (`gatewayd.web.fastpath`) and goes on as an exchange. Entering it takes
    over the lease that was taken there."""

    runtime: Runtime
    record: Record
    """With the attempt that was made, unless it is to be made again."""
    again: bool = False
    """It was sent on a kept connection that turned out to be closed."""

    def __enter__(self) -> Runtime:
        return self.runtime

    def __exit__(self, *error: Any) -> None:
        self.runtime.__exit__(*error)


class UnderWay(Protocol):
    """A request that has begun and not ended."""

    record: Record

    def interrupt(self, error: GatewayError) -> None:
        """Ends the request from outside with an error that the client is told."""


class Exchanges:
    """All requests under way on the data listener."""

    def __init__(self, gateway: Gateway, metrics: Metrics) -> None:
        self.gateway = gateway
        self.metrics = metrics
        self.live: set[UnderWay] = set()
        self.observers: list[Observer] = [access.log, metrics.request_ended]
        self.keep_alives = KeepAlives()
        metrics.count_in_flight(lambda: sum(request.record.kind == "model" for request in self.live))

    def ended(self, record: Record, now: float | None = None) -> None:
        """The one end of every request, whatever path it took; `now` of `time.monotonic()`."""
        if now is None:
            now = time.monotonic()
        record.duration = now - (record.started or now)
        if record.attempts and record.attempts[-1].ended is None:
            record.attempts[-1].ended = now
        observe(record, self.observers)

    def interrupt(self) -> int:
        """Ends what is under way with `server_shutting_down`; returns how many requests that struck."""
        struck = list(self.live)
        for exchange in struck:
            exchange.interrupt(ShuttingDown("The gateway is stopping."))
        return len(struck)


class Exchange:
    """One request. `run` is called once, in a task of the request's own."""

    __slots__ = (
        "_committed", "_dialect", "_exchanges", "_held", "_interruption", "_passage", "_task", "_waited", "inbound",
        "record", "responder", "runtime",
    )  # fmt: skip

    def __init__(self, exchanges: Exchanges, inbound: Inbound, responder: Responder, held: Held | None = None) -> None:
        self._exchanges = exchanges
        self._held = held
        self.inbound = inbound
        self.responder = responder
        self.runtime: Runtime | None = None
        self._passage = Passage()
        self._waited = 0.0
        self._interruption: GatewayError | None = None
        self._task: asyncio.Task[None] | None = None
        self._committed = False
        self._dialect: Dialect | None = None
        """Of the event stream that is being sent."""
        if held is not None:  # it is under way, though its task has not begun yet
            self.record = held.record
            exchanges.live.add(self)
            return
        told = inbound.headers.get("x-request-id")
        name = request_id(told)
        self.record = Record(
            name, time.monotonic(), "info", inbound.method, inbound.path, inbound.peer, told=name is told
        )

    @property
    def gateway(self) -> Gateway:
        return self._exchanges.gateway

    @property
    def table(self) -> Table:
        """The model groups of the configuration that this request runs on."""
        assert self.runtime is not None
        return self.runtime.table

    async def run(self, route: Route) -> None:
        """Answers the request. Raises only CancelledError, when the client has left."""
        self._task = asyncio.current_task()
        record = self.record
        record.kind = route.kind
        self._exchanges.live.add(self)
        try:
            if route.kind == "open":
                await route.handle(self)
            elif self.gateway.draining and self._held is None:
                raise ShuttingDown("The gateway is stopping; connect again.")
            else:
                with self._held or self.gateway.lease() as runtime:
                    self.runtime, record.revision = runtime, runtime.snapshot.revision
                    if self._interruption is not None:
                        raise self._interruption
                    record.key = runtime.keyring.admit(PresentedCredential(self.inbound.headers)).name
                    await route.handle(self)
        except GatewayError as error:
            self._fail(error)
        except ClientGone:
            record.status, record.outcome = CLIENT_LEFT, "client_left"
        except asyncio.CancelledError:
            if self._interruption is None or self.responder.gone:
                record.status, record.outcome = CLIENT_LEFT, "client_left"
                raise
            if self._task is not None:
                self._task.uncancel()
            self._fail(self._interruption)
        except Exception as error:
            _log.error("request %s failed", record.request_id, exc_info=error)
            self._fail(InternalError("The gateway failed on this request; its log has the request id."))
        finally:
            self._task = None  # it holds what cancelled it, whose traceback holds this
            self._exchanges.live.discard(self)
            self._passage.settle(record)
            self._exchanges.ended(record)

    def interrupt(self, error: GatewayError) -> None:
        """Ends the request from outside with an error that the client is told."""
        if self._interruption is None:
            self._interruption = error
            if self._task is not None:
                self._task.cancel()

    def left(self) -> None:
        """Accounts for a held request whose client has left instead of running it. Of one that is not held, and so has
        not begun, nothing is told: as of one that waits behind another."""
        if self._held is None:
            return
        self._exchanges.live.discard(self)
        with self._held:
            self.record.status, self.record.outcome = CLIENT_LEFT, "client_left"
            self._exchanges.ended(self.record)

    def send_json(self, body: bytes) -> None:
        """A whole answer of the gateway's own."""
        self.record.status = 200
        self.responder.send(200, [JSON, ("x-request-id", self.record.request_id), *self._revision()], body)

    async def ask_model(self, endpoint: Endpoint) -> None:
        """Asks a deployment and passes its answer on."""
        dialect = endpoint.dialect
        runtime, held, record = self.runtime, self._held, self.record
        assert runtime is not None
        server = runtime.snapshot.server
        headers = self.inbound.headers
        relayed = unlooped(upstream_headers(headers.items()), self.gateway.instance)
        waiting = time.monotonic()
        body = await self.inbound.read(int(server.limits.body_mb * MEGABYTE))
        self._waited += time.monotonic() - waiting
        named = self.inbound.model
        model = named or server.default_models.get(endpoint.path)
        content_type = headers.get("content-type") or ""
        if len(body) <= LARGE:
            intent = endpoint.peek(body, content_type, default_model=model)
        else:
            intent = await in_steps(endpoint.peek_in_steps(body, content_type, default_model=model))
        if named is not None and named != intent.model and runtime.table.knows(named):
            intent = intent.asking(named)  # Azure, for whose clients such paths are, does not look at the body's
        if intent.stream and not endpoint.streams:
            intent = intent.whole()
        answer = self._passage.enter(runtime.stages, record, intent)
        if answer is not None:
            self.send_json(answer.body)
            return
        call = Call(
            endpoint,
            intent,
            record.request_id,
            relayed,
            timeout=client_timeout(headers, server),
            fresh=held is not None and held.again,
            waited=0.0 if held is None else time.monotonic() - record.started,
            memory=self.gateway.memory(record.key or "") if endpoint.remembers else None,
        )
        served = await dispatch(runtime, call, record)
        reply = served.reply
        if server.report_model == "group":
            reply = NamedReply(reply, intent.model)
        now = time.monotonic()
        self._waited += call.waited
        broken: GatewayError | None = None
        try:
            await self._answer(dialect, reply, now - record.started)
        except GatewayError as error:
            broken = error
            raise
        finally:
            reply.close()
            record.usage = reply.usage
            served.close(broken)

    async def _answer(self, dialect: Dialect, reply: Reply, elapsed: float) -> None:
        assert self.runtime is not None
        record = self.record
        headers = [*reply.headers, *success_headers(record, elapsed - self._waited, elapsed)]
        record.status = reply.status
        if reply.body is not None:
            self.responder.send(reply.status, headers, reply.body)
            return
        content_type = next((value for name, value in reply.headers if name == "content-type"), "")
        if content_type.startswith(EVENTS):
            self._dialect = dialect
        record.ttft = elapsed
        self._committed = True
        sink = self.responder.start(reply.status, [*headers, *STREAM_HEADERS])
        silence = self.runtime.snapshot.server.stream.keep_alive
        if silence is None or self._dialect is None:
            await reply.pipe(sink)
        else:
            with self._exchanges.keep_alives.watching(sink, silence) as commented:
                await reply.pipe(commented)
        self.responder.finish()

    def _fail(self, error: GatewayError) -> None:
        """The one place where an error becomes something a client sees."""
        record = self.record
        record.error = error
        stopping = isinstance(error, ShuttingDown)
        if self._committed:
            record.outcome = "shutdown" if stopping else "broken_stream"
            if (dialect := self._dialect) is not None:
                end_mark = dialect.end_mark if self._done_after_error() else b""
                self.responder.fail(dialect.error_event(error) + end_mark)
            else:
                self.responder.abort()
            return
        record.outcome = "shutdown" if stopping else "rejected" if _is_callers(error) else "error"
        record.status, headers, body = failure(error, record)
        self.responder.send(record.status, [*headers, *self._revision()], body, last=stopping)

    def _done_after_error(self) -> bool:
        return self.runtime is not None and self.runtime.snapshot.server.stream.error_done

    def _revision(self) -> tuple[Header, ...]:
        return () if self.runtime is None else (("x-gatewayd-revision", self.runtime.snapshot.revision),)


def _is_callers(error: GatewayError) -> bool:
    """Whether the caller has to change something; a 429 asks for patience only."""
    return error.status < 500 and error.status != 429 and not error.blames_deployment
