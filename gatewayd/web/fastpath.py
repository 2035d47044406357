"""The fast path: calls without streaming whose way is clear are answered without a task, a future or a parser.

Taken is a request whose head is known byte for byte (`gatewayd.wire.heads`), whose body is here, and whose first
deployment forwards and has an idle connection. Its life is two callbacks: the client's bytes lead to `FastPath.take`,
the upstream's to `FastCall.finish`. Whatever else comes (a failed try, a timeout, the end of a drain) makes an ordinary
`Exchange` of it, which goes on where this one stopped; until then nothing has been sent to the client. A request that
is not for the fast path has left no trace in it: it runs as an exchange from its beginning, and if its head is known,
without the parser (streams do).

Every decision is made by the code that the ordinary path uses: `Keyring.admit`, `peek`, `first_pick`, the health book,
`ForwardUpstream.whole`. Why, and what it gives: docs/adr/0013-fast-path.md.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from gatewayd.engine.deadline import EXACT_BELOW, Struck
from gatewayd.engine.runtime import Runtime, Target
from gatewayd.errors import GatewayError, InternalError, UpstreamTimeout
from gatewayd.observe.record import Attempt, Record
from gatewayd.routing.pick import View
from gatewayd.routing.plan import first_pick
from gatewayd.routing.table import Group
from gatewayd.tasks import spawn
from gatewayd.upstream.answer import Answer, KnownHead, lines
from gatewayd.upstream.base import Call
from gatewayd.upstream.forward import ForwardUpstream, is_heavy
from gatewayd.upstream.naming import named
from gatewayd.upstream.response_memory import is_stateless
from gatewayd.upstream.transport import Connection, StaleConnection
from gatewayd.upstream.vectors import needs_packing, packed
from gatewayd.web.exchange import MEGABYTE, Exchange, Exchanges, Held, Responder, Route
from gatewayd.web.known import Inbound, KnownRequest
from gatewayd.web.render import SuccessHead, new_request_id
from gatewayd.wire.dialect import EMBEDDINGS
from gatewayd.wire.heads import HeadCache, split, without_values
from gatewayd.wire.large import LARGE

_log = logging.getLogger("gatewayd.web")

MOST: Final = 64 * 1024
"""Bytes of a request that the fast path takes."""
Taking = Literal["taken", "partial", "unknown"]
"""partial: the rest of the body should be waited for. unknown: the head was never seen, or the body is too large."""
_MOST_DESKS: Final = 256


class Client(Protocol):
    """The connection that a request came on."""

    @property
    def peer(self) -> str: ...

    def taken(self, call: FastCall) -> None:
        """The connection is busy with this call until one of the two below is called."""

    def answer(self, data: bytes, now: float, rest: bytes = b"") -> None:
        """Sends the whole answer, of which a large body is the `rest`; `now` on the loop's clock."""

    def go_on(self, exchange: Exchange, route: Route) -> None:
        """Runs an exchange in the call's place."""

    def run(self, exchange: Exchange, route: Route) -> None:
        """Runs an exchange from its beginning."""

    def responder(self) -> Responder: ...


class Desk:
    """The requests of one caller to one path under one configuration: what their answers have in common. It is kept in
    the runtime's notes and knows nothing of the runtime, which can go when its requests are done."""

    __slots__ = (
        "_endpoint", "_lanes", "_path", "_renames", "_seconds", "caller", "default_model", "limit", "revision",
    )  # fmt: skip

    def __init__(self, known: KnownRequest, caller: str, runtime: Runtime) -> None:
        server, endpoint = runtime.snapshot.server, known.endpoint
        self.default_model = server.default_models.get(endpoint.path)
        self.limit = int(server.limits.body_mb * MEGABYTE)
        self.caller = caller
        self._endpoint = endpoint
        self._path = known.path
        self.revision = runtime.snapshot.revision
        self._seconds = server.timeouts.total
        self._renames = server.report_model == "group"
        self._lanes: dict[tuple[str, str], Lane] = {}

    @classmethod
    def of(cls, known: KnownRequest, runtime: Runtime) -> Desk:
        """Raises GatewayError if the sender is not let in."""
        caller = runtime.keyring.admit(known.credential).name
        key = caller, known.endpoint, known.path
        desk: Desk | None = runtime.notes.get(key)
        if desk is None:
            if len(runtime.notes) >= _MOST_DESKS:  # there are many ways to write a path
                runtime.notes.clear()
            desk = runtime.notes[key] = cls(known, caller, runtime)
        return desk

    def lane(self, group: Group, target: Target) -> Lane | None:
        """None if this deployment is not for the fast path."""
        key = group.name, target.candidate.id
        lane = self._lanes.get(key)
        seconds = min(target.timeouts.total, self._seconds)
        if self._endpoint.dialect.name not in target.deployment.dialects:
            return None
        if lane is None and isinstance(target.upstream, ForwardUpstream) and seconds >= EXACT_BELOW:
            attempt = Attempt(target.candidate.id, group.name, 0.0, status=200)
            head = SuccessHead(Record(path=self._path, revision=self.revision, group=group.name, attempts=[attempt]))
            lane = Lane(group, target, target.upstream, head, seconds, self._renames, self.caller, self.revision)
            self._lanes[key] = lane
        return lane


@dataclass(frozen=True, slots=True)
class Lane:
    """One deployment, asked by one kind of client: what does not change from one answer to the next."""

    group: Group
    target: Target
    upstream: ForwardUpstream
    head: SuccessHead
    seconds: float
    """The longest that one try may take."""
    renames: bool
    """Whether answers name the model group."""
    caller: str
    revision: str


class FastPath:
    """All known requests of a data listener."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._view = View(random.Random(), exchanges.gateway.health.in_flight)
        self._known: HeadCache[KnownRequest] = HeadCache(4 * 1024 * 1024)

    def knows(self, key: bytes) -> bool:
        varying = without_values(key)
        return (key if varying is None else varying[0]) in self._known

    def remember(self, key: bytes, known: KnownRequest) -> None:
        """A head with this key (`wire.heads.split`) says this. Heads of those who are not let in are not kept."""
        try:
            Desk.of(known, self._exchanges.gateway.current)
        except GatewayError:
            return
        varying = without_values(key)
        self._known.remember(key if varying is None else varying[0], known)

    def take(self, client: Client, data: bytes) -> Taking:
        """Takes the request that `data` begins, if it can."""
        found = split(data)
        if found is None:
            return "unknown"
        key, at, length = found
        known = self._known.get(key)
        if known is None:
            varying = without_values(key)
            alike = None if varying is None else self._known.get(varying[0])
            if varying is None or alike is None:
                return "unknown"
            known = alike.varied(varying[1])
        if len(data) - at != length or at + length > MOST:
            return "partial" if len(data) - at < length and at + length <= MOST else "unknown"
        body = data[at:]
        if not self.begin(client, known, body):
            inbound = Inbound(known.path, known.headers, client.peer, body)
            client.run(Exchange(self._exchanges, inbound, client.responder()), known.route)
        return "taken"

    def begin(self, client: Client, known: KnownRequest, body: bytes) -> bool:
        """Whether a request with this body is taken."""
        if len(body) > MOST:
            return False
        try:
            fast = self._prepared(client, known, body)
        except Exception:  # whatever it is, the ordinary path comes upon it too, and says so
            return False
        return fast is not None and fast.send()

    def _prepared(self, client: Client, known: KnownRequest, body: bytes) -> FastCall | None:
        started = time.monotonic()
        gateway = self._exchanges.gateway
        runtime = gateway.current
        desk = Desk.of(known, runtime)
        if gateway.draining or runtime.stages or len(body) > desk.limit:
            return None
        intent = known.endpoint.dialect.peek(body, default_model=desk.default_model)
        if intent.stream or (known.endpoint.remembers and not is_stateless(intent)):
            return None
        chain = runtime.table.chain(intent.model)
        candidate = first_pick(chain, runtime.health, started, self._view)
        if candidate is None:
            return None
        target = runtime.targets[candidate.id]
        lane = desk.lane(chain.first.group, target)
        if lane is None:
            return None
        call = Call(known.endpoint, intent, "", known.relayed, target.timeouts, chain.first.capture)
        return FastCall(self._exchanges, runtime, client, known, lane, call, started)


class FastCall(Answer):
    """One call under way: what its upstream answers, and what becomes of it (`web.exchange.UnderWay`)."""

    __slots__ = (
        "_call", "_client", "_due", "_exchanges", "_known", "_lane", "_runtime", "_sent", "_task", "_upstream",
        "record",
    )  # fmt: skip

    def __init__(
        self,
        exchanges: Exchanges,
        runtime: Runtime,
        client: Client,
        known: KnownRequest,
        lane: Lane,
        call: Call,
        started: float,
    ) -> None:
        super().__init__(_NOBODY)
        self._exchanges = exchanges
        self._client = client
        self._known = known
        self._runtime = runtime
        self._lane = lane
        self._call = call
        self._sent = started
        told = known.request_id
        group = lane.group.name
        self.record = Record(
            told or new_request_id(), started, "model", "POST", known.path, client.peer, told is not None, lane.caller,
            lane.revision, group, [Attempt(lane.target.candidate.id, group, started)],
        )  # fmt: skip
        self._task: asyncio.Task[None] | None = None
        self._due: set[Struck]
        self._upstream: Connection

    def send(self) -> bool:
        """False if there is no idle connection, or the call cannot be written; then nothing has happened."""
        try:
            upstream = self._lane.upstream.send_now(self, self._call)
        except Exception:  # the ordinary path comes upon it too, and says so
            upstream = None
        if upstream is None:
            return False
        self._upstream = upstream
        runtime, target = self._runtime, self._lane.target
        runtime.__enter__()
        self._lane.group.budget.requests += 1
        runtime.health.started(target.candidate, self.record.started)
        self._due = runtime.deadlines.due(self._lane.seconds, self.record.started)
        self._due.add(self)
        self._exchanges.live.add(self)
        self._client.taken(self)
        self._sent = time.monotonic()
        return True

    # --- Answer

    def take(self, connection: Connection, known: KnownHead, body: bytes) -> None:
        self.status, self.known, self.fields, self.body = known.status, known, known.fields, body

    def finish(self, delimited: bool) -> None:
        if self.body is None:
            self._collect(delimited)
        if is_heavy(self):
            self._task = spawn(self._finish_in_steps(), name="look at a large answer")
            return
        try:
            body = self._lane.upstream.whole(self)
            if self._call.endpoint is EMBEDDINGS and needs_packing(self._call, body):
                body = packed(body)
        except GatewayError as error:
            self._go_on(error)
        except Exception as error:
            self._fail(error)
        else:
            self._answer(body)

    async def _finish_in_steps(self) -> None:
        try:
            body = await self._lane.upstream.whole_in_steps(self)
            if self._call.endpoint is EMBEDDINGS and needs_packing(self._call, body):
                body = await asyncio.to_thread(packed, body)
        except GatewayError as error:
            self._task = None
            self._go_on(error)
        except Exception as error:
            self._task = None
            self._fail(error)
        else:
            self._task = None
            self._answer(body)

    def _fail(self, error: Exception) -> None:
        _log.error("a request failed", exc_info=error)
        self._go_on(InternalError("The gateway failed on this request; its log has the request id."))

    def fail(self, error: GatewayError) -> None:
        if isinstance(error, StaleConnection):  # nobody is to blame, and nothing was tried
            self.record.attempts.clear()
            self._client.go_on(self._exchange(again=True), self._known.route)
        else:
            self._go_on(error)

    # --- what else may happen

    def strike(self) -> None:
        """The time is up."""
        self._upstream.drop(self)
        self._go_on(UpstreamTimeout("The upstream did not answer in time.", kind="total"))

    def interrupt(self, error: GatewayError) -> None:
        self._upstream.drop(self)
        exchange = self._exchange()
        exchange.interrupt(error)
        self._client.go_on(exchange, self._known.route)

    def client_left(self) -> None:
        self._upstream.drop(self)
        self._exchange().left()

    # --- inside

    def _answer(self, body: bytes) -> None:
        self._leave()
        lane, runtime, client = self._lane, self._runtime, self._client
        if lane.renames:
            body = named(body, self._call.intent.model)
        now = time.monotonic()
        runtime.health.completed(lane.target.candidate, now)
        record = self.record
        record.status = record.attempts[0].status = self.status
        record.attempts[0].ended = now
        secrets = lane.upstream.secrets
        relayed = lines(secrets.relayed(self.fields)) if self.known is None else self.known.relayed(secrets)
        if self._call.dropped:
            relayed += lines(self._call.told())
        started = record.started
        head = lane.head.render(self.status, relayed, record.request_id, self._sent - started, now - started, len(body))
        runtime.__exit__(None, None, None)
        if len(body) <= LARGE:
            client.answer(head + body, now)
        else:
            client.answer(head, now, body)  # to join them would take as long as all the rest
        record.usage = self._call.endpoint.dialect.usage(body)
        self._exchanges.ended(record, now)

    def _go_on(self, error: GatewayError) -> None:
        self.record.attempts[0].fail(error, time.monotonic())
        self._client.go_on(self._exchange(), self._known.route)

    def _exchange(self, *, again: bool = False) -> Exchange:
        """The request as an exchange, on which the runtime's lease goes over."""
        self._leave()
        runtime, target = self._runtime, self._lane.target
        runtime.health.left(target.candidate, probe=False)
        known, client = self._known, self._client
        held = Held(runtime, self.record, again)
        inbound = Inbound(known.path, known.headers, client.peer, self._call.intent.body)
        return Exchange(self._exchanges, inbound, client.responder(), held)

    def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._exchanges.live.discard(self)
        self._due.discard(self)


_NOBODY: Any = None
"""Waits for a fast call: `finish` and `fail` say what becomes of it."""
