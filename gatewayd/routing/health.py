"""What is known about each deployment's health: failures, cooldowns, requests in flight. Pure: `now` is handed in.

Keyed by deployment identity and kept outside every configuration, so that an edit of something else does not hide
failures. Only a provider's faults count (`GatewayError.blames_deployment`).

When a deployment is put into cooldown:
  * at once: a 429, or a failure that waiting cannot fix (wrong key, no such model);
  * by count: more than `allowed_fails` failures in the running minute, or more than half of at least five requests.
For how long: the deployment's own `cooldown_time`, else the upstream's Retry-After, else the router's `cooldown_time`.
The last candidate of a group that is still in service is never taken out, unless the upstream itself named a time.

When a cooldown ends, one request is let through as a probe; until it succeeds the others go elsewhere, or wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gatewayd.errors import GatewayError, UpstreamConnection, Verdict
from gatewayd.routing.candidate import Candidate

FAILURE_WINDOW = 60.0
"""Seconds over which failures are counted (litellm counts per minute)."""
MIN_REQUESTS = 5
"""Requests in the window before the failure rate says anything (litellm's figure)."""
MAX_RETRY_AFTER = 60.0
"""Seconds. A longer `Retry-After` counts as this, so that a wrong header does not take a deployment out of rotation for
a day. If it is still true, the next answer repeats it."""


SEVERAL = 3
"""Failures in a row after which it is news that a deployment answers again."""
RECENT = 6
"""Results that are remembered of each deployment."""

Condition = Literal["ok", "failing", "probation", "cooling"]
"""failing: in rotation, but the last result was a failure. probation: the cooldown is over, no request has succeeded
since. cooling: out of rotation."""
CONDITIONS: tuple[Condition, ...] = ("ok", "failing", "probation", "cooling")
"""The worst last."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try that counted."""

    at: float
    code: str
    reason: str
    """With the upstream's own words (`GatewayError.detail`)."""
    after: int
    """Successes before it: they need no record of their own."""
    refused: bool = False
    """Nothing listened at the address."""


class HealthObserver(Protocol):
    """Gets what is worth a line in the log."""

    def failed(self, candidate: Candidate, error: GatewayError, cooldown: float, now: float) -> None:
        """A try failed; `cooldown`: seconds for which the candidate is out of rotation because of it, else 0."""

    def recovered(self, candidate: Candidate, seconds: float, now: float) -> None:
        """The candidate answers again after a cooldown or several failures in a row, that many seconds after the first
        of them."""


class NoObserver:
    """Ignores everything."""

    def failed(self, candidate: Candidate, error: GatewayError, cooldown: float, now: float) -> None: ...

    def recovered(self, candidate: Candidate, seconds: float, now: float) -> None: ...


@dataclass(slots=True)
class State:
    """One deployment's record. Times are on the caller's monotonic clock."""

    in_flight: int = 0
    requests: int = 0
    fails: int = 0
    window_end: float = 0.0
    cooling_until: float = 0.0
    half_open: bool = False
    """The cooldown is over, but no request has succeeded since."""
    probing: bool = False
    troubled: bool = False
    """The last result was a failure."""
    since: float | None = None
    """When that began: at the first failure after a success, or the reverse. None: there was no failure yet."""
    successes: int = 0
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=RECENT))
    """The last ones, the newest last."""

    def condition(self, now: float) -> Condition:
        if self.cooling_until > now:
            return "cooling"
        return "probation" if self.half_open else "failing" if self.troubled else "ok"

    @property
    def last_error(self) -> str | None:
        """Code of the last error that counted."""
        return self.failures[-1].code if self.failures else None

    @property
    def recent(self) -> list[str]:
        """The last results, the newest last: `ok`, or the code of the error."""
        return [*reversed([result for result, _ in zip(self._backwards(), range(RECENT), strict=False)])]

    def _backwards(self) -> Iterator[str]:
        successes = self.successes
        for failure in reversed(self.failures):
            for _ in range(min(successes - failure.after, RECENT)):
                yield "ok"
            yield failure.code
            successes = failure.after
        if len(self.failures) < RECENT:
            yield from ["ok"] * min(successes, RECENT)


@dataclass(frozen=True, slots=True)
class Policy:
    allowed_fails: int = 3
    cooldown_time: float = 5.0
    disable_cooldowns: bool = False


class HealthBook:
    """All records. `jitter` returns a factor near 1 that spreads the ends of cooldowns (default: none)."""

    def __init__(self, *, jitter: Callable[[], float] = lambda: 1.0, observer: HealthObserver | None = None) -> None:
        self._states: dict[str, State] = {}
        self._resting: set[str] = set()  # all that are cooling or in probation, and perhaps some that were
        self._jitter = jitter
        self._observer: HealthObserver = NoObserver() if observer is None else observer

    def state(self, identity: str) -> State:
        state = self._states.get(identity)
        if state is None:
            state = self._states[identity] = State()
        return state

    def keep_only(self, identities: Iterable[str]) -> None:
        """Forgets deployments that no configuration in service names and that have nothing in flight."""
        wanted = set(identities)
        self._states = {k: s for k, s in self._states.items() if k in wanted or s.in_flight}

    def available(self, candidate: Candidate, now: float, last_resort: bool = False) -> bool:
        """Whether the candidate may be picked: not cooling, and (but as a last resort) not being probed right now."""
        state = self._states.get(candidate.identity)
        return state is None or (state.cooling_until <= now and (last_resort or not state.probing))

    def cooling_for(self, candidate: Candidate, now: float) -> float:
        """Seconds until its cooldown ends; 0 when it is not cooling."""
        state = self._states.get(candidate.identity)
        return 0.0 if state is None else max(0.0, state.cooling_until - now)

    def in_flight(self, candidate: Candidate) -> int:
        """Requests that it is answering."""
        state = self._states.get(candidate.identity)
        return 0 if state is None else state.in_flight

    def started(self, candidate: Candidate, now: float) -> bool:
        """A request goes to the candidate; whether it is the probe. Each call is paired with one of `left`."""
        state = self._states.get(candidate.identity) or self.state(candidate.identity)
        if now >= state.window_end:
            state.requests = state.fails = 0
            state.window_end = now + FAILURE_WINDOW
        state.requests += 1
        state.in_flight += 1
        if not state.half_open or state.probing:
            return False
        state.probing = True
        return True

    def is_half_open(self, candidate: Candidate) -> bool:
        """Whether the candidate's cooldown is over, but no request has succeeded since."""
        state = self._states.get(candidate.identity)
        return state is not None and state.half_open

    def all_well(self, now: float) -> bool:
        """Whether all are available and none is half-open. It costs less than a look at each."""
        if self._resting:
            found = ((identity, self._states.get(identity)) for identity in self._resting)
            self._resting = {i for i, state in found if state and (state.half_open or state.cooling_until > now)}
        return not self._resting

    def succeeded(self, candidate: Candidate, now: float) -> None:
        """The upstream answered (for a stream: its first event came). `left` still has to follow at the end."""
        state = self.state(candidate.identity)
        state.successes += 1
        if state.troubled:
            self._recovered(candidate, state, now)

    def completed(self, candidate: Candidate, now: float) -> None:
        """`succeeded` and `left` in one: a whole answer has come."""
        state = self._states.get(candidate.identity) or self.state(candidate.identity)
        state.successes += 1
        state.in_flight -= 1
        if state.troubled:
            self._recovered(candidate, state, now)

    def _recovered(self, candidate: Candidate, state: State, now: float) -> None:
        in_a_row = sum(failure.after == state.successes - 1 for failure in state.failures)
        began, was_out = state.since, state.half_open
        state.troubled = state.half_open = state.probing = False
        state.since = now
        if began is not None and (was_out or in_a_row >= SEVERAL):
            self._observer.recovered(candidate, now - began, now)

    def left(self, candidate: Candidate, *, probe: bool = True) -> None:
        """The request is over, with whatever outcome: the counterpart of `started`. `probe=False`: it was not the
        probe. A stream from before the cooldown that ends now makes no room for another probe."""
        state = self.state(candidate.identity)
        state.in_flight -= 1
        if probe:
            state.probing = False

    def failed(
        self, candidate: Candidate, error: GatewayError, now: float, *, peers: Iterable[Candidate], policy: Policy
    ) -> None:
        """A try ended with an error; puts the candidate into cooldown when the rules above say so."""
        if not error.blames_deployment:
            return
        state = self.state(candidate.identity)
        state.fails += 1
        refused = isinstance(error, UpstreamConnection) and error.refused
        state.failures.append(Failure(now, error.code, error.detail, state.successes, refused))
        if not state.troubled:
            state.troubled, state.since = True, now
        cooldown = self._cooldown(candidate, state, error, now, peers, policy)
        if cooldown:
            state.cooling_until = max(state.cooling_until, now + cooldown)
            state.half_open, state.probing = True, False
            self._resting.add(candidate.identity)
            state.fails = 0
        self._observer.failed(candidate, error, cooldown, now)

    def _cooldown(
        self,
        candidate: Candidate,
        state: State,
        error: GatewayError,
        now: float,
        peers: Iterable[Candidate],
        policy: Policy,
    ) -> float:
        """For how many seconds the failure takes the candidate out of rotation; 0 if it does not."""
        if policy.disable_cooldowns or not self._deserves_cooldown(state, error, policy):
            return 0.0
        told = error.retry_after
        if not told and not any(self.available(p, now) for p in peers if p.identity != candidate.identity):
            return 0.0
        own = candidate.cooldown_time
        if told and own is None:
            return min(told, MAX_RETRY_AFTER)
        return (policy.cooldown_time if own is None else own) * self._jitter()

    @staticmethod
    def _deserves_cooldown(state: State, error: GatewayError, policy: Policy) -> bool:
        if state.half_open or error.status == 429 or error.verdict is Verdict.ELSEWHERE:
            return True
        if state.fails > policy.allowed_fails:
            return True
        return state.requests >= MIN_REQUESTS and state.fails * 2 > state.requests
