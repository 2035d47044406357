"""Third stage, for names: whether fallbacks, aliases and default models refer to existing groups, without cycles."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path, dotted, shortened
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.router import CARRIED_OUT, AliasItem, RouterSettings, as_lists, targets
from gatewayd.config.snapshot import Alias, Deployment, RoutingSettings
from gatewayd.errors import FallbackKind
from gatewayd.suggest import nearest
from gatewayd.wire.dialect import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, MESSAGES, MODERATIONS, RESPONSES, Endpoint

_NO_GROUPS = frozenset(
    {"model", "model_name", "from", "to", "to_model", "match", "fallback", "fallbacks", "fallback_models", "models"}
)
"""Keys that people write into fallbacks, whose only keys are names of groups."""
_FORM = "the form is `fallbacks: [{GROUP: [OTHER, ANOTHER]}]`"


class Names:
    """The possible meanings of a model name in the configuration."""

    def __init__(self, groups: Iterable[str], aliases: Iterable[str], others: Iterable[str]) -> None:
        """`others`: deployment ids and `provider/model`, which also name one deployment (litellm)."""
        self.groups = frozenset(groups)
        self.aliases = frozenset(aliases)
        self._others = frozenset(others)
        self._all = self.groups | self.aliases
        first = [shortened(name) for name in heapq.nsmallest(9, self._all)]
        self._listing = f"known: {', '.join(first[:8])}{', ...' if len(first) > 8 else ''}" if first else None
        self._patterns = [_pattern(name) for name in self.groups if "*" in name]
        self._stripped = frozenset(name.partition("/")[2] for name in self.groups)
        self._slashed = [_pattern(f"x/{tail}") for name in self.groups if "*" in (tail := name.partition("/")[2])]

    def known(self, name: str) -> bool:
        """Whether a deployment would answer a request for this model."""
        return (
            name in self.groups
            or name in self.aliases
            or name in self._others
            or any(pattern.fullmatch(name) for pattern in self._patterns)
        )

    def looked_up(self, name: str) -> bool:
        """Whether fallbacks under this name can ever be used; litellm also tries the name without the provider."""
        if name == "*" or name in self._stripped or self.known(name):
            return True
        return any(pattern.fullmatch(f"x/{name}") for pattern in self._slashed)

    def hint(self, name: str, report: Report) -> str | None:
        """A hint for an unknown name."""
        return report.suggest(name, self._all) or self._listing


@dataclass(frozen=True, slots=True)
class Edge:
    """One fallback: from a group (or `*`) to a target, and the paths of both."""

    group: str
    target: str
    group_path: Path
    path: Path


def names_of(entries: Iterable[Any], deployments: Sequence[Deployment], router_settings: Mapping[str, Any]) -> Names:
    """The names in `model_list` and `model_group_alias`, including those of otherwise invalid entries."""
    groups = {deployment.group for deployment in deployments}
    others = {deployment.id for deployment in deployments if deployment.has_own_id}
    others.update(f"{deployment.provider}/{deployment.model}" for deployment in deployments)
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        name = entry.get("model_name") or entry.get(nearest("model_name", entry) or "")  # `modle_name` is one mistake
        if isinstance(name, str):
            groups.add(name)
    aliases = router_settings.get("model_group_alias")
    return Names(groups, aliases if isinstance(aliases, dict) else (), others)


def build_routing(
    router: RouterSettings, litellm: LitellmSettings, top_level: Any, names: Names, report: Report
) -> RoutingSettings:
    """The two sections merged, `router_settings` first, with litellm's defaults. `top_level`: the key `fallbacks`."""
    strategy = router.routing_strategy
    if strategy not in (None, *CARRIED_OUT):
        message = f"{strategy} is replaced by simple-shuffle: at random by weight, rpm or tpm"
        if strategy.startswith("usage-based"):
            message += ", which are shares here and not limits"
        report.warning("approximated", ("router_settings", "routing_strategy"), message)
    told = {
        "strategy": strategy if strategy in CARRIED_OUT else None,
        "num_retries": _setting("num_retries", router, litellm, report),
        "retry_after": router.retry_after,
        "timeout": _setting("timeout", router, litellm, report, "request_timeout"),
        "stream_timeout": router.stream_timeout,
        "allowed_fails": _setting("allowed_fails", router, litellm, report),
        "cooldown_time": router.cooldown_time,
        "disable_cooldowns": router.disable_cooldowns,
        "max_fallbacks": _setting("max_fallbacks", router, litellm, report),
    }
    return RoutingSettings(
        **{name: value for name, value in told.items() if value is not None},
        fallbacks=_fallbacks(router, litellm, top_level, names, report),
        aliases=_aliases(router, names, report),
    )


DEFAULT_MODEL_KEYS: Final[Mapping[str, tuple[Endpoint, ...]]] = {
    "completion_model": (CHAT, COMPLETIONS, RESPONSES, MESSAGES),
    "embedding_model": (EMBEDDINGS,),
    "image_generation_model": (IMAGES,),
    "moderation_model": (MODERATIONS,),
}
"""Keys of `general_settings`, and for which requests without a model they name one."""


_OFTEN_COPIED: Final = frozenset({"image_generation_model", "moderation_model"})
"""Keys that files copy from LiteLLM's documentation, with models that they do not list: the file is still valid."""


def default_models(general: GeneralSettings, names: Names, report: Report) -> dict[str, str]:
    """Endpoint → group for requests without a model."""
    models: dict[str, str] = {}
    for field, endpoints in DEFAULT_MODEL_KEYS.items():
        name = getattr(general, field)
        if name is not None and names.known(name):
            models.update({endpoint.path: name for endpoint in endpoints})
        elif name is not None and field in _OFTEN_COPIED:
            path: Path = ("general_settings", field)
            report.warning("unused_key", path, f"has no effect: there is no model group {report.quote(path, name)}")
        elif name is not None:
            _unknown(name, ("general_settings", field), names, report)
    return models


def _fallbacks(
    router: RouterSettings, litellm: LitellmSettings, top_level: Any, names: Names, report: Report
) -> dict[FallbackKind, dict[str, tuple[str, ...]]]:
    lists: dict[FallbackKind, dict[str, tuple[str, ...]]] = {}
    for kind in FallbackKind:
        written: list[tuple[Path, Any]] = [
            (("router_settings", kind.value), getattr(router, kind.value)),
            (("litellm_settings", kind.value), getattr(litellm, kind.value)),
        ]
        if kind is FallbackKind.GENERAL:
            written.append((("fallbacks",), top_level))
        path, value = _winner(written, report)
        edges = [Edge(g, t, (*path, *gp), (*path, *tp)) for g, t, gp, tp in targets(value)] if value else []
        lists[kind] = as_lists(value) if value else {}
        if kind is FallbackKind.GENERAL:
            edges += _default_fallbacks(router, litellm, lists[kind], report)
        _check_edges(edges, names, report)
        _check_circles(edges, kind, report)
    return {kind: groups for kind, groups in lists.items() if groups}


def _default_fallbacks(
    router: RouterSettings, litellm: LitellmSettings, lists: dict[str, tuple[str, ...]], report: Report
) -> list[Edge]:
    """`default_fallbacks: [a]` is `{"*": [a]}`, unless there is such an entry already."""
    path, value = _winner(
        [
            (("router_settings", "default_fallbacks"), router.default_fallbacks),
            (("litellm_settings", "default_fallbacks"), litellm.default_fallbacks),
        ],
        report,
    )
    if value:
        lists.setdefault("*", tuple(dict.fromkeys(value)))
    return [Edge("*", name, path, (*path, index)) for index, name in enumerate(value or ())]


def _setting(name: str, router: RouterSettings, litellm: LitellmSettings, report: Report, other: str = "") -> Any:
    """The value of a key that both sections may have; in `litellm_settings` it is `other`."""
    other = other or name
    written: list[tuple[Path, Any]] = [
        (("router_settings", name), getattr(router, name)),
        (("litellm_settings", other), getattr(litellm, other)),
    ]
    first, second = written[0][1], written[1][1]
    return _winner(written if first != second else written[:1], report)[1]


def _winner(written: Sequence[tuple[Path, Any]], report: Report) -> tuple[Path, Any]:
    """The first place with a value; adds a warning for every other place with one."""
    said = [(path, value) for path, value in written if value is not None]
    for path, _ in said[1:]:
        message = f"has no effect: {dotted(said[0][0])} takes precedence"
        report.warning("overridden_key", path, message, at_key=True)
    return said[0] if said else ((), None)


def _check_edges(edges: Sequence[Edge], names: Names, report: Report) -> None:
    checked: set[Path] = set()
    for edge in edges:
        if not names.known(edge.target):
            _unknown(edge.target, edge.path, names, report)
        elif edge.target == edge.group:
            report.warning("fallback_self", edge.path, f"{report.quote(edge.path, edge.target)} falls back to itself")
        if edge.group_path not in checked and not names.looked_up(edge.group):
            checked.add(edge.group_path)
            quoted = report.quote(edge.group_path, edge.group)
            message = f"no model group is called {quoted}, so these fallbacks are never used"
            hint = _FORM if edge.group in _NO_GROUPS else names.hint(edge.group, report)
            report.warning("unused_fallback", edge.group_path, message, hint, at_key=True)


def _check_circles(edges: Sequence[Edge], kind: FallbackKind, report: Report) -> None:
    """Warns of cycles. They are allowed, because each group is tried once for a request. No warning for two groups that
    are each other's fallbacks, because that is usual."""
    paths = {(edge.group, edge.target): edge.path for edge in edges if edge.group not in ("*", edge.target)}
    graph: dict[str, list[str]] = {}
    for group, target in paths:
        graph.setdefault(group, []).append(target)
    for circle in circles(graph):
        if len(circle) == 3:
            continue
        message = f"{kind.value} form a cycle: {' → '.join(map(shortened, circle))}"
        hint = "each group is tried once for a request, so this is allowed"
        report.warning("fallback_cycle", paths[circle[-2], circle[-1]], message, hint)


def circles(graph: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Cycles of a directed graph as `[a, b, a]`: at least one through every group of nodes that reach each other."""
    done: set[str] = set()
    for start in graph:
        trail: dict[str, Iterator[str]] = {} if start in done else {start: iter(graph[start])}
        while trail:
            node = next(reversed(trail))
            follower = next(trail[node], None)
            if follower is None:
                done.add(node)
                del trail[node]
            elif follower in trail:
                nodes = list(trail)
                yield [*nodes[nodes.index(follower) :], follower]
            elif follower not in done and follower in graph:
                trail[follower] = iter(graph[follower])


def _aliases(router: RouterSettings, names: Names, report: Report) -> dict[str, Alias]:
    aliases: dict[str, Alias] = {}
    written = router.model_group_alias or {}
    for name, item in written.items():
        path: Path = ("router_settings", "model_group_alias", name)
        target, hidden = (item.model, item.hidden) if isinstance(item, AliasItem) else (item, False)
        if isinstance(item, AliasItem):
            path = (*path, "model")
        if target in names.groups:
            aliases[name] = Alias(target, hidden)
        elif target in written:
            hint = "name the model group itself"
            message = f"{report.quote(path, target)} is an alias too; an alias cannot refer to another alias"
            report.error("alias_chain", path, message, hint)
            continue
        elif names.known(target):
            aliases[name] = Alias(target, hidden)
        else:
            _unknown(target, path, names, report)
            continue
        if name in names.groups:
            message = f"there is a model group {report.quote(path, name)}, which the alias hides"
            report.warning("alias_hides_group", path, message, at_key=True)
    return aliases


def _unknown(name: str, path: Path, names: Names, report: Report) -> None:
    if report.failed(path):
        return  # an unresolved reference
    hint = None if path in report.referenced else names.hint(name, report)
    report.error("unknown_group", path, f"there is no model group {report.quote(path, name)}", hint)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
