"""One request through the plan: the only place where retries and fallbacks happen. It adds I/O and time to
`routing.plan`, keeps the health book, and leaves a trail of what was tried.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from gatewayd.config.snapshot import Deployment
from gatewayd.engine.runtime import Runtime, Target
from gatewayd.errors import GatewayError, NoDeploymentAvailable, UpstreamStatus, UpstreamTimeout
from gatewayd.observe.access import FailedTry
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.plan import Step, Try, Wait, plan
from gatewayd.routing.table import Group
from gatewayd.upstream.base import Call, Reply, Timeouts

_rng = random.Random()
_EARLY = 0.002
"""Seconds. A timer may be early by so much: libuv counts in milliseconds."""


@dataclass(slots=True)
class Trail:
    """What happened to one request, for headers, the access record and metrics. Whoever made it calls `close`."""

    group: str = ""
    """The group that was asked for (a pattern or an alias already resolved)."""
    answered_by: str = ""
    """The group that answered; "" while none has."""
    deployment: Deployment | None = None
    """The deployment that answered."""
    attempts: int = 0
    fallbacks: int = 0
    """Fallback groups in which something was tried."""
    errors: list[tuple[str, GatewayError]] = field(default_factory=list)
    """(deployment id, error) of every failed try, in order."""
    _runtime: Runtime | None = None
    _target: Target | None = None

    @property
    def retries(self) -> int:
        """Tries after the first one of their group."""
        return max(0, self.attempts - 1 - self.fallbacks)

    @property
    def failed(self) -> tuple[FailedTry, ...]:
        """The failed tries, in order."""
        return tuple(
            FailedTry(name, error.code, error.reason, error.status if isinstance(error, UpstreamStatus) else None)
            for name, error in self.errors
        )

    def close(self, error: GatewayError | None = None) -> None:
        """The request is over. `error` is what broke the answer after its commit point, if anything did."""
        runtime, target = self._runtime, self._target
        if runtime is None or target is None:
            return
        self._runtime = self._target = None
        if error is not None:
            _failed(runtime, target, error, self.answered_by, target.stream_timeouts)
        runtime.health.left(target.candidate, probe=False)  # it has answered, so it is none any more


@dataclass(frozen=True, slots=True)
class Begun:
    """A first try that was made elsewhere, by `routing.plan.first_pick`, and has failed."""

    target: Target
    error: GatewayError
    since: float
    """When it began, `time.monotonic()`."""


async def dispatch(runtime: Runtime, call: Call, trail: Trail, begun: Begun | None = None) -> Reply:
    """Finds a deployment that answers. Raises UnknownModel or the GatewayError the client shall see.

    Cancelling it cancels the try under way and blames nobody.
    """
    chain = runtime.table.chain(call.intent.model)
    trail.group = chain.first.group.name
    health = runtime.health

    def available(candidate: Candidate, last_resort: bool = False) -> bool:
        return health.available(candidate, time.monotonic(), last_resort)

    def cooling_for(candidate: Candidate) -> float:
        return health.cooling_for(candidate, time.monotonic())

    since = time.monotonic() if begun is None else begun.since
    deadline = since + (call.timeout or runtime.snapshot.server.timeouts.total)
    steps = plan(
        chain,
        available=available,
        cooling_for=cooling_for,
        may_retry=_may_retry,
        rng=_rng,
        in_flight=health.in_flight,
        retry_after=runtime.snapshot.routing.retry_after,
        begun=None if begun is None else begun.target.candidate,
    )
    group = trail.group
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
                        raise trail.errors[-1][1] if trail.errors else _nobody_in_time(seconds)
                    while (left := until - time.monotonic()) > 0:  # noqa: ASYNC110  # see _EARLY
                        await asyncio.sleep(max(left, _EARLY / 2))
                    call.waited += time.monotonic() - since
                    step = next(steps)
                case Try(hop, candidate):
                    if hop.group.name != group:
                        group = hop.group.name
                        trail.fallbacks += 1
                        hop.group.budget.requests += 1
                    call.capture, call.dropped = hop.capture, ()
                    target = runtime.targets[candidate.id]
                    trail.attempts += 1
                    try:
                        if begun is not None:
                            error, begun = begun.error, None
                            raise error
                        reply = await _open(runtime, target, call, deadline)
                    except GatewayError as error:
                        trail.errors.append((candidate.id, error))
                        # A model that a pattern let through is the caller's choice: that there is none of that name
                        # says nothing about the deployment.
                        if not (hop.capture and error.status == 404):
                            _failed(runtime, target, error, group, call.timeouts)
                        if time.monotonic() + _EARLY >= deadline:
                            raise
                        step = steps.send(error)
                    else:
                        trail.answered_by, trail.deployment = group, target.deployment
                        trail._runtime, trail._target = runtime, target
                        return reply
    except GatewayError as error:
        error.tried = tuple(name for name, _ in trail.errors)
        raise
    finally:
        steps.close()  # settles a retry that has answered or was cancelled, gives back the place of one that waits


async def _open(runtime: Runtime, target: Target, call: Call, deadline: float) -> Reply:
    """One try, bounded in time. Pairs `started` with `left` unless it returns: then the trail does."""
    candidate, health = target.candidate, runtime.health
    now = time.monotonic()
    call.timeouts = target.stream_timeouts if call.intent.stream else target.timeouts
    probe = health.started(candidate, now)
    answered = False
    try:
        async with runtime.deadlines.limit(min(call.timeouts.total, deadline - now)):
            reply = await target.upstream.open(call)
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
