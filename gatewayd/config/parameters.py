"""What the API of a forwarded provider accepts, renames and refuses: `parameters.toml`, read once.

The rows are found by provider and model when an upstream is built, or at the first request for a wildcard's model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from gatewayd.config import providers
from gatewayd.config.tables import table

Values = Mapping[str, tuple[Any, ...]]
_NONE: Values = MappingProxyType({})


def _none() -> Values:
    return _NONE


@dataclass(frozen=True, slots=True)
class Parameters:
    """One row; the keys are explained at the top of `parameters.toml`."""

    renames: tuple[tuple[str, str], ...] = ()
    """(The caller's, the provider's) names of top-level fields of chat."""
    refuses: frozenset[str] = frozenset()
    refuses_values: Values = field(default_factory=_none)
    takes_values: Values = field(default_factory=_none)
    without_effort: frozenset[str] = frozenset()
    default_effort: str | None = None
    ignores: frozenset[str] = frozenset()
    developer: str | None = None
    text_content: bool = False
    strips: frozenset[str] = frozenset()
    embeddings: frozenset[str] = frozenset()

    @property
    def conditional(self) -> frozenset[str]:
        """Fields whose value decides whether they are refused."""
        names = self.without_effort.union(self.refuses_values, self.takes_values)
        return names | {"reasoning_effort"} if names else names

    def refused_by_value(self, values: Mapping[str, Any]) -> set[str]:
        """Names of the fields of `conditional` that `drop_params` leaves out; `values` are all that are sent."""
        refused = {name for name, bad in self.refuses_values.items() if name in values and values[name] in bad}
        effort = self.default_effort if "reasoning_effort" in refused else values.get("reasoning_effort")
        if isinstance(effort, dict):  # the form of the Responses API
            effort = effort.get("effort")
        reasons = (self.default_effort if effort is None else effort) != "none"
        for name in self.without_effort.union(self.takes_values).intersection(values):
            free = name in self.without_effort and not reasons
            if not free and values[name] not in self.takes_values.get(name, ()):
                refused.add(name)
        return refused


def has_row(provider: str) -> bool:
    """Whether the table has a row for the provider."""
    return provider in table("parameters")["provider"]


@lru_cache(1024)
def of(provider: str, model: str) -> Parameters:
    """`model`: the provider's own name of it, or its family (`Deployment.family`)."""
    rows = table("parameters")
    found = rows["provider"].get(provider)
    row = dict(rows["default"] if found is None else found)
    listed = providers.get(provider)
    if "renames" not in row and listed is not None:
        row["renames"] = dict(listed.renames)
    for family in row.pop("family", ()):
        if re.search(family["models"], model):
            row |= family
            break
    return Parameters(
        renames=tuple(row.get("renames", {}).items()),
        refuses=_names(row.get("refuses", "")),
        refuses_values=_values(row.get("refuses_values")),
        takes_values=_values(row.get("takes_values")),
        without_effort=_names(row.get("without_effort", "")),
        default_effort=row.get("default_effort"),
        ignores=_names(row.get("ignores", "")),
        developer=row.get("developer") or None,
        text_content=row.get("text_content", False),
        strips=_names(row.get("strips", "")),
        embeddings=_names(row.get("embeddings", "")),
    )


@cache
def completions() -> frozenset[str]:
    """Fields of chat that no completions API takes."""
    return _names(table("parameters")["completions"])


@cache
def ollama() -> frozenset[str]:
    """Ollama's own options, by which its OpenAI API is not moved."""
    return _names("@ollama")


def _names(listed: str) -> frozenset[str]:
    groups = table("parameters")["groups"]
    return frozenset(
        name for entry in listed.split() for name in (groups[entry[1:]].split() if entry.startswith("@") else (entry,))
    )


def _values(written: Mapping[str, list[Any]] | None) -> Values:
    return _NONE if written is None else MappingProxyType({name: tuple(values) for name, values in written.items()})
