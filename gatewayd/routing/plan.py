"""Which deployment next: the whole retry and fallback policy as one generator without I/O and without a clock.

`plan` yields *Try(candidate)* and is sent the error, or None when it answered; it yields *Wait(seconds)* and is sent
None. It returns after a success and raises the error the client shall see when there is nothing left to try.

The rules, in the order a reader meets them:
  1. The group asked for is tried first, then the fallback groups of the list that its failure asks for.
  2. Inside a group: the lowest `order` that has somebody left, picked by weight; nobody twice while another is left.
  3. A group gets at most `num_retries` + 1 tries, and no retry that the budget of all its requests refuses. When
     everybody was tried and tries are left, wait and start over with those whose failure a wait can mend, and wait on
     if the failures of others have made them rest for longer. When there is no retry any more, each `order` that was
     not reached gets one try: it is what the group falls back to.
  4. A long wait is not worth it while a fallback group is left: the client would pay for the upstream's trouble.
  5. The caller's own mistake (FATAL) ends everything when the group asked for says so. From a fallback group it only
     ends that group: the request was right for the model the client named.
  6. While a deployment is probed after its cooldown, nobody joins the probe: others go elsewhere, and where there is
     nobody else they wait for its outcome, but no more than a few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from gatewayd.errors import FallbackKind, GatewayError, NoDeploymentAvailable, Verdict
from gatewayd.routing.health import HealthBook
from gatewayd.routing.pick import simple_shuffle
from gatewayd.routing.table import Candidate, Chain, Group, Hop

BACKOFF_FIRST = 0.5
BACKOFF_MAX = 8.0
"""Seconds; doubled from try to try, times a random factor of 0.75 to 1 (the figures of litellm and of OpenAI's SDK)."""
WAIT_WITH_FALLBACK = 1.0
"""Longest wait, seconds, for another try in a group while a fallback group is left."""
WAIT_MAX = 60.0
"""Longest wait at all: a client is told to come back instead."""
PROBE_FIRST = 0.05
PROBE_LOOKS = 6
"""How those who wait for a probe look at it: after so many seconds, then twice as many, ... (with the random factor
about 2.8 in all). An upstream that has not refused the probe by then is working on it."""


@dataclass(frozen=True, slots=True)
class Try:
    hop: Hop
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Step = Try | Wait
Pick = Callable[[Sequence[Candidate], Random], Candidate]


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
    pick: Pick = simple_shuffle,
    begun: Candidate | None = None,
) -> Generator[Step, GatewayError | None, None]:
    """See the module. `available` and `cooling_for` (seconds) are asked anew before every try, `may_retry` (which
    takes from the group's budget) before every retry.

    `begun` is a candidate that `first_pick` has found, with which the first try has been made already. `retry_after`
    is the configured least wait before a group starts over, in seconds. Raises GatewayError.
    """
    shown: GatewayError | None = None
    kind = FallbackKind.GENERAL
    hops: tuple[Hop, ...] = (chain.first,)
    index = 0
    while index < len(hops):
        hop = hops[index]
        is_first = index == 0
        more = chain.fallbacks if is_first else hops[index + 1 :]
        first = begun if is_first else None
        error = yield from _try_group(hop, bool(more), available, cooling_for, may_retry, rng, retry_after, pick, first)
        if error is _ANSWERED:
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
        # Not when the last one may be asked again, but when the first one may.
        others = [seconds for c in chain.first.group.candidates if (seconds := cooling_for(c)) > 0]
        shown.retry_after = min([shown.retry_after, *others])
    if shown is None:
        shown = _all_cooling([c for hop in hops for c in hop.group.candidates], cooling_for)
    raise shown


def first_pick(chain: Chain, health: HealthBook, now: float, rng: Random) -> Candidate | None:
    """What the first step of a plan would try; None if there is more to it than a pick (all rest, or one is probed)."""
    levels = chain.first.group.levels
    if levels and health.all_well(now):
        return simple_shuffle(levels[0], rng)
    for level in levels:
        if left := [candidate for candidate in level if health.available(candidate, now)]:
            candidate = simple_shuffle(left, rng)
            return None if health.in_probation(candidate) else candidate
    return None


class _Answered(GatewayError):
    """Marks success inside this module; never raised."""


_ANSWERED = _Answered("")


def _try_group(
    hop: Hop,
    has_fallback: bool,
    available: Available,
    cooling_for: Callable[[Candidate], float],
    may_retry: Callable[[Group], bool],
    rng: Random,
    retry_after: float,
    pick: Pick,
    begun: Candidate | None,
) -> Generator[Step, GatewayError | None, GatewayError | None]:
    """All tries in one group; the last error, None when nobody could be tried, `_ANSWERED` on success."""
    tried: set[str] = set()
    hopeless: set[str] = set()
    told: dict[str, float] = {}  # when each may be asked again, as its last error said
    error: GatewayError | None = None
    rounds = 0
    tries_left = hop.group.num_retries + 1
    deepest = -math.inf  # the last `order` that was reached
    longest = WAIT_WITH_FALLBACK if has_fallback else WAIT_MAX
    granted = False
    try:
        while True:
            if begun is not None:
                candidates, begun = [begun], None
            else:
                candidates = _left(hop, tried, available) if tries_left > 0 else []
            seconds = 0.0
            if error is not None:
                if tries_left > 0 and not candidates:
                    rests = (
                        cooling_for(c) or told.get(c.id, 0.0) for c in hop.group.candidates if c.id not in hopeless
                    )
                    seconds = max(_backoff(rounds, rng), retry_after, min(rests, default=0.0))
                    if not (tried - hopeless) or seconds > longest:
                        return error
                granted = tries_left > 0 and may_retry(hop.group)
                if not granted:
                    seconds, candidates = 0.0, _left(hop, tried, available, deepest)
                    if not candidates:
                        return error
            if seconds:
                yield Wait(seconds)
                rounds += 1
                tried = set(hopeless)
                candidates = _left(hop, tried, available)
            patience = 0.0 if error is None else longest - seconds
            while not candidates:
                if not has_fallback:
                    candidates = yield from _behind_a_probe(hop, tried, available, rng)
                if not candidates:
                    if not 0 < (seconds := _cooling(hop, tried, cooling_for)) <= patience:
                        return error
                    yield Wait(seconds)
                    patience -= seconds
                    candidates = _left(hop, tried, available)
            candidate = pick(candidates, rng)
            tries_left -= 1
            deepest = max(deepest, candidate.order)
            error = yield Try(hop, candidate)
            if granted:
                granted = False
                hop.group.budget.settle(failed=error is not None)
            if error is None:
                return _ANSWERED
            tried.add(candidate.id)
            told[candidate.id] = error.retry_after or 0.0
            match error.verdict:
                case Verdict.FATAL | Verdict.NEXT_GROUP:
                    return error
                case Verdict.ELSEWHERE:
                    hopeless.add(candidate.id)
                case Verdict.RETRY:
                    pass
    finally:
        if granted:  # nobody waits for the plan any more: the retry was not needed, or it has answered
            hop.group.budget.settle(failed=False)


def _cooling(hop: Hop, tried: set[str], cooling_for: Callable[[Candidate], float]) -> float:
    """How long the next one to come back still cools, 0 if nobody does: others were refused too, and later."""
    times = (cooling_for(c) for c in hop.group.candidates if c.id not in tried)
    return min((seconds for seconds in times if seconds > 0), default=0.0)


def _behind_a_probe(
    hop: Hop, tried: set[str], available: Available, rng: Random
) -> Generator[Step, GatewayError | None, list[Candidate]]:
    """Waits until a probe has succeeded, or for so long that joining it is better than a refusal."""
    for look in range(PROBE_LOOKS):
        if not _left(hop, tried, lambda candidate: available(candidate, True)):
            return []
        yield Wait(PROBE_FIRST * 2.0**look * (1 - 0.25 * rng.random()))
        if candidates := _left(hop, tried, available):
            return candidates
    return _left(hop, tried, lambda candidate: available(candidate, True))


def _left(
    hop: Hop, tried: set[str], available: Callable[[Candidate], bool], above: float = -math.inf
) -> list[Candidate]:
    """Those of the lowest `order` above this one that has somebody left."""
    for level in hop.group.levels:
        if left := [c for c in level if c.order > above and c.id not in tried and available(c)]:
            return left
    return []


def _backoff(rounds: int, rng: Random) -> float:
    return min(BACKOFF_FIRST * 2.0**rounds, BACKOFF_MAX) * (1 - 0.25 * rng.random())


def _fallbacks(chain: Chain, kind: FallbackKind) -> tuple[Hop, ...]:
    """The list for this kind of failure; a special kind without a list of its own uses the general one (litellm)."""
    return chain.fallbacks.get(kind) or chain.fallbacks.get(FallbackKind.GENERAL, ())


def _all_cooling(candidates: Sequence[Candidate], cooling_for: Callable[[Candidate], float]) -> GatewayError:
    times = [seconds for c in candidates if (seconds := cooling_for(c)) > 0]
    return NoDeploymentAvailable(
        "Every deployment that could answer is cooling down after failures; try again later.",
        retry_after=min(times, default=1.0),
    )
