"""Which deployment next: the whole retry and fallback policy as one generator without I/O and without a clock.

`plan` yields *Try(candidate)* and is sent the error, or None when it answered; it yields *Wait(seconds)* and is sent
None. It returns after a success. When there is nothing left to try, it raises the error for the client.

The rules, in the order in which they apply:
  1. The requested group is tried first, then the fallback groups of the list that its failure asks for.
  2. Inside a group: the lowest `order` that has a candidate left, picked by weight; no candidate twice while another
     is left.
  3. A group gets at most `num_retries` + 1 tries, and no retry that the budget of all its requests refuses. When all
     candidates were tried and tries are left, the plan waits and starts over with those whose failure a wait can fix
     (those that come back untried first). It waits longer if failures of other requests have prolonged their cooldowns.
     When there is no retry left, each `order` that was not reached gets one try: it is what the group falls back to.
  4. The plan does not wait long while a fallback group is left, because a fallback is faster.
  5. The caller's own mistake (FATAL) ends everything if the requested group reports it. In a fallback group it ends
     only that group, because the request was right for the model that the client named.
  6. While a deployment is probed after its cooldown, no other request joins the probe. Others use another deployment.
     If there is none (for a retry, or in an `order` not reached), they wait for its outcome, at most a few seconds.
  7. A request that finds every deployment cooling down waits up to ARRIVAL_WAIT for the first one to come back, if no
     fallback group is left: a short wait costs the caller less than an error. MOST_WAITING of a group do so at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from gatewayd.errors import FallbackKind, GatewayError, NoDeploymentAvailable, Verdict
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.health import HealthBook
from gatewayd.routing.pick import View
from gatewayd.routing.table import Chain, Group, Hop

BACKOFF_FIRST = 0.5
BACKOFF_MAX = 8.0
"""Seconds; doubled from try to try, times a random factor of 0.75 to 1 (the figures of litellm and of OpenAI's SDK)."""
WAIT_WITH_FALLBACK = 1.0
"""Longest wait, seconds, for another try in a group while a fallback group is left."""
ARRIVAL_WAIT = 5.0
"""Longest wait, seconds, for the first try in a group, probes included."""
MOST_WAITING = 100
"""Requests of a group that wait for their first try: when it comes, all of them are sent at nearly the same time."""
WAIT_MAX = 60.0
"""Longest wait at all. If more is needed, the client gets the error and its Retry-After."""
_MOMENT = 0.001
_GROWTH = 1.25
PROBE_FIRST = 0.05
PROBE_LOOKS = 6
"""How requests that wait for a probe look at it: after so many seconds, then twice as many, ... (with the random factor
about 2.8 in all). An upstream that has not refused the probe by then is working on it."""


@dataclass(frozen=True, slots=True)
class Try:
    hop: Hop
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Step = Try | Wait
Levels = Sequence[Sequence[Candidate]]
_Search = Generator[Step, GatewayError | None, list[Candidate]]
_ENDS_THE_GROUP = frozenset({Verdict.FATAL, Verdict.NEXT_GROUP})


class Available(Protocol):
    """Whether a candidate may be picked; `last_resort` also admits one that another request is probing."""

    def __call__(self, candidate: Candidate, last_resort: bool = False) -> bool: ...


def plan(
    chain: Chain,
    *,
    available: Available,
    cooling_for: Callable[[Candidate], float],
    rng: Random,
    may_retry: Callable[[Group], bool] = lambda group: True,
    retry_after: float = 0.0,
    in_flight: Callable[[Candidate], int] = lambda candidate: 0,
    begun: Candidate | None = None,
) -> Generator[Step, GatewayError | None, None]:
    """See the module. `available` and `cooling_for` (seconds) are asked anew before every try, `may_retry` (which
    takes from the group's budget) before every retry. `in_flight` is for strategies that look at the load.

    `begun` is a candidate that `first_pick` has found, and that has been tried already. `retry_after`
    is the configured least wait before a group starts over, in seconds. Raises GatewayError.
    """
    view = View(rng, in_flight)
    shown: GatewayError | None = None
    kind = FallbackKind.GENERAL
    hops: tuple[Hop, ...] = (chain.first,)
    index = 0
    while index < len(hops):
        hop = hops[index]
        is_first = index == 0
        # Only a failure of the general kind can be waited for: the others end the group.
        more = _fallbacks(chain, kind) if is_first else hops[index + 1 :]
        attempt = _GroupAttempt(hop, bool(more), available, cooling_for, may_retry, view, retry_after)
        error = yield from attempt.tries(begun if is_first else None)
        if attempt.answered:
            return
        if error is not None:
            if is_first and error.verdict is Verdict.FATAL:
                raise error
            shown = shown or error
            if is_first:
                kind = error.fallback
        if is_first:
            hops += _fallbacks(chain, kind)
        index += 1
    if shown is not None and shown.retry_after is not None:
        # The time until the first deployment comes back, not until the last one does.
        others = [seconds for c in chain.first.group.candidates if (seconds := cooling_for(c)) > 0]
        shown.retry_after = min([shown.retry_after, *others])
    if shown is None:
        shown = _all_cooling([c for hop in hops for c in hop.group.candidates], cooling_for)
    raise shown


def first_pick(chain: Chain, health: HealthBook, now: float, view: View) -> Candidate | None:
    """What the first step of a plan would try; None if that is not just a pick (all are cooling, or one is probed)."""
    group = chain.first.group
    levels = group.levels
    if levels and health.all_well(now):
        return group.pick(levels[0], view)
    for level in levels:
        if left := [candidate for candidate in level if health.available(candidate, now)]:
            candidate = group.pick(left, view)
            return None if health.is_half_open(candidate) else candidate
    return None


@dataclass(slots=True, eq=False)
class _GroupAttempt:
    """What one request does in one group: what it tries, and after each failure, what it tries next.

    The generators that return candidates wait for them if need be, and return none if waiting does not help.
    """

    hop: Hop
    has_fallback: bool
    available: Available
    cooling_for: Callable[[Candidate], float]
    may_retry: Callable[[Group], bool]
    view: View
    retry_after: float
    answered: bool = False
    tried: set[str] = field(default_factory=set)
    """Ids."""
    unretryable: set[str] = field(default_factory=set)
    """Those of them whose failure no wait can fix."""
    tried_this_round: set[str] = field(default_factory=set)
    """These, and those tried since the last wait."""
    own_retry_after: dict[str, float] = field(default_factory=dict)
    """Seconds until each may be tried again, where only its last error says so."""
    unreached: Levels = ()
    tries_left: int = 0
    granted: bool = False
    """There is a retry that the budget has granted and that is not settled."""
    waits: int = 0
    waited: float = 0.0
    """Seconds, before the group was started over last."""
    named: bool = False
    """The last error said when to come back."""
    longest: float = 0.0
    patience: float = 0.0
    """What is left of `longest` for the next try."""

    def __post_init__(self) -> None:
        self.unreached = self.hop.group.levels
        self.tries_left = self.hop.group.num_retries + 1
        self.longest = WAIT_WITH_FALLBACK if self.has_fallback else WAIT_MAX

    def tries(self, begun: Candidate | None) -> Generator[Step, GatewayError | None, GatewayError | None]:
        """All tries in the group. Returns the last error; None if no candidate was tried, or one has `answered`."""
        error: GatewayError | None = None
        candidates = [begun] if begun else (yield from self._arrive())
        try:
            while candidates:
                candidate = self.hop.group.pick(candidates, self.view)
                error = yield Try(self.hop, candidate)
                self._settle(failed=error is not None)
                if error is None:
                    self.answered = True
                    break
                self._failed(candidate, error)
                if error.verdict in _ENDS_THE_GROUP:
                    break
                candidates = yield from self._after_a_failure()
        finally:
            self._settle(failed=False)  # a retry that was not needed, or the plan is dropped
        return error

    def _arrive(self) -> _Search:
        """The first ones to choose from, after a wait if all are cooling down only for a moment."""
        group = self.hop.group
        self.patience = ARRIVAL_WAIT
        left = yield from self._available_or_probed(group.levels)
        while not left and not self.has_fallback and group.queue.waiting < MOST_WAITING:
            if (seconds := self._next_end()) is None:
                break
            group.queue.waiting += 1
            try:
                yield from self._wait(seconds)
            finally:
                group.queue.waiting -= 1
            left = yield from self._available_or_probed(group.levels)
        return left

    def _failed(self, candidate: Candidate, error: GatewayError) -> None:
        self.tries_left -= 1
        self.named = bool(error.retry_after)
        self.unreached = [level for level in self.unreached if level[0].order != candidate.order]
        self.tried.add(candidate.id)
        self.tried_this_round.add(candidate.id)
        # A candidate with a recorded cooldown is tried again when that is over, however long other tries have taken.
        self.own_retry_after[candidate.id] = 0.0 if self.cooling_for(candidate) else error.retry_after or 0.0
        if error.verdict is Verdict.ELSEWHERE:
            self.unretryable.add(candidate.id)

    def _after_a_failure(self) -> _Search:
        """With a retry: those left, or all again after a wait. Without one: an order that was not reached."""
        levels = self.hop.group.levels
        if self.tries_left > 0:
            if left := self._left(levels):
                if self._grant():
                    return left
            elif self.tried <= self.unretryable:  # none to start over with
                if not self.has_fallback and self._left(levels, last_resort=True) and self._grant():
                    return (yield from self._available_or_probed(levels))
            elif (seconds := self._rest()) <= self.longest and self._grant():
                return (yield from self._start_over(seconds))
        return (yield from self._available_or_probed(self.unreached))

    def _start_over(self, seconds: float) -> _Search:
        """After so many seconds; more if failures of other requests have prolonged the cooldowns meanwhile."""
        self.patience = self.longest
        yield from self._wait(seconds)
        self.waits += 1
        self.waited = seconds
        self.tried_this_round = set(self.unretryable)
        while not (left := (yield from self._available_or_probed(self.hop.group.levels))):
            if (more := self._next_end()) is None:
                break
            yield from self._wait(more)
            self.waited += more
        return left

    def _available_or_probed(self, levels: Levels) -> _Search:
        """Those available. If there are none and no fallback group: those of which one is probed, when the probe has
        succeeded, or has taken so long that joining it is better than an error."""
        if (left := self._left(levels)) or self.has_fallback:
            return left
        for look in range(PROBE_LOOKS):
            if not self._left(levels, last_resort=True):
                return []
            yield from self._wait(PROBE_FIRST * 2.0**look * (1 - 0.25 * self.view.rng.random()))
            if left := self._left(levels):
                return left
        return self._left(levels, last_resort=True)

    def _wait(self, seconds: float) -> Generator[Step, GatewayError | None, None]:
        self.patience -= seconds
        yield Wait(seconds)

    def _left(self, levels: Levels, *, last_resort: bool = False) -> list[Candidate]:
        """Those of the lowest `order` that has any left; those tried before the wait if there are no others."""
        for without in (self.tried, self.tried_this_round):
            for level in levels:
                if left := [c for c in level if c.id not in without and self.available(c, last_resort)]:
                    return left
        return []

    def _rest(self) -> float:
        """How long to wait before starting over: until the first may be asked again, and no less than the back-off."""
        backoff = min(BACKOFF_FIRST * 2.0**self.waits, BACKOFF_MAX) * (1 - 0.25 * self.view.rng.random())
        if not self.named:  # then waits grow, also behind a cooldown that another request's failure has caused
            backoff = max(backoff, min(_GROWTH * self.waited, BACKOFF_MAX))
        rests = (
            self.cooling_for(c) or self.own_retry_after.get(c.id, 0.0)
            for c in self.hop.group.candidates
            if c.id not in self.unretryable
        )
        return max(backoff, self.retry_after, min(rests))

    def _next_end(self) -> float | None:
        """When none is left: seconds until the first cooldown ends, None if that is too long or none is cooling. A
        cooldown that has ended since the last look makes the shortest of waits."""
        times = [self.cooling_for(c) for c in self.hop.group.candidates if c.id not in self.unretryable]
        soonest = min((seconds for seconds in times if seconds > 0), default=0.0)
        if not soonest and self._left(self.hop.group.levels, last_resort=True):
            soonest = _MOMENT
        return soonest if 0 < soonest <= self.patience else None

    def _grant(self) -> bool:
        self.granted = self.may_retry(self.hop.group)
        return self.granted

    def _settle(self, *, failed: bool) -> None:
        if self.granted:
            self.granted = False
            self.hop.group.budget.settle(failed=failed)


def _fallbacks(chain: Chain, kind: FallbackKind) -> tuple[Hop, ...]:
    """The list for this kind of failure; a special kind without a list of its own uses the general one (litellm)."""
    return chain.fallbacks.get(kind) or chain.fallbacks.get(FallbackKind.GENERAL, ())


def _all_cooling(candidates: Sequence[Candidate], cooling_for: Callable[[Candidate], float]) -> GatewayError:
    times = [seconds for c in candidates if (seconds := cooling_for(c)) > 0]
    return NoDeploymentAvailable(
        "Every deployment that could answer is cooling down after failures; try again later.",
        retry_after=min(times, default=1.0),
    )
