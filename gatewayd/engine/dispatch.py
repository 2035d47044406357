"""One request through the plan: the only place where retries and fallbacks happen. It adds I/O and time to
`routing.plan`, keeps the health book, and writes each attempt into the record.

`FirstAttempt` makes the plan's first attempt without a task, where that is possible. `dispatch` makes all others, and
goes on behind a first one that failed.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from gatewayd.engine.deadline import EXACT_BELOW, Struck
from gatewayd.engine.pinning import out_of_rotation, pinned_deployment
from gatewayd.engine.runtime import Runtime, Target
from gatewayd.errors import GatewayError, NoDeploymentAvailable, UpstreamTimeout
from gatewayd.observe.record import Attempt, Record
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.pick import View
from gatewayd.routing.plan import Step, Try, Wait, first_pick, plan
from gatewayd.routing.table import Group
from gatewayd.upstream.answer import Answer, KnownHead
from gatewayd.upstream.base import Call, Reply, Timeouts
from gatewayd.upstream.convert import open_in_dialect
from gatewayd.upstream.forward import ForwardUpstream, is_heavy
from gatewayd.upstream.transport import Connection
from gatewayd.upstream.vectors import needs_packing, packed
from gatewayd.wire.dialect import EMBEDDINGS

_rng = random.Random()
_EARLY = 0.002
"""Seconds. A timer may be early by so much: libuv counts in milliseconds."""


class FirstAttemptOwner(Protocol):
    """Whose first attempt it is."""

    def first_answered(self, first: FirstAttempt, body: bytes | None) -> None:
        """A good answer has come. Without a body it has to be looked at first, in steps (`body_in_steps`)."""

    def first_failed(self, error: Exception) -> None:
        """There is none. After StaleConnection the attempt is to be made again, and is nobody's fault."""


class FirstAttempt(Answer):
    """An attempt at a whole answer, on an idle connection to a deployment that forwards: two callbacks, no task."""

    __slots__ = (
        "_call", "_due", "_owner", "_runtime", "_upstream_connection", "attempt", "sent", "target", "upstream",
    )  # fmt: skip

    _call: Call
    _due: set[Struck]
    _owner: FirstAttemptOwner
    _runtime: Runtime
    _upstream_connection: Connection
    attempt: Attempt
    sent: float
    """When the request had been sent."""
    target: Target
    upstream: ForwardUpstream

    @classmethod
    def send(cls, owner: FirstAttemptOwner, runtime: Runtime, call: Call, record: Record, view: View) -> Self | None:
        """Sends the call to the plan's first deployment. None if that is not possible at once; then nothing has
        happened. Raises UnknownModel."""
        started = record.started
        chain = runtime.table.chain(call.intent.model)
        candidate = first_pick(chain, runtime.health, started, view)
        if candidate is None:
            return None
        target = runtime.targets[candidate.id]
        upstream = target.upstream
        seconds = min(target.timeouts.total, runtime.snapshot.server.timeouts.total)
        is_native = call.endpoint.dialect.name in target.deployment.dialects
        if not is_native or seconds < EXACT_BELOW or not isinstance(upstream, ForwardUpstream):
            return None
        call.timeouts, call.capture = target.timeouts, chain.first.capture
        first = cls(_NOBODY)
        try:
            connection = upstream.send_now(first, call)
        except Exception:  # `dispatch` comes upon it too, and says so
            return None
        if connection is None:
            return None
        group = chain.first.group
        group.budget.requests += 1
        record.group = group.name
        first.attempt = attempt = Attempt(candidate.id, group.name, started)
        record.attempts.append(attempt)
        runtime.health.started(candidate, started)
        first._due = due = runtime.deadlines.due(seconds, started)
        due.add(first)
        first._owner, first._runtime, first._upstream_connection = owner, runtime, connection
        first._call, first.target, first.upstream = call, target, upstream
        first.sent = time.monotonic()
        return first

    def strike(self) -> None:
        """The time is up."""
        self._owner.first_failed(UpstreamTimeout("The upstream did not answer in time.", kind="total"))

    def leave(self) -> None:
        """The attempt is over, and was no success. Called once, unless it was one."""
        self._due.discard(self)
        self._upstream_connection.drop(self)
        self._runtime.health.left(self.target.candidate, probe=False)

    # --- Answer

    def take(self, connection: Connection, known: KnownHead, body: bytes) -> None:
        self.status, self.known, self.fields, self.body = known.status, known, known.fields, body

    def finish(self, delimited: bool) -> None:
        if self.body is None:
            self._collect(delimited)
        self._due.discard(self)
        if is_heavy(self):
            self._owner.first_answered(self, None)
            return
        try:
            body = self.upstream.whole(self)
            if self._call.endpoint is EMBEDDINGS and needs_packing(self._call, body):
                body = packed(body)
        except Exception as error:
            self._owner.first_failed(error)
        else:
            self._owner.first_answered(self, body)

    async def body_in_steps(self) -> bytes:
        """The body of a heavy answer, if it is a good one; else raises GatewayError."""
        body = await self.upstream.whole_in_steps(self)
        if self._call.endpoint is EMBEDDINGS and needs_packing(self._call, body):
            body = await asyncio.to_thread(packed, body)
        return body

    def fail(self, error: GatewayError) -> None:
        self._owner.first_failed(error)


_NOBODY: Final[Any] = None
"""Waits for a first attempt: its owner is called."""


@dataclass(slots=True)
class Served:
    """A reply, and the deployment that gives it. Whoever holds it calls `close` when the reply is at its end."""

    reply: Reply
    _attempt: Attempt
    _runtime: Runtime
    _target: Target
    _closed: bool = False

    def close(self, error: GatewayError | None = None) -> None:
        """`error` is what broke the answer after its commit point, if anything did."""
        if self._closed:
            return
        self._closed = True
        self._attempt.ended = time.monotonic()
        runtime, target = self._runtime, self._target
        if error is not None:
            _failed(runtime, target, error, self._attempt.group, target.stream_timeouts)
        runtime.health.left(target.candidate, probe=False)  # it has answered, so it is none any more


async def dispatch(runtime: Runtime, call: Call, record: Record) -> Served:
    """Finds a deployment that answers. Raises UnknownModel or the GatewayError the client shall see.

    The attempts are written into `record`. If one is there already, it was a `FirstAttempt`: the plan goes on behind
    it. One without an error is made again.

    Cancelling it cancels the try under way and blames nobody.
    """
    chain = runtime.table.chain(call.intent.model)
    group = record.group = chain.first.group.name
    attempts = record.attempts
    begun = attempts[0] if attempts else None
    health = runtime.health

    pinned = pinned_deployment(runtime, chain, call)

    def available(candidate: Candidate, last_resort: bool = False) -> bool:
        return pinned in (None, candidate.id) and health.available(candidate, time.monotonic(), last_resort)

    def cooling_for(candidate: Candidate) -> float:
        if pinned not in (None, candidate.id):
            return math.inf
        return health.cooling_for(candidate, time.monotonic())

    since = time.monotonic() if begun is None else begun.begun
    deadline = since + (call.timeout or runtime.snapshot.server.timeouts.total)
    steps = plan(
        chain,
        available=available,
        cooling_for=cooling_for,
        may_retry=_may_retry,
        rng=_rng,
        in_flight=health.in_flight,
        retry_after=runtime.snapshot.routing.retry_after,
        begun=None if begun is None else runtime.targets[begun.deployment].candidate,
    )
    if begun is None:
        chain.first.group.budget.requests += 1
    try:
        step: Step = next(steps)
        while True:
            match step:
                case Wait(seconds):
                    since = time.monotonic()
                    until = since + seconds
                    if until >= deadline:
                        raise (attempts[-1].error if attempts else None) or _nobody_in_time(seconds)
                    while (left := until - time.monotonic()) > 0:  # noqa: ASYNC110  # see _EARLY
                        await asyncio.sleep(max(left, _EARLY / 2))
                    call.waited += time.monotonic() - since
                    step = next(steps)
                case Try(hop, candidate):
                    if hop.group.name != group:
                        group = hop.group.name
                        hop.group.budget.requests += 1
                    call.capture, call.dropped, call.error_event = hop.capture, (), None
                    target = runtime.targets[candidate.id]
                    if begun is None:
                        attempt = Attempt(candidate.id, group, time.monotonic())
                        attempts.append(attempt)
                    else:
                        attempt, begun = begun, None
                        call.fresh = attempt.error is None
                    try:
                        if attempt.error is not None:
                            raise attempt.error
                        reply = await _open(runtime, target, call, deadline)
                    except GatewayError as error:
                        attempt.fail(error, time.monotonic())
                        # A model that a pattern let through is the caller's choice: that there is none of that name
                        # says nothing about the deployment.
                        if not (hop.capture and error.status == 404):
                            _failed(runtime, target, error, group, call.timeouts)
                        if time.monotonic() + _EARLY >= deadline or (call.body is not None and call.body.begun):
                            raise
                        step = steps.send(error)
                    else:
                        attempt.status = reply.status
                        return Served(reply, attempt, runtime, target)
    except GatewayError as error:
        if pinned is not None and isinstance(error, NoDeploymentAvailable):
            error.message = out_of_rotation(pinned)
        error.tried = tuple(attempt.deployment for attempt in record.failed)
        raise
    finally:
        steps.close()  # settles a retry that has answered or was cancelled, gives back the place of one that waits


async def _open(runtime: Runtime, target: Target, call: Call, deadline: float) -> Reply:
    """One try, bounded in time. Pairs `started` with `left` unless it returns: then `Served` does."""
    candidate, health = target.candidate, runtime.health
    now = time.monotonic()
    call.timeouts = target.stream_timeouts if call.intent.stream else target.timeouts
    probe = health.started(candidate, now)
    answered = False
    try:
        async with runtime.deadlines.limit(min(call.timeouts.total, deadline - now)):
            reply = await open_in_dialect(target.upstream, target.deployment, call)
        answered = True
    except TimeoutError:
        late = UpstreamTimeout("The upstream did not answer in time.", kind="total")
        if call.timeout is not None and deadline - now < call.timeouts.total:
            late.blames_deployment = False  # only the client was in a hurry: as if it had left
        raise late from None
    finally:
        if not answered:
            health.left(candidate, probe=probe)
    health.succeeded(candidate, time.monotonic())
    return reply


def _may_retry(group: Group) -> bool:
    return group.budget.take(time.monotonic())


def _nobody_in_time(seconds: float) -> GatewayError:
    message = (
        "Every deployment that could answer is cooling down after failures, for longer than the request's timeout."
    )
    return NoDeploymentAvailable(message, retry_after=seconds)


def _failed(runtime: Runtime, target: Target, error: GatewayError, group: str, timeouts: Timeouts) -> None:
    if isinstance(error, UpstreamTimeout) and error.seconds is None:
        error.seconds = getattr(timeouts, error.kind, None)
    peers = runtime.table.candidates(group)
    runtime.health.failed(target.candidate, error, time.monotonic(), peers=peers, policy=runtime.policy)
