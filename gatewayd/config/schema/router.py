"""`router_settings`: retries, fallbacks and cooldowns, in litellm's format.

Fallbacks and aliases have several forms; the functions here convert all of them to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from gatewayd.config.document import Path
from gatewayd.config.schema.base import Count, Flag, Seconds, Section, key

Fallbacks = list[str | dict[str, str | list[str]]] | dict[str, str | list[str]]
"""`[{group: [target, ...]}, ...]` (litellm's form), `{group: [target, ...]}`, or `[target, ...]` for every group."""

FALLBACKS: TypeAdapter[Any] = TypeAdapter(Fallbacks | None, config=ConfigDict(strict=True, hide_input_in_errors=True))
"""Checks a single value of this form."""

LITELLM_STRATEGIES = (
    "simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing", "usage-based-routing-v2",
    "cost-based-routing", "lar1",
)  # fmt: skip


CARRIED_OUT = ("simple-shuffle", "least-busy")
"""The strategies that work as in litellm."""


class AliasItem(Section):
    """An alias with options."""

    model: str = key(..., "The model group that the alias stands for.", min_length=1)
    hidden: Flag = key(False, "Leave the alias out of `GET /v1/models`.")


class RouterSettings(Section):
    """How the deployments of a group share its requests, and what happens when one fails."""

    routing_strategy: Literal[LITELLM_STRATEGIES] | None = key(  # type: ignore[valid-type]  # one list for type and docs
        None,
        "How a deployment is chosen. Default: `simple-shuffle`.",
        approximated="`simple-shuffle` and `least-busy` work as in litellm; every other strategy is replaced by "
        "`simple-shuffle`: at random by `weight`, else `rpm`, else `tpm`, which are shares and not limits",
        exact=CARRIED_OUT,
    )
    num_retries: Count | None = key(
        None, "Retries in the same group before fallbacks. Default: 2.", why="litellm's figure"
    )
    retry_after: Seconds | None = key(None, "Minimum number of seconds between two attempts. Default: 0.")
    timeout: Seconds | None = key(None, "Seconds for one attempt. Default: `gatewayd.timeouts.total`.")
    stream_timeout: Seconds | None = key(None, "The same for streams, up to the first event. Default: `timeout`.")
    allowed_fails: Count | None = key(
        None, "Failures per minute that are allowed before a deployment cools down. Default: 3.",
        why="litellm's figure",
    )  # fmt: skip
    cooldown_time: Seconds | None = key(
        None, "Seconds that a failing deployment is out of rotation. Default: 5.", why="litellm's figure"
    )
    disable_cooldowns: Flag | None = key(None, "Never take a deployment out of rotation. Default: false.")
    fallbacks: Fallbacks | None = key(None, "Groups to try when a group fails.")
    context_window_fallbacks: Fallbacks | None = key(None, "The same, when the request does not fit the model.")
    content_policy_fallbacks: Fallbacks | None = key(None, "The same, when a content filter refuses the request.")
    default_fallbacks: list[str] | None = key(None, "Fallbacks of every group without its own.")
    max_fallbacks: Count | None = key(
        None, "Longest chain of fallbacks of fallbacks. Default: 5.", why="litellm's figure"
    )
    model_group_alias: dict[str, str | AliasItem] | None = key(
        None, "Other names for groups: `{alias: group}` or `{alias: {model: group, hidden: true}}`."
    )
    default_litellm_params: dict[str, Any] | None = key(
        None, "Keys of litellm_params for every deployment that does not set them."
    )
    set_verbose: Flag | None = key(None, "`true`: the same as `gatewayd.log.level: debug`, which takes precedence.")
    debug_level: Literal["DEBUG", "INFO"] | None = key(
        None, "`DEBUG`: the same as `gatewayd.log.level: debug`, which takes precedence."
    )


def targets(value: Any) -> Iterator[tuple[str, str, Path, Path]]:
    """Every fallback named in a valid `Fallbacks` value: (group or `*`, target, path of each inside the value)."""
    if isinstance(value, Mapping):
        for group, names in value.items():
            if isinstance(names, str):
                yield group, names, (group,), (group,)
            else:
                for index, name in enumerate(names):
                    yield group, name, (group,), (group, index)
    else:
        for index, item in enumerate(value):
            if isinstance(item, str):
                yield "*", item, (index,), (index,)
            else:
                for group, name, source, target in targets(item):
                    yield group, name, (index, *source), (index, *target)


def as_lists(value: Any) -> dict[str, tuple[str, ...]]:
    """A valid `Fallbacks` value as group → targets; entries for the same group are merged without duplicates."""
    lists: dict[str, dict[str, None]] = {}
    for group, name, _, _ in targets(value):
        lists.setdefault(group, {})[name] = None
    return {group: tuple(names) for group, names in lists.items()}
