"""The models behind a pattern, according to litellm's price table. Lists of models show them instead of the pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

from gatewayd.config import providers
from gatewayd.config.snapshot import Deployment

MOST_LISTED = 250
"""Maximum number of names for one pattern."""
_SERVED = frozenset({"chat", "completion", "embedding"})
_SPECIAL = re.compile(r"^(ft:|sample_spec|\d+-x-\d+/)|/\d+-month-commitment/|[*]")


def listed_models(names: Iterable[str], deployments: Iterable[Deployment]) -> list[str]:
    """`names` (of groups and aliases), with each pattern replaced by the known names of its models.

    A pattern without known models, or with one model for all names, is left out.
    """
    plain = {name for name in names if "*" not in name}
    patterns = {name for name in names if "*" in name}
    for deployment in deployments:
        if deployment.group in patterns and deployment.group.count("*") == deployment.model.count("*") == 1:
            plain.update(_behind(deployment))
    return sorted(plain)


def retired(provider: str, model: str, today: date | None = None) -> date | None:
    """The date since which the model is gone, according to the price table; None for others."""
    try:
        day = date.fromisoformat(providers.retirement(provider, model) or "")
    except ValueError:
        return None
    return day if day <= (today or datetime.now(UTC).date()) else None


def _behind(deployment: Deployment) -> list[str]:
    head, _, tail = deployment.model.partition("*")
    found = []
    for model in providers.models(deployment.provider):
        middle = model[len(head) : len(model) - len(tail)]
        if not model.startswith(head) or not model.endswith(tail) or not middle or _SPECIAL.search(model):
            continue
        entry = providers.catalogue(deployment.provider, model)
        if entry is not None and entry.get("mode") in _SERVED and retired(deployment.provider, model) is None:
            found.append(deployment.group.replace("*", middle))
            if len(found) == MOST_LISTED:
                break
    return found
