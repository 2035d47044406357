"""From the model a client names to the chain of groups that may answer.

A chain is made when its name is first asked for and remembered; names that only a pattern (`openai/*`) knows come from
clients, so their memory is bounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gatewayd.errors import FallbackKind, UnknownModel, UnservedModel
from gatewayd.routing.budget import RetryBudget
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.pick import Pick, simple_shuffle
from gatewayd.suggest import nearest
from gatewayd.text import printable

_REMEMBERED = 4096
"""Bound of the memory for pattern-resolved names: client input, so it must not grow without end."""

_COMPARED = 100
"""Names that an unknown one is compared with by letters: a request must not take milliseconds for it."""


@dataclass(slots=True)
class Queue:
    """The requests of a group that wait for their first try."""

    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """A model group: its candidates in levels, the lowest `order` first, how one of them is picked, and how often the
    group is tried again."""

    name: str
    levels: tuple[tuple[Candidate, ...], ...]
    num_retries: int = 0
    pick: Pick = simple_shuffle
    budget: RetryBudget = field(default_factory=RetryBudget, compare=False, repr=False)
    """What all its requests together may retry; this and the queue are what changes of a group."""
    queue: Queue = field(default_factory=Queue, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        candidates: Iterable[Candidate],
        num_retries: int = 0,
        budget: RetryBudget | None = None,
        pick: Pick = simple_shuffle,
    ) -> Group:
        by_order: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            by_order.setdefault(candidate.order, []).append(candidate)
        levels = tuple(tuple(by_order[order]) for order in sorted(by_order))
        return cls(name, levels, num_retries, pick, budget or RetryBudget())

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(candidate for level in self.levels for candidate in level)


@dataclass(frozen=True, slots=True)
class Hop:
    """One group on a chain; `capture` is what the group's `*` caught, if its name is a pattern."""

    group: Group
    capture: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """The group a client asked for, and for each kind of failure the groups that follow, acyclic and flat."""

    first: Hop
    fallbacks: Mapping[FallbackKind, tuple[Hop, ...]] = field(default_factory=dict)


class Table:
    """Resolves model names. Built once per configuration; only its memory of chains changes."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        *,
        fallbacks: Mapping[FallbackKind, Mapping[str, tuple[str, ...]]] | None = None,
        max_fallbacks: int = 5,
        aliases: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        also: Callable[[str], Group | None] = lambda name: None,
        provider_of: Callable[[str], str | None] = lambda name: None,
        left_out: Iterable[str] = (),
        unserved: Mapping[str, str] | None = None,
    ) -> None:
        """`groups` by name. `also` is asked for names that are no model group, alias or pattern (litellm: the id of a
        deployment, or the upstream's own name of a model). `provider_of` gives the provider of a bare name: `gpt-4o` is
        served by `openai/*`, too, as in litellm. `unserved`: names of further groups, which get no requests, and what
        their models do."""
        self._groups = groups
        self._patterns = sorted(
            ((_compile(name), group) for name, group in groups.items() if "*" in name),
            key=lambda entry: (-len(entry[1].name.replace("*", "")), entry[1].name),
        )
        self._fallbacks = fallbacks or {}
        self._max_fallbacks = max_fallbacks
        self._aliases = dict(aliases or {})
        self._hidden = frozenset(hidden)
        self._also = also
        self._provider_of = provider_of
        self._left_out = frozenset(left_out)
        """Groups that the configuration has, but without any deployment that is valid."""
        self._unserved = unserved or {}
        # Made when first asked for: an edit of ten thousand groups need not wait for ten thousand chains.
        self._chains: dict[str, Chain] = {}
        self._remembered: dict[str, Chain] = {}

    def chain(self, model: str) -> Chain:
        """The chain for a model name. Raises UnknownModel, or UnservedModel, which is one."""
        chain = self._chains.get(model) or self._remembered.get(model)
        if chain is None:
            target = self._aliases.get(model, model)
            hop = self._find(target)
            if hop is None and target in self._left_out:
                raise UnknownModel(
                    f"The model '{printable(model)}' is not served, because its configuration is invalid. "
                    "`gatewayd status` shows the reason to the operator of this gateway.",
                    param="model",
                )
            if hop is None and target in self._unserved:
                what = self._unserved[target]
                message = f"The model '{printable(model)}' {what}, and this gateway has no endpoint for that."
                raise UnservedModel(message, param="model")
            if hop is None:
                meant = nearest(model, (*self._groups, *self._aliases), many=_COMPARED)
                hint = "" if meant is None else f" Did you mean '{printable(meant)}'?"
                text = f"The model '{printable(model)}' does not exist.{hint} GET /v1/models lists the models."
                raise UnknownModel(text, param="model")
            chain = Chain(hop, {kind: hops for kind in FallbackKind if (hops := self._flatten(kind, target, hop))})
            if model in self._groups or model in self._aliases:
                self._chains[model] = chain
            else:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[model] = chain
        return chain

    def knows(self, model: str) -> bool:
        """Whether there is a chain for a model name."""
        try:
            self.chain(model)
        except UnknownModel:
            return False
        return True

    def candidates(self, group: str) -> tuple[Candidate, ...]:
        """All candidates of a group; none for an unknown one."""
        found = self._groups.get(group)
        return () if found is None else found.candidates

    def groups(self) -> Iterable[Group]:
        return self._groups.values()

    def names(self) -> list[str]:
        """What `GET /v1/models` shows: groups, patterns as written, and aliases that are not hidden; sorted."""
        aliases = (alias for alias, target in self._aliases.items() if target not in self._unserved)
        return sorted({*self._groups, *aliases} - self._hidden)

    def _find(self, model: str) -> Hop | None:
        if model in self._unserved:
            return None  # a pattern that fits its name serves other models
        group = self._groups.get(model)
        if group is not None:
            return Hop(group, "*" if "*" in model else "")  # a pattern taken for a name, as lists of models show it
        if (hop := self._by_pattern(model)) is not None:
            return hop
        if (group := self._also(model)) is not None:
            return Hop(group)
        provider = self._provider_of(model) if self._patterns and "/" not in model else None
        return None if provider is None else self._by_pattern(f"{provider}/{model}")

    def _by_pattern(self, model: str) -> Hop | None:
        for pattern, group in self._patterns:
            if (match := pattern.fullmatch(model)) is not None:
                return Hop(group, match[1])
        return None

    def _flatten(self, kind: FallbackKind, asked: str, first: Hop) -> tuple[Hop, ...]:
        """Depth first: a fallback's own fallbacks come right after it; a group is visited once; depth is bounded."""
        seen = {(first.group.name, first.capture)}
        return tuple(self._below(self._fallbacks.get(kind, {}), asked, first.group.name, 0, seen))

    # No function inside a function: one that calls itself is a cycle, and would hold this table until it is collected.
    def _below(
        self, lists: Mapping[str, tuple[str, ...]], name: str, group: str, depth: int, seen: set[tuple[str, str]]
    ) -> Iterator[Hop]:
        if depth >= self._max_fallbacks:
            return
        for target in _lookup(lists, name, group):
            hop = self._find(self._aliases.get(target, target))
            if hop is None or (hop.group.name, hop.capture) in seen:
                continue
            seen.add((hop.group.name, hop.capture))
            yield hop
            yield from self._below(lists, target, hop.group.name, depth + 1, seen)


def _lookup(lists: Mapping[str, tuple[str, ...]], name: str, group: str) -> tuple[str, ...]:
    """litellm's order: the name as asked, the name without its provider, the group's own name, then `*`."""
    for key in (name, name.partition("/")[2], group, "*"):
        if key and key in lists:
            return lists[key]
    return ()


def _compile(name: str) -> re.Pattern[str]:
    """`openai/*` → `openai/(.*)`. Only the first `*` captures: that is the one litellm puts into the model."""
    head, _, tail = name.partition("*")
    return re.compile(re.escape(head) + "(.*)" + ".*".join(map(re.escape, tail.split("*"))), re.DOTALL)
