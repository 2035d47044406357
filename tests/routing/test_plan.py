"""The plan's promises: by property for any group, any failures; by example for each rule."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import (
    FallbackKind,
    GatewayError,
    InvalidRequest,
    NoDeploymentAvailable,
    UpstreamAuth,
    UpstreamConnection,
    UpstreamStatus,
)
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.plan import BACKOFF_FIRST, MOST_WAITING, Step, Try, Wait, plan
from gatewayd.routing.table import Chain, Group, Hop

Steps = Generator[Step, GatewayError | None, None]


def group(name: str, *names: str, retries: int = 2, orders: Mapping[str, int] | None = None) -> Group:
    orders = orders or {}
    return Group.of(name, [Candidate(n, n, order=orders.get(n, 0)) for n in names], retries)


def chain(first: Group, *rest: Group, **kinds: Group) -> Chain:
    lists: dict[FallbackKind, tuple[Hop, ...]] = {FallbackKind(kind): (Hop(g),) for kind, g in kinds.items()}
    if rest:
        lists[FallbackKind.GENERAL] = tuple(Hop(g) for g in rest)
    return Chain(Hop(first), lists)


def start(
    c: Chain, *, down: frozenset[str] = frozenset(), seed: int = 1, retry_after: float = 0.0, cooling: float = 7.0
) -> Steps:
    """`down`: who cools down, for `cooling` seconds at whatever time."""
    return plan(
        c,
        available=lambda candidate, last_resort=False: candidate.id not in down,
        cooling_for=lambda candidate: cooling if candidate.id in down else 0.0,
        rng=Random(seed),
        retry_after=retry_after,
    )


def run(steps: Steps, answer: Callable[[str], GatewayError | None]) -> tuple[list[str], list[float], object]:
    """Drives a plan; returns (ids tried, seconds waited, final error or the id that answered)."""
    tried: list[str] = []
    waits: list[float] = []
    try:
        step = next(steps)
        while True:
            match step:
                case Wait(seconds):
                    waits.append(seconds)
                    step = next(steps)
                case Try(_, candidate):
                    tried.append(candidate.id)
                    step = steps.send(answer(candidate.id))
    except StopIteration:
        return tried, waits, tried[-1]
    except GatewayError as error:
        return tried, waits, error


def refused(_: str) -> GatewayError:
    return UpstreamConnection("refused")


def test_the_first_answer_ends_the_plan() -> None:
    tried, waits, end = run(start(chain(group("a", "a1"))), lambda _: None)
    assert (tried, waits, end) == (["a1"], [], "a1")


def test_another_deployment_is_tried_at_once_before_the_same_one_again() -> None:
    tried, waits, _ = run(start(chain(group("a", "a1", "a2", retries=2))), refused)
    assert set(tried[:2]) == {"a1", "a2"}
    assert len(tried) == 3
    assert len(waits) == 1


def test_a_group_of_one_is_retried_after_growing_waits() -> None:
    tried, waits, end = run(start(chain(group("a", "a1", retries=3))), refused)
    assert tried == ["a1"] * 4
    assert [BACKOFF_FIRST * 0.75 * 2**n <= wait <= BACKOFF_FIRST * 2**n for n, wait in enumerate(waits)] == [True] * 3
    assert isinstance(end, UpstreamConnection)


def test_no_retries_means_one_try() -> None:
    assert run(start(chain(group("a", "a1", "a2", retries=0))), refused)[0].__len__() == 1


def test_the_upstreams_retry_after_and_the_configured_one_are_least_waits() -> None:
    busy = UpstreamStatus("busy", status=429, retry_after=7)
    assert run(start(chain(group("a", "a1", retries=1))), lambda _: busy)[1] == [7]
    assert run(start(chain(group("a", "a1", retries=1)), retry_after=9.0), refused)[1] == [9.0]


@pytest.mark.parametrize("cooling", [False, True])
def test_the_wait_ends_when_the_first_of_them_may_be_asked_again(cooling: bool) -> None:
    """A-26: not the last one, which may have been told to rest for a minute."""
    rests = {"a1": 2.0, "a2": 50.0}
    ordered = group("a", "a1", "a2", retries=2, orders={"a1": 1, "a2": 2})
    tried: list[str] = []
    steps = plan(
        chain(ordered),
        available=lambda candidate, last_resort=False: candidate.id not in tried or len(tried) == 2,
        cooling_for=lambda candidate: rests[candidate.id] if cooling and candidate.id in tried else 0.0,
        rng=Random(1),
    )

    def answer(name: str) -> GatewayError | None:
        tried.append(name)
        return None if len(tried) == 3 else UpstreamStatus("busy", status=429, retry_after=rests[name])

    assert run(steps, answer)[:2] == (["a1", "a2", "a1"], [2.0])


def test_a_wait_beyond_reason_is_left_to_the_client() -> None:
    busy = UpstreamStatus("busy", status=429, retry_after=3600)
    tried, waits, end = run(start(chain(group("a", "a1"))), lambda _: busy)
    assert (tried, waits, end) == (["a1"], [], busy)


@pytest.mark.parametrize(
    ("rests", "expected"),
    [
        ([0.5, 0.0], [7, 0.5]),
        ([0.5, 3.0, 50.0], [7, 0.5, 3.0]),  # no longer than a minute in all
        ([90.0], [7]),
        ([0.0], [7]),
    ],
)
def test_who_has_waited_waits_on_if_others_were_refused_meanwhile(rests: list[float], expected: list[float]) -> None:
    """A-26, A-41: a burst meets a rate limit; not only those who come back first have a second try."""
    busy = UpstreamStatus("busy", status=429, retry_after=7)
    left = iter([0.0, *rests])
    resting = 0.0

    def cooling_for(_: Candidate) -> float:
        return resting

    steps = plan(
        chain(group("a", "a1", retries=1)),
        available=lambda candidate, last_resort=False: not resting,
        cooling_for=cooling_for,
        rng=Random(1),
    )
    step = next(steps)
    waits: list[float] = []
    tries = 0
    end: object = None
    try:
        while True:
            resting = next(left, resting)
            if isinstance(step, Wait):
                waits.append(step.seconds)
                step = next(steps)
            else:
                tries += 1
                step = steps.send(busy if tries == 1 else None)
    except StopIteration:
        end = "answered"
    except GatewayError as error:
        end = error
    assert waits == expected
    assert (tries, end) == ((2, "answered") if rests[-1] == 0.0 else (1, busy))


def test_a_long_wait_is_not_worth_it_while_a_fallback_is_left() -> None:
    busy = UpstreamStatus("busy", status=429, retry_after=7)
    tried, waits, end = run(
        start(chain(group("a", "a1"), group("b", "b1"))), lambda name: busy if name == "a1" else None
    )
    assert (tried, waits, end) == (["a1", "b1"], [], "b1")


def test_orders_are_levels() -> None:
    ordered = group("a", "late", "early", retries=1, orders={"late": 2, "early": 1})
    assert run(start(chain(ordered)), refused)[0] == ["early", "late"]


@pytest.mark.parametrize(("retries", "granted", "first"), [(0, True, 1), (1, True, 2), (2, True, 3), (2, False, 1)])
def test_each_order_is_tried_when_no_retry_is_left(retries: int, granted: bool, first: int) -> None:
    """A-28, A-40: as litellm falls back to it. A backup is of no use if those before it take all tries."""
    orders = {"a1": 1, "a2": 1, "a3": 1, "b1": 2, "b2": 2, "c1": 3}
    steps = plan(
        chain(group("a", *orders, retries=retries, orders=orders), group("z", "z1", retries=0)),
        available=lambda candidate, last_resort=False: candidate.id != "c1",
        cooling_for=lambda candidate: 0.0,
        rng=Random(1),
        may_retry=lambda group: granted,
    )
    tried, waits, _ = run(steps, refused)
    assert [name[0] for name in tried] == ["a"] * first + ["b", "z"]
    assert len(set(tried)) == len(tried)
    assert not waits


def test_what_no_deployment_of_the_group_can_do_better_is_asked_of_no_further_order() -> None:
    """A-29"""
    long = UpstreamStatus("long", status=400, fallback=FallbackKind.CONTEXT_WINDOW)
    for error in (long, InvalidRequest("no")):
        ordered = group("a", "a1", "b1", retries=0, orders={"a1": 1, "b1": 2})
        assert run(start(chain(ordered)), lambda _, error=error: error)[0] == ["a1"]  # type: ignore[misc]


def test_a_callers_mistake_is_asked_of_nobody_else() -> None:
    """A-29"""
    mistake = UpstreamStatus("bad", status=400)
    tried, _, end = run(start(chain(group("a", "a1", "a2"), group("b", "b1"))), lambda _: mistake)
    assert len(tried) == 1
    assert end is mistake


def test_a_mistake_that_only_a_fallback_sees_does_not_hide_the_first_error() -> None:
    answers = {"a1": UpstreamConnection("down"), "b1": InvalidRequest("no tools here"), "c1": None}
    steps = start(chain(group("a", "a1", retries=0), group("b", "b1", retries=0), group("c", "c1", retries=0)))
    assert run(steps, answers.__getitem__)[2] == "c1"
    answers["c1"] = InvalidRequest("no")
    steps = start(chain(group("a", "a1", retries=0), group("b", "b1", retries=0), group("c", "c1", retries=0)))
    assert run(steps, answers.__getitem__)[2] is answers["a1"]


def test_a_wrong_key_is_never_asked_again() -> None:
    tried, waits, end = run(start(chain(group("a", "a1", retries=5))), lambda _: UpstreamAuth("401"))
    assert (tried, waits) == (["a1"], [])
    assert isinstance(end, UpstreamAuth)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(FallbackKind.CONTEXT_WINDOW, "long1"), (FallbackKind.CONTENT_POLICY, "free1"), (FallbackKind.GENERAL, "b1")],
)
def test_each_kind_of_failure_has_its_list(kind: FallbackKind, expected: str) -> None:
    c = chain(
        group("a", "a1", "a2", retries=0),
        group("b", "b1"),
        context_window_fallbacks=group("long", "long1"),
        content_policy_fallbacks=group("free", "free1"),
    )
    error = UpstreamStatus("no", status=400 if kind is not FallbackKind.GENERAL else 500, fallback=kind)
    assert run(start(c), lambda name: error if name.startswith("a") else None)[2] == expected


def test_a_special_kind_without_its_own_list_uses_the_general_one() -> None:
    error = UpstreamStatus("long", status=400, fallback=FallbackKind.CONTEXT_WINDOW)
    c = chain(group("a", "a1"), group("b", "b1"))
    assert run(start(c), lambda name: error if name == "a1" else None)[0] == ["a1", "b1"]


def test_a_long_cooldown_of_all_fails_fast_and_says_when_to_come_back() -> None:
    """A-42"""
    tried, waits, end = run(start(chain(group("a", "a1", "a2")), down=frozenset({"a1", "a2"})), refused)
    assert (tried, waits) == ([], [])
    assert isinstance(end, NoDeploymentAvailable)
    assert end.retry_after == 7.0


def test_an_arrival_waits_out_a_short_cooldown_where_no_fallback_is_left() -> None:
    """U-B8"""
    down = {"a1"}
    steps = plan(
        chain(group("a", "a1")),
        available=lambda candidate, last_resort=False: candidate.id not in down,
        cooling_for=lambda candidate: 2.0 if candidate.id in down else 0.0,
        rng=Random(1),
    )
    assert next(steps) == Wait(2.0)
    down.clear()
    assert isinstance(step := next(steps), Try)
    assert step.candidate.id == "a1"


def test_an_arrival_waits_on_when_others_are_refused_meanwhile_but_five_seconds_in_all() -> None:
    """U-B8"""
    steps = start(chain(group("a", "a1")), down=frozenset({"a1"}), cooling=2.0)
    tried, waits, end = run(steps, refused)
    assert (tried, waits) == ([], [2.0, 2.0])
    assert isinstance(end, NoDeploymentAvailable)


def test_an_arrival_does_not_wait_where_a_fallback_is_left() -> None:
    """U-B8"""
    steps = start(chain(group("a", "a1"), group("b", "b1")), down=frozenset({"a1"}), cooling=2.0)
    assert run(steps, lambda _: None) == (["b1"], [], "b1")


def test_in_the_last_fallback_group_an_arrival_waits() -> None:
    """U-B8"""
    steps = start(chain(group("a", "a1", retries=0), group("b", "b1")), down=frozenset({"b1"}), cooling=3.0)
    tried, waits, _ = run(steps, refused)
    assert (tried, waits) == (["a1"], [3.0])


def test_only_so_many_arrivals_of_a_group_wait() -> None:
    """U-B8: the place of one that leaves is free again."""
    c = chain(group("a", "a1"))
    waiting = [start(c, down=frozenset({"a1"}), cooling=2.0) for _ in range(MOST_WAITING)]
    assert {type(next(steps)) for steps in waiting} == {Wait}
    with pytest.raises(NoDeploymentAvailable):
        next(start(c, down=frozenset({"a1"}), cooling=2.0))
    waiting.pop().close()
    assert isinstance(next(start(c, down=frozenset({"a1"}), cooling=2.0)), Wait)


def test_the_last_group_asks_a_probed_deployment_rather_than_refusing() -> None:
    steps = plan(
        chain(group("a", "a1")),
        available=lambda candidate, last_resort=False: last_resort,
        cooling_for=lambda candidate: 0.0,
        rng=Random(1),
    )
    assert run(steps, lambda _: None)[2] == "a1"


ERRORS: list[GatewayError | None] = [
    None,
    UpstreamConnection("x"),
    UpstreamAuth("x"),
    UpstreamStatus("x", status=429),
    UpstreamStatus("x", status=400),
    UpstreamStatus("x", status=400, fallback=FallbackKind.CONTEXT_WINDOW),
]


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    retries=st.integers(0, 4),
    script=st.lists(st.sampled_from(ERRORS), max_size=40),
    down=st.sets(st.sampled_from([f"g{i}d{j}" for i in range(4) for j in range(4)])),
    seed=st.integers(0, 9999),
)
def test_for_any_groups_and_failures(
    sizes: list[int], retries: int, script: list[GatewayError | None], down: set[str], seed: int
) -> None:
    groups = [group(f"g{i}", *(f"g{i}d{j}" for j in range(size)), retries=retries) for i, size in enumerate(sizes)]
    answers = iter(script)
    told: list[GatewayError | None] = []

    def answer(_: str) -> GatewayError | None:
        told.append(next(answers, ERRORS[1]))
        return told[-1]

    tried, waits, end = run(start(chain(groups[0], *groups[1:]), down=frozenset(down), seed=seed), answer)

    assert not down.intersection(tried)
    assert [t[:2] for t in tried] == sorted(t[:2] for t in tried), "groups are visited in order"
    for i, size in enumerate(sizes):
        mine = [t for t in tried if t.startswith(f"g{i}")]
        assert len(mine) <= retries + 1, "tries never exceed the budget"
        left = size - len([d for d in down if d.startswith(f"g{i}") and int(d[3:]) < size])
        assert len(set(mine[:left])) == len(mine[:left]), "nobody twice while another is left"
    assert len(waits) <= len(tried)
    assert all(wait > 0 for wait in waits)
    if told and told[-1] is None:
        assert end == tried[-1]
    else:
        assert isinstance(end, GatewayError)
        assert not tried or end in told


@given(
    orders=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    retries=st.integers(0, 4),
    down=st.sets(st.integers(0, 5)),
    grants=st.lists(st.booleans(), min_size=8, max_size=8),
    seed=st.integers(0, 9999),
)
def test_every_order_is_reached_before_a_group_has_failed(
    orders: list[int], retries: int, down: set[int], grants: list[bool], seed: int
) -> None:
    """A-28"""
    names = {f"d{number}": order for number, order in enumerate(orders)}
    up = {name: order for name, order in names.items() if int(name[1:]) not in down}
    asked = iter(grants)
    steps = plan(
        chain(group("a", *names, retries=retries, orders=names)),
        available=lambda candidate, last_resort=False: candidate.id in up,
        cooling_for=lambda candidate: 0.0 if candidate.id in up else 3.0,
        rng=Random(seed),
        may_retry=lambda group: next(asked),
    )
    tried, waits, _ = run(steps, refused)
    assert {up[name] for name in tried} == set(up.values())
    assert len(tried) <= retries + max(1, len(set(up.values())))
    assert waits or len(set(tried)) == len(tried)


def test_no_budget_is_no_retry_and_no_wait_but_a_fallback_is_neither() -> None:
    """A-40"""
    c = chain(group("a", "a1", "a2", retries=5), group("b", "b1", retries=5))
    steps = plan(
        c,
        available=lambda candidate, last_resort=False: True,
        cooling_for=lambda candidate: 0.0,
        rng=Random(1),
        may_retry=lambda group: False,
    )
    tried, waits, end = run(steps, refused)
    assert (len(tried), tried[-1], waits) == (2, "b1", [])
    assert isinstance(end, UpstreamConnection)


@pytest.mark.parametrize("left", ["in the wait", "in the try", "answered", "failed"])
def test_every_retry_is_settled_once(left: str) -> None:
    """A-40: also when the client leaves in the middle of one."""
    only = group("a", "a1", retries=1)
    budget = only.budget
    steps = plan(
        chain(only),
        available=lambda candidate, last_resort=False: True,
        cooling_for=lambda candidate: 0.0,
        rng=Random(1),
        may_retry=lambda group: group.budget.take(1.0),
    )
    next(steps)
    assert isinstance(steps.send(UpstreamConnection("x")), Wait)
    assert budget._open == 1
    if left != "in the wait":
        assert isinstance(next(steps), Try)
    if left == "failed":
        with pytest.raises(UpstreamConnection):
            steps.send(UpstreamConnection("x"))
    steps.close()
    assert (budget._open, budget._failed) == (0, 1 if left == "failed" else 0)


def test_whoever_waits_for_a_probe_goes_on_when_it_has_succeeded() -> None:
    """A-41"""
    probing = [True]
    steps = plan(
        chain(group("a", "a1")),
        available=lambda candidate, last_resort=False: last_resort or not probing[0],
        cooling_for=lambda candidate: 0.0,
        rng=Random(1),
    )
    assert isinstance(next(steps), Wait)
    assert isinstance(next(steps), Wait)
    probing[0] = False
    assert isinstance(next(steps), Try)


def test_whoever_waits_for_a_probe_is_told_when_it_has_failed() -> None:
    """A-41, A-42"""
    cooling = [0.0]
    steps = plan(
        chain(group("a", "a1")),
        available=lambda candidate, last_resort=False: last_resort and not cooling[0],
        cooling_for=lambda candidate: cooling[0],
        rng=Random(1),
    )
    assert isinstance(next(steps), Wait)
    cooling[0] = 7.0
    with pytest.raises(NoDeploymentAvailable) as caught:
        next(steps)
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("begun", [False, True])
def test_a_cooldown_that_ends_between_two_looks_is_no_reason_to_give_up(begun: bool) -> None:
    """U-B8: a loaded machine may stop for milliseconds between them."""
    looks = iter([False] * (2 if begun else 1))
    state = {"cooling": 0.0 if begun else 2.0}
    steps = plan(
        chain(group("a", "a1", retries=1)),
        available=lambda candidate, last_resort=False: next(looks, True) if state["cooling"] else True,
        cooling_for=lambda candidate: 0.0,
        rng=Random(1),
    )
    if begun:
        assert isinstance(next(steps), Try)
        state["cooling"] = 2.0
        assert isinstance(steps.send(UpstreamConnection("x")), Wait)
    while isinstance(step := next(steps), Wait):
        pass
    assert step.candidate.id == "a1"


def test_waits_grow_behind_the_cooldown_of_others_too() -> None:
    """U-B8: a judge of retries takes two waits of the same length for no back-off."""
    cooling = iter([0.0, 1.0, 0.0, 1.0])
    steps = plan(
        chain(group("a", "a1")),
        available=lambda candidate, last_resort=False: True,
        cooling_for=lambda candidate: next(cooling, 0.0),
        rng=Random(1),
    )
    tried, waits, _ = run(steps, refused)
    assert len(tried) == 3
    assert (waits[0], waits[1]) == (1.0, 1.25)


def test_waits_grow_behind_a_cooldown_that_began_during_the_last_wait() -> None:
    """U-B8: the time waited for it counts."""
    cooling = {"a1": 0.0}
    steps = plan(
        chain(group("a", "a1")),
        available=lambda candidate, last_resort=False: not cooling["a1"],
        cooling_for=lambda candidate: cooling["a1"],
        rng=Random(1),
    )
    assert isinstance(next(steps), Try)
    first = steps.send(refused("a1"))
    assert isinstance(first, Wait)
    cooling["a1"] = 1.0
    assert next(steps) == Wait(1.0)
    cooling["a1"] = 0.0
    assert isinstance(next(steps), Try)
    assert steps.send(refused("a1")) == Wait(1.25 * (first.seconds + 1.0))
