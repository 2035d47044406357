"""A world for plans: deployments come and go as other requests probe them or are refused by them, tries take time, a
budget runs out, a client leaves. The rules of `routing.plan` are checked at each single step; the clock is a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from gatewayd.errors import (
    FallbackKind,
    GatewayError,
    InvalidRequest,
    NoDeploymentAvailable,
    UpstreamAuth,
    UpstreamConnection,
    UpstreamStatus,
    Verdict,
)
from gatewayd.routing.budget import RetryBudget
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.plan import (
    ARRIVAL_WAIT,
    MOST_WAITING,
    PROBE_FIRST,
    PROBE_LOOKS,
    WAIT_MAX,
    WAIT_WITH_FALLBACK,
    Try,
    Wait,
    plan,
)
from gatewayd.routing.table import Chain, Group, Hop

PROBE_WAIT = PROBE_FIRST * (2.0**PROBE_LOOKS - 1)
"""Longest wait for the outcome of a probe, in all."""
FOREVER = 2000
"""Steps that no plan needs."""


class Budget(RetryBudget):
    """Grants what the world says, and keeps count."""

    __slots__ = ("failed", "given", "open")

    def __init__(self) -> None:
        super().__init__()
        self.open = self.given = self.failed = 0

    def settle(self, *, failed: bool) -> None:
        self.open -= 1
        self.failed += failed


@dataclass
class Visit:
    """What was seen of one group."""

    group: Group
    last: bool
    """Whether no fallback group is left behind it."""
    tried: list[Candidate] = field(default_factory=list)
    hopeless: set[str] = field(default_factory=set)
    since_wait: set[str] = field(default_factory=set)
    waited: float = 0.0
    """Since the last try."""
    told: dict[str, float] = field(default_factory=dict)
    """Whose error named a time that nobody has on record."""
    refused: bool = False
    """Whether the budget has refused the next retry."""
    error: GatewayError | None = None
    """The last one."""

    @property
    def budget(self) -> Budget:
        assert isinstance(self.group.budget, Budget)
        return self.group.budget

    @property
    def ends(self) -> bool:
        """Whether no deployment of the group can do better, as the last error says."""
        return self.error is not None and self.error.verdict in {Verdict.FATAL, Verdict.NEXT_GROUP}

    @property
    def unreached(self) -> set[int]:
        return {c.order for c in self.group.candidates} - {c.order for c in self.tried}


Span = tuple[float, float, bool]
"""From, until, and whether it is a probe that somebody else sends; a cooldown if not."""
Answer = Callable[[Candidate], tuple[float, GatewayError | None]]
"""How long a try takes, and what comes of it."""


class World:
    """A plan's surroundings: who is away when, what is answered, which retries are granted. Checks every step."""

    def __init__(
        self,
        chain: Chain,
        away: dict[str, list[Span]],
        answer: Answer,
        *,
        grant: Callable[[], bool] = lambda: True,
        rests: Callable[[], bool] = lambda: True,
        seed: int = 1,
        retry_after: float = 0.0,
        leaves_after: int = FOREVER,
    ) -> None:
        """`rests`: whether one that names a time in its error is put into cooldown for it."""
        self.chain = chain
        self.away = away
        self.answer = answer
        self.grant = grant
        self.rests = rests
        self.rng = Random(seed)
        self.retry_after = retry_after
        self.leaves_after = leaves_after
        self.now = 0.0
        self.groups = {hop.group.name: hop.group for hops in chain.fallbacks.values() for hop in hops}
        self.visits = [self._visit(chain.first.group)]
        self.answered = False
        self.log: list[str | float] = []
        """Ids of those tried, seconds waited."""

    def hops(self) -> tuple[Hop, ...]:
        """Those that follow the group asked for, after its last error."""
        error = self.visits[0].error
        kind = error.fallback if error else FallbackKind.GENERAL
        return self.chain.fallbacks.get(kind) or self.chain.fallbacks.get(FallbackKind.GENERAL, ())

    def goes_on_to(self, group: Group) -> None:
        self.saw_a_group_fail()
        names = [hop.group.name for hop in self.hops()]
        here = self.visits[-1].group.name
        for name in names[names.index(here) + 1 if here in names else 0 : names.index(group.name)]:
            self.visits.append(self._visit(self.groups[name]))
            self.saw_a_group_fail()
        self.visits.append(self._visit(group))

    def _visit(self, group: Group) -> Visit:
        lists = self.chain.fallbacks
        if group is self.chain.first.group:
            return Visit(group, last=FallbackKind.GENERAL not in lists)
        return Visit(group, last=group in [hops[-1].group for hops in lists.values()])

    def _now_away(self, candidate: Candidate) -> tuple[float, bool] | None:
        return next(((end, probe) for at, end, probe in self.away.get(candidate.id, ()) if at <= self.now < end), None)

    def available(self, candidate: Candidate, last_resort: bool = False) -> bool:
        away = self._now_away(candidate)
        return away is None or (away[1] and last_resort)

    def cooling_for(self, candidate: Candidate) -> float:
        away = self._now_away(candidate)
        return 0.0 if away is None or away[1] else away[0] - self.now

    def may_retry(self, group: Group) -> bool:
        budget = group.budget
        assert isinstance(budget, Budget)
        assert not budget.open, "a retry at a time"
        assert group is self.visits[-1].group
        granted = self.grant()
        self.visits[-1].refused = not granted
        budget.open += granted
        budget.given += granted
        return granted

    def run(self) -> list[str | float]:
        steps = plan(
            self.chain,
            available=self.available,
            cooling_for=self.cooling_for,
            may_retry=self.may_retry,
            rng=self.rng,
            retry_after=self.retry_after,
        )
        try:
            step = next(steps)
            for _ in range(self.leaves_after):
                if isinstance(step, Wait):
                    self.saw_wait(step.seconds)
                    self.now += step.seconds
                    step = next(steps)
                else:
                    self.saw_try(step)
                    seconds, error = self.answer(step.candidate)
                    self.now += seconds
                    self.saw_outcome(step.candidate, error)
                    step = steps.send(error)
            assert self.leaves_after < FOREVER, "it ends"
            steps.close()
        except StopIteration:
            assert self.answered
        except GatewayError as error:
            self.saw_refusal(error)
        self.saw_the_end()
        return self.log

    def saw_wait(self, seconds: float) -> None:
        visit = self.visits[-1]
        if visit.ends or not (visit.last or visit.budget.open):
            # A group that has failed waits for nobody, and one with a fallback group behind it only for a retry.
            self.goes_on_to(self.hops()[-1].group)
            visit = self.visits[-1]
        visit.waited += seconds
        self.log.append(seconds)
        visit.since_wait = set()
        assert seconds > 0
        if visit.last:
            assert visit.waited <= (WAIT_MAX if visit.tried else ARRIVAL_WAIT) + PROBE_WAIT
        else:
            assert visit.waited <= (WAIT_WITH_FALLBACK if visit.tried else 0.0)

    def saw_try(self, step: Try) -> None:
        group, candidate = step.hop.group, step.candidate
        if group is not self.visits[-1].group:
            self.goes_on_to(group)
        visit = self.visits[-1]
        left = [c for c in group.candidates if c not in visit.tried and self.available(c)]
        if not self.available(candidate):
            assert self.available(candidate, last_resort=True), "nobody is asked during a cooldown"
            assert visit.last, "a probe is not joined while there is somebody else"
            assert not [c for c in left if visit.budget.open or c.order in visit.unreached]
            assert visit.waited >= 0.75 * PROBE_WAIT, "nor before it has had its time"
        assert candidate.id not in visit.hopeless
        assert candidate.id not in visit.since_wait, "without a wait nobody is asked twice"
        assert candidate not in visit.tried or not left, "nobody twice while another is left"
        assert visit.budget.open or not visit.tried or candidate.order in visit.unreached
        lower = [c for c in left if c.order < candidate.order]
        assert not lower or (not visit.budget.open and not {c.order for c in lower} & visit.unreached)
        visit.waited = 0.0
        visit.refused = False
        self.log.append(candidate.id)
        visit.since_wait.add(candidate.id)
        visit.tried.append(candidate)
        assert len(visit.tried) <= group.num_retries + len(group.levels)
        assert visit.budget.given <= group.num_retries

    def saw_outcome(self, candidate: Candidate, error: GatewayError | None) -> None:
        visit = self.visits[-1]
        if error is None:
            self.answered = True
            return
        visit.error = error
        visit.told.pop(candidate.id, None)
        if error.retry_after and self.rests():
            spans = self.away.get(candidate.id, [])
            until = self.now + error.retry_after
            self.away[candidate.id] = [(self.now, until, False), *(span for span in spans if span[0] > until)]
        elif error.retry_after:
            visit.told[candidate.id] = error.retry_after
        if error.verdict is Verdict.ELSEWHERE:
            visit.hopeless.add(candidate.id)

    def saw_a_group_fail(self) -> None:
        """It was left without an answer: nobody who could have been asked has been passed over."""
        visit = self.visits[-1]
        if visit.ends:
            return
        left = [c for c in visit.group.candidates if self.available(c, visit.last) and c.id not in visit.hopeless]
        assert not [c for c in left if c.order in visit.unreached]
        if visit.last and not visit.tried and visit.group.queue.waiting < MOST_WAITING:
            cooling = [seconds for c in visit.group.candidates if (seconds := self.cooling_for(c))]
            assert all(visit.waited + seconds > ARRIVAL_WAIT for seconds in cooling), "a short wait is waited for"
        if visit.last and len(visit.tried) <= visit.group.num_retries and not visit.refused:
            assert all(visit.told.get(c.id) for c in left)

    def saw_refusal(self, error: GatewayError) -> None:
        self.saw_a_group_fail()
        first = self.visits[0]
        if not any(visit.error for visit in self.visits):
            assert isinstance(error, NoDeploymentAvailable)
            return
        assert error is next(v.error for v in self.visits if v.error), "the group asked for, if it was tried"
        if first.error and first.error.verdict is Verdict.FATAL:
            assert len(self.visits) == 1

    def saw_the_end(self) -> None:
        names = [visit.group.name for visit in self.visits]
        assert names == [self.chain.first.group.name, *(hop.group.name for hop in self.hops())][: len(names)]
        for visit in self.visits:
            assert not visit.budget.open, "each retry is settled"
            assert not visit.group.queue.waiting
            assert visit.budget.failed <= visit.budget.given


def any_world(rng: Random, leaves_after: int) -> World:
    away: dict[str, list[Span]] = {}
    fatal = rng.choice([0.0, 0.05])
    generosity = rng.choice([0.0, 0.5, 1.0, 1.0])
    disabled = rng.choice([0.0, 0.3])

    def group(name: str) -> Group:
        orders = rng.choice([[0], [0, 1], [1, 2, 3]])
        names = [f"{name}d{number}" for number in range(rng.randint(1, 4))]
        for member in names:
            at = 0.0
            away[member] = []
            gaps, lengths = rng.choice(
                [([0.0, 0.3, 2.0, 20.0], [0.04, 0.3, 0.9, 8.0, 50.0, 90.0]), ([0.0], [0.2, 2.5])]
            )
            for _ in range(rng.choice([0, 1, 2, 6, 60])):
                at += rng.choice(gaps)
                end = at + rng.choice(lengths)
                away[member].append((at, end, rng.random() < 0.5))
                at = end
        members = [Candidate(member, member, order=rng.choice(orders)) for member in names]
        return Group.of(name, members, rng.choice([0, 1, 2, 4]), Budget())

    def answer(_: Candidate) -> tuple[float, GatewayError | None]:
        seconds = rng.choice([0.0, 0.05, 0.5, 3.0])
        chance = rng.random()
        if chance < fatal:
            return seconds, InvalidRequest("no")
        if chance < 2 * fatal:
            return seconds, UpstreamStatus("long", status=400, fallback=FallbackKind.CONTEXT_WINDOW)
        busy = UpstreamStatus("busy", status=429, retry_after=rng.choice([0.2, 0.7, 7.0, 40.0, 300.0]))
        refused = UpstreamConnection("refused")
        return seconds, rng.choice([refused, refused, busy, busy, UpstreamAuth("401"), None])

    first, *rest = [group(f"g{number}") for number in range(rng.choice([1, 1, 2, 3]))]
    lists = {FallbackKind.GENERAL: tuple(Hop(g) for g in rest)} if rest else {}
    if rng.random() < 0.2:
        lists[FallbackKind.CONTEXT_WINDOW] = (Hop(group("long")),)
    return World(
        Chain(Hop(first), lists),
        away,
        answer,
        grant=lambda: rng.random() < generosity,
        rests=lambda: rng.random() >= disabled,
        seed=rng.randrange(2**32),
        retry_after=rng.choice([0.0, 0.0, 0.6, 3.0]),
        leaves_after=leaves_after,
    )
