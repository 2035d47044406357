"""`router_settings`: retries, fallbacks and cooldowns, in litellm's format.

Fallbacks and aliases have several forms; the functions here convert all of them to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from gatewayd.config.schema.base import Count, Flag, Seconds, Section, key

Path = tuple[str | int, ...]

Fallbacks = list[str | dict[str, str | list[str]]] | dict[str, str | list[str]]
"""`[{group: [target, ...]}, ...]` (litellm's form), `{group: [target, ...]}`, or `[target, ...]` for every group."""

FALLBACKS: TypeAdapter[Any] = TypeAdapter(Fallbacks | None, config=ConfigDict(strict=True, hide_input_in_errors=True))
"""Checks a single value of this form."""

STRATEGIES = (
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

    routing_strategy: Literal[STRATEGIES] | None = key(  # type: ignore[valid-type]  # one list for type and docs
        None,
        "How a deployment is chosen. Default: `simple-shuffle`.",
        approximated="`simple-shuffle` and `least-busy` work as in litellm; every other strategy is replaced by "
        "`simple-shuffle`: at random by `weight`, else `rpm`, else `tpm`, which are shares and not limits",
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

    IGNORED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "`simple-shuffle` has no settings": ("routing_strategy_args", "routing_groups", "weights"),
        "the kind of error decides what is retried: see docs/errors.md": (
            "retry_policy", "model_group_retry_policy", "allowed_fails_policy", "max_retries",
        ),
        "gatewayd does not count tokens before a call; use context_window_fallbacks": ("enable_pre_call_checks",),
        "no such checks in this version": ("optional_pre_call_checks", "model_group_affinity_config",
            "deployment_affinity_ttl_seconds"),
        "tag routing does not exist in this version": (
            "enable_tag_filtering", "tag_filtering_match_any", "tag_routing_prefix",
        ),
        "other deployments of the group are always tried before fallbacks": ("enable_weighted_failover",),
        "budgets are not enforced in this version": ("provider_budget_config",),
        "requests are not queued": ("default_max_parallel_requests", "default_priority", "polling_interval"),
        "cooldowns and counters are kept in this process": (
            "redis_url", "redis_host", "redis_port", "redis_password", "redis_db",
        ),
        "answers are not cached in this version": ("cache_responses", "cache_kwargs", "caching_groups", "client_ttl"),
        "gatewayd measures health by the requests that deployments serve": (
            "enable_health_check_routing", "health_check_staleness_threshold",
            "health_check_ignore_transient_errors", "background_health_check_model_groups",
        ),
        "an invalid deployment makes the file invalid": ("ignore_invalid_deployments",),
        "alerts do not exist in this version; watch the metrics": ("alerting_config",),
        "not used by gatewayd": ("router_general_settings", "assistants_config", "search_tools", "plugins"),
    }  # fmt: skip
    EMPTY_COUNTS: ClassVar[frozenset[str]] = frozenset({"tag_filtering_match_any"})
    REFUSED: ClassVar[Mapping[str, tuple[str, ...]]] = {"requests would pass unchecked": ("guardrail_list",)}


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
