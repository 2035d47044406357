"""One request through the plan: the only place where retries and fallbacks happen. It adds I/O and time to
`routing.plan`, keeps the health book, and writes each attempt into the record.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from gatewayd.engine.runtime import Runtime, Target
from gatewayd.errors import GatewayError, NoDeploymentAvailable, UpstreamTimeout
from gatewayd.observe.record import Attempt, Record
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.plan import Step, Try, Wait, plan
from gatewayd.routing.table import Group
from gatewayd.upstream.base import Call, Reply, Timeouts
from gatewayd.upstream.convert import open_in_dialect

_rng = random.Random()
_EARLY = 0.002
"""Seconds. A timer may be early by so much: libuv counts in milliseconds."""


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

    The attempts are written into `record`. If one is there already, it was made elsewhere, by
    `routing.plan.first_pick`, and has failed: the plan goes on behind it.

    Cancelling it cancels the try under way and blames nobody.
    """
    chain = runtime.table.chain(call.intent.model)
    group = record.group = chain.first.group.name
    attempts = record.attempts
    begun = attempts[0] if attempts else None
    health = runtime.health

    pinned = None if call.memory is None else call.memory.deployment_of(call.intent)

    def available(candidate: Candidate, last_resort: bool = False) -> bool:
        if pinned is not None and candidate.id != pinned:  # the response that it goes on with is there
            return False
        return health.available(candidate, time.monotonic(), last_resort)

    def cooling_for(candidate: Candidate) -> float:
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
    step: Step = next(steps)
    try:
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
                    call.capture, call.dropped = hop.capture, ()
                    target = runtime.targets[candidate.id]
                    if begun is None:
                        attempt = Attempt(candidate.id, group, time.monotonic())
                        attempts.append(attempt)
                    else:
                        attempt, begun = begun, None
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
                        if time.monotonic() + _EARLY >= deadline:
                            raise
                        step = steps.send(error)
                    else:
                        attempt.status = reply.status
                        return Served(reply, attempt, runtime, target)
    except GatewayError as error:
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
