"""The life of one request: begun, passed through keyring, stages and plan, answered, recorded. Knows no sockets.

    lease → admit → body → peek → stages → first attempt → dispatch ── commit point ── send, or start and pipe → record

`begin` does all that need not wait, in the callback that read the request: usually up to a first attempt that is sent
on an idle connection, and the upstream's own callback answers. What has to wait (for the body, a connection, the next
attempt, a stream's end) makes a task, which goes on with the same object.

Before the commit point every error becomes an answer of its own; after it a broken event stream gets exactly one error
event and a clean end without `[DONE]`, and anything else is cut off so that it cannot pass for whole. A client that
disconnects ends the request at once, and no deployment is blamed. However a request ends, it ends in `_end`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gatewayd.engine.client import MEGABYTE, Client, ClientGone, IncomingBody, client_timeout, is_callers, too_large
from gatewayd.engine.dispatch import FirstAttempt, dispatch
from gatewayd.engine.head import RequestHead
from gatewayd.engine.keepalive import KeepAlives
from gatewayd.engine.render import EVENTS, JSON, STREAM_HEADERS, SuccessHead, failure, new_request_id, success_headers
from gatewayd.engine.runtime import Gateway, Runtime
from gatewayd.errors import GatewayError, InternalError, ShuttingDown
from gatewayd.observe import access
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.record import Observer, Record, observe
from gatewayd.policy.stages import Passage
from gatewayd.routing.pick import View
from gatewayd.tasks import in_steps, spawn
from gatewayd.upstream.answer import lines
from gatewayd.upstream.base import Call, Reply
from gatewayd.upstream.naming import NamedReply, named
from gatewayd.upstream.response_memory import is_stateless
from gatewayd.upstream.transport import StaleConnection
from gatewayd.wire.dialect import Dialect, Endpoint
from gatewayd.wire.headers import Header
from gatewayd.wire.large import LARGE
from gatewayd.wire.openai import Intent

_log = logging.getLogger("gatewayd.web")

CLIENT_LEFT = 499
"""nginx's status for a client that closed before its answer; it appears in records only."""


class Requests:
    """All requests in flight on the data listener."""

    def __init__(self, gateway: Gateway, metrics: Metrics) -> None:
        self.gateway = gateway
        self.live: set[Request] = set()
        self.observers: list[Observer] = [access.log, metrics.request_ended]
        self.keep_alives = KeepAlives()
        self.spawn: Callable[..., asyncio.Task[Any]] = spawn
        self.view = View(random.Random(), gateway.health.in_flight)
        metrics.count_in_flight(lambda: sum(request.record.kind == "model" for request in self.live))

    def interrupt(self) -> int:
        """Ends what is in flight with `server_shutting_down`; returns how many requests were interrupted."""
        interrupted = list(self.live)
        for request in interrupted:
            request.interrupt(ShuttingDown("The gateway is stopping."))
        return len(interrupted)


class Request:
    """See the module. `begin` is called once."""

    __slots__ = (
        "_body", "_call", "_client", "_committed", "_dialect", "_first", "_interruption", "_leased", "_passage",
        "_requests", "_task", "_waited", "_work", "gateway", "head", "record", "runtime",
    )  # fmt: skip

    _call: Call
    runtime: Runtime
    """The configuration that it runs on. A request of kind "open" has none."""

    def __init__(self, requests: Requests, head: RequestHead, body: bytes | IncomingBody, client: Client) -> None:
        told = head.request_id
        self.record = Record(
            told or new_request_id(), time.monotonic(), head.kind, head.method, head.path, client.peer, told is not None
        )
        self.head = head
        self.gateway = requests.gateway
        self._leased = False
        self._requests = requests
        self._client = client
        self._body = body
        self._first: FirstAttempt | None = None
        """The attempt in flight that needs no task."""
        self._task: asyncio.Task[None] | None = None
        self._work: Coroutine[Any, Any, None] | None = None
        """What the task will do, if it has not begun."""
        self._passage: Passage | None = None
        self._waited = 0.0
        self._interruption: GatewayError | None = None
        self._committed = False
        self._dialect: Dialect | None = None
        """Of the event stream that is being sent."""

    @property
    def admitted(self) -> bool:
        """Whether the keyring has let its sender in."""
        return bool(self.record.key)

    # --- the beginning

    def begin(self) -> None:
        """Does all that need not wait."""
        requests, head, record = self._requests, self.head, self.record
        requests.live.add(self)
        try:
            if head.kind != "open":
                if self.gateway.draining:
                    raise ShuttingDown("The gateway is stopping; connect again.")
                self.runtime = runtime = self.gateway.lease()
                self._leased = True
                record.revision = runtime.snapshot.revision
                record.key = runtime.keyring.admit(head.credential).name
            if head.endpoint is not None:
                if self._ask(head.endpoint):
                    return
            elif head.respond is not None and (work := head.respond(self)) is not None:
                self._go_on(work)
                return
        except Exception as error:
            self._fail(error)
        self._end()

    def _ask(self, endpoint: Endpoint) -> bool:
        """Sends the first attempt, or makes a task; False if the request is answered."""
        head, body, server = self.head, self._body, self.runtime.snapshot.server
        if head.refusal is not None:
            raise head.refusal
        model = head.model or server.default_models.get(endpoint.path)
        if not isinstance(body, bytes) or len(body) > min(LARGE, server.limits.body_mb * MEGABYTE):
            self._go_on(self._read_and_ask(endpoint, model))
            return True
        if not self._enter(endpoint, endpoint.peek(body, head.content_type, default_model=model)):
            return False
        call = self._call
        if not call.intent.stream and call.timeout is None and (call.memory is None or is_stateless(call.intent)):
            self._first = FirstAttempt.send(self, self.runtime, call, self.record, self._requests.view)
        if self._first is None:
            self._go_on(self._dispatch())
        return True

    async def read_body(self) -> bytes:
        """All of it. Raises GatewayError or ClientGone."""
        body, limit = self._body, int(self.runtime.snapshot.server.limits.body_mb * MEGABYTE)
        if not isinstance(body, bytes):
            waiting = time.monotonic()
            body = await body.read(limit)
            self._waited = time.monotonic() - waiting
        if len(body) > limit:
            raise too_large(limit)
        return body

    async def _read_and_ask(self, endpoint: Endpoint, model: str | None) -> None:
        """The same for a body that is not here yet, or large."""
        body = await self.read_body()
        if len(body) <= LARGE:
            intent = endpoint.peek(body, self.head.content_type, default_model=model)
        else:
            intent = await in_steps(endpoint.peek_in_steps(body, self.head.content_type, default_model=model))
        if self._enter(endpoint, intent):
            await self._dispatch()

    def _enter(self, endpoint: Endpoint, intent: Intent) -> bool:
        """Passes through the stages, and makes the call; False if a stage has answered."""
        record, head, runtime = self.record, self.head, self.runtime
        if head.model is not None and head.model != intent.model and runtime.table.knows(head.model):
            intent = intent.asking(head.model)  # Azure, for whose clients such paths are, does not look at the body's
        if intent.stream and not endpoint.streams:
            intent = intent.whole()
        if runtime.stages:
            self._passage = Passage()
            answer = self._passage.enter(runtime.stages, record, intent)
            if answer is not None:
                self.send_json(answer.body)
                return False
        timeout = None if head.timeout is None else client_timeout(head.timeout, runtime.snapshot.server)
        memory = self.gateway.memory(record.key) if endpoint.remembers else None
        self._call = Call(endpoint, intent, record.request_id, head.relayed, timeout=timeout, memory=memory)
        return True

    # --- the first attempt, without a task

    def first_answered(self, first: FirstAttempt, body: bytes | None) -> None:
        """Implements `FirstAttemptOwner`, as does `first_failed`."""
        if body is None:
            self._go_on(self._look_in_steps(first))
            return
        try:
            self._send_first(first, body)
        except Exception as error:
            self._fail(error)
        self._end()

    def first_failed(self, error: Exception) -> None:
        if isinstance(error, GatewayError):
            self._leave_first(error)
            self._go_on(self._dispatch())
        else:
            self._fail(error)
            self._end()

    async def _look_in_steps(self, first: FirstAttempt) -> None:
        try:
            body = await first.body_in_steps()
        except GatewayError as error:
            self._leave_first(error)
            await self._dispatch()
        else:
            self._send_first(first, body)

    def _leave_first(self, error: GatewayError) -> None:
        """The plan goes on behind it. A connection that was closed already was no attempt: it is to be made again."""
        first, self._first = self._first, None
        assert first is not None
        first.leave()
        now = time.monotonic()
        self._call.waited = now - self.record.started
        if not isinstance(error, StaleConnection):
            first.attempt.fail(error, now)

    def _send_first(self, first: FirstAttempt, body: bytes) -> None:
        record, runtime, attempt = self.record, self.runtime, first.attempt
        if runtime.snapshot.server.report_model == "group":
            body = named(body, self._call.intent.model)
        now = time.monotonic()
        self._first = None
        runtime.health.completed(first.target.candidate, now)
        record.status = attempt.status = first.status
        attempt.ended = now
        key = self._call.endpoint.dialect, attempt.group, attempt.deployment
        head: SuccessHead | None = runtime.notes.get(key)
        if head is None:
            head = runtime.notes[key] = SuccessHead(record)
        secrets = first.upstream.secrets
        relayed = lines(secrets.relayed(first.fields)) if first.known is None else first.known.relayed(secrets)
        if self._call.dropped:
            relayed += lines(self._call.told())
        started = record.started
        made = head.render(first.status, relayed, record.request_id, first.sent - started, now - started, len(body))
        self._client.send_made(made, body)
        record.usage = self._call.endpoint.dialect.usage(body)

    # --- what has to wait

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """In a task."""
        self._work = work
        self._task = self._requests.spawn(self._run(), name="request")

    async def _run(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        try:
            await work
        except ClientGone:
            self._left()
        except asyncio.CancelledError:
            if self._interruption is None or self._client.gone:
                self._client.abort()  # if the client is not gone, its task was cancelled from outside
                self._left()
            else:
                self._fail(self._interruption)
        except Exception as error:
            self._fail(error)
        finally:
            self._task = None  # it holds what cancelled it, whose traceback holds this
            self._end()

    async def _dispatch(self) -> None:
        """Asks deployments until one answers, and passes its answer on."""
        call, record, runtime = self._call, self.record, self.runtime
        served = await dispatch(runtime, call, record)
        reply = served.reply
        if runtime.snapshot.server.report_model == "group":
            reply = NamedReply(reply, call.intent.model)
        broken: GatewayError | None = None
        try:
            await self.relay(reply, call.endpoint.dialect, call.waited)
        except GatewayError as error:
            broken = error
            raise
        finally:
            reply.close()
            record.usage = reply.usage
            served.close(broken)

    async def relay(self, reply: Reply, dialect: Dialect, waited: float) -> None:
        """Passes an answer on, for which an upstream was waited for so long."""
        record, client = self.record, self._client
        elapsed = time.monotonic() - record.started
        headers = [*reply.headers, *success_headers(record, elapsed - self._waited - waited, elapsed)]
        record.status = reply.status
        if reply.body is not None:
            client.send(reply.status, headers, reply.body)
            return
        content_type = next((value for name, value in reply.headers if name == "content-type"), "")
        if content_type.startswith(EVENTS):
            self._dialect = dialect
        record.ttft = elapsed
        self._committed = True
        sink = client.start(reply.status, [*headers, *STREAM_HEADERS])
        silence = self.runtime.snapshot.server.stream.keep_alive
        if silence is None or self._dialect is None:
            await reply.pipe(sink)
        else:
            with self._requests.keep_alives.watching(sink, silence) as commented:
                await reply.pipe(commented)
        client.finish()

    # --- the ways out

    def lost(self) -> None:
        """The client has disconnected."""
        if not self._stop():
            self._left()
            self._end()

    def interrupt(self, error: GatewayError) -> None:
        """Ends the request from outside with an error that the client gets."""
        if self._interruption is None:
            self._interruption = error
            if not self._stop():
                self._fail(error)
                self._end()

    def send_json(self, body: bytes) -> None:
        """A whole answer of the gateway's own."""
        self.send(200, [JSON], body)

    def send(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """A whole answer."""
        self.record.status = status
        self._client.send(status, [*headers, ("x-request-id", self.record.request_id), *self._revision()], body)

    def _stop(self) -> bool:
        """Stops the task; whether that ends the request. One that has not begun never will."""
        if self._task is None:
            return False
        self._task.cancel()
        if self._work is None:
            return True
        self._work.close()
        self._work = None
        return False

    def _left(self) -> None:
        self.record.status, self.record.outcome = CLIENT_LEFT, "client_left"

    def _fail(self, error: Exception) -> None:
        """The one place where an error becomes something a client sees."""
        record = self.record
        if not isinstance(error, GatewayError):
            _log.error("request %s failed", record.request_id, exc_info=error)
            error = InternalError("The gateway failed on this request; its log has the request id.")
        record.error = error
        stopping = isinstance(error, ShuttingDown)
        if self._committed:
            record.outcome = "shutdown" if stopping else "broken_stream"
            if (dialect := self._dialect) is not None:
                end_mark = dialect.end_mark if self.runtime.snapshot.server.stream.error_done else b""
                self._client.fail((self._call.error_event or dialect.error_event)(error) + end_mark)
            else:
                self._client.abort()
            return
        record.outcome = "shutdown" if stopping else "rejected" if is_callers(error) else "error"
        record.status, headers, body = failure(error, record)
        self._client.send(record.status, [*headers, *self._revision()], body, last=stopping)

    def _revision(self) -> tuple[Header, ...]:
        return (("x-gatewayd-revision", self.runtime.snapshot.revision),) if self._leased else ()

    def _end(self) -> None:
        """The one end of every request."""
        record, requests = self.record, self._requests
        requests.live.discard(self)
        if self._first is not None:
            self._first.leave()
            self._first = None
        if self._passage is not None:
            self._passage.settle(record)
        if self._leased:
            self.runtime.release()
        now = time.monotonic()
        record.duration = now - record.started
        if record.attempts and record.attempts[-1].ended is None:
            record.attempts[-1].ended = now
        observe(record, requests.observers)
        self._client.done()
