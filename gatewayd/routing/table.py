"""From the model a client names to the chain of groups that may answer.

All of it is computed when a configuration is loaded; a request looks one name up. Names caught by a pattern
(`openai/*`) are resolved on first use and remembered, in a bounded way. Of deployments it knows what picking needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gatewayd.errors import FallbackKind, UnknownModel

_REMEMBERED = 4096
"""Bound of the memory for pattern-resolved names: client input, so it must not grow without end."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment as routing sees it. `identity` is the key of its health, `id` its name in headers and logs."""

    id: str
    identity: str
    order: int = 0
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    cooldown_time: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A model group: its candidates in levels, the lowest `order` first, and how often it is tried again."""

    name: str
    levels: tuple[tuple[Candidate, ...], ...]
    num_retries: int = 0

    @classmethod
    def of(cls, name: str, candidates: Iterable[Candidate], num_retries: int = 0) -> Group:
        by_order: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            by_order.setdefault(candidate.order, []).append(candidate)
        return cls(name, tuple(tuple(by_order[order]) for order in sorted(by_order)), num_retries)

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
    """Resolves model names. Built once per configuration; only its memory of pattern-resolved names changes."""

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        fallbacks: Mapping[FallbackKind, Mapping[str, tuple[str, ...]]] | None = None,
        max_fallbacks: int = 5,
        aliases: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        by_id: Mapping[str, Group] | None = None,
        by_upstream_model: Mapping[str, Group] | None = None,
    ) -> None:
        """`by_id` and `by_upstream_model` hold one-candidate groups for names that are no model group (litellm)."""
        self._groups = {group.name: group for group in groups}
        self._patterns = sorted(
            ((_compile(group.name), group) for group in groups if "*" in group.name),
            key=lambda entry: (-len(entry[1].name.replace("*", "")), entry[1].name),
        )
        self._fallbacks = fallbacks or {}
        self._max_fallbacks = max_fallbacks
        self._aliases = dict(aliases or {})
        self._hidden = frozenset(hidden)
        self._extra = {**(by_upstream_model or {}), **(by_id or {})}
        self._remembered: dict[str, Chain] = {}
        self._chains = {name: self._build_chain(name, Hop(group)) for name, group in self._groups.items()}
        for alias, target in self._aliases.items():
            if (hop := self._find(target)) is not None:
                self._chains[alias] = self._build_chain(target, hop)

    def chain(self, model: str) -> Chain:
        """The chain for a model name. Raises UnknownModel."""
        chain = self._chains.get(model) or self._remembered.get(model)
        if chain is None:
            hop = self._find(model)
            if hop is None:
                raise UnknownModel(f"The model '{printable(model)}' does not exist.", param="model")
            chain = self._build_chain(model, hop)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[model] = chain
        return chain

    def candidates(self, group: str) -> tuple[Candidate, ...]:
        """All candidates of a group; none for an unknown one."""
        found = self._groups.get(group)
        return () if found is None else found.candidates

    def names(self) -> list[str]:
        """What `GET /v1/models` shows: groups, patterns as written, and aliases that are not hidden; sorted."""
        return sorted({*self._groups, *self._aliases} - self._hidden)

    def _find(self, model: str) -> Hop | None:
        if (group := self._groups.get(model)) is not None:
            return Hop(group)
        for pattern, group in self._patterns:
            if (match := pattern.fullmatch(model)) is not None:
                return Hop(group, match[1])
        if (group := self._extra.get(model)) is not None:
            return Hop(group)
        return None

    def _build_chain(self, asked: str, first: Hop) -> Chain:
        return Chain(first, {kind: hops for kind in FallbackKind if (hops := self._flatten(kind, asked, first))})

    def _flatten(self, kind: FallbackKind, asked: str, first: Hop) -> tuple[Hop, ...]:
        """Depth first: a fallback's own fallbacks come right after it; a group is visited once; depth is bounded."""
        lists = self._fallbacks.get(kind, {})
        hops: list[Hop] = []
        seen = {(first.group.name, first.capture)}

        def visit(name: str, group: str, depth: int) -> None:
            if depth >= self._max_fallbacks:
                return
            for target in _lookup(lists, name, group):
                hop = self._find(self._aliases.get(target, target))
                if hop is None or (hop.group.name, hop.capture) in seen:
                    continue
                seen.add((hop.group.name, hop.capture))
                hops.append(hop)
                visit(target, hop.group.name, depth + 1)

        visit(asked, first.group.name, 0)
        return tuple(hops)


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


def printable(name: str, limit: int = 120) -> str:
    """A client's text made safe for a message: control characters escaped, length bounded."""
    text = name if len(name) <= limit else name[:limit] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]
