"""What becomes of each of litellm's keys in a file: the table that `gatewayd check` prints below the problems.

The rows come from the same tables as the problems (`checks.keys`), not from the list of problems, which is capped: a
key never counts as supported because its problem is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from gatewayd.config.checks.keys import is_parameter, refused_in_part, standing
from gatewayd.config.problems import Problem
from gatewayd.config.schema import callbacks
from gatewayd.config.schema.base import Section, asks_for_nothing, known, nested
from gatewayd.config.schema.deployment import LitellmParams, ModelEntry, ModelInfo
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.root import Root
from gatewayd.config.schema.router import RouterSettings

ROWS = ("supported", "approximated", "sent on", "only shown", "default", "ignored", "invalid", "refused")
"""From harmless to serious: a key that several deployments have is in the last of its rows.

`default`: the key has no effect, and its value is litellm's default, so nothing is lost.
"""

_BY_CODE = {
    "approximated": "approximated",
    "misplaced_key": "sent on",
    "ignored_key": "ignored",
    "unknown_key": "ignored",
    "unused_key": "ignored",
    "overridden_key": "ignored",
    "unsupported_key": "refused",
}
"""What a problem says about a key whose value decides."""

_TWINS = {"base_url": "api_base", "request_timeout": "timeout", "max_retries": "num_retries"}
"""Keys of `litellm_params` that have no effect where another one is set."""

_OPENED: tuple[type[Section], ...] = (
    ModelEntry, LitellmParams, ModelInfo, RouterSettings, LitellmSettings, GeneralSettings,
)  # fmt: skip
"""Sections whose keys have rows of their own; another value is one key."""


def rows(tree: Mapping[str, Any], problems: Iterable[Problem], accepted: frozenset[str]) -> dict[str, list[str]]:
    """Row → its keys (`model_list[].litellm_params.rpm`), each once, in the order of the file.

    `accepted`: names under `gatewayd.ignore_unsupported`. When `problems` were cut off, `supported` is left out: a
    problem that is missing could be about any of its keys.
    """
    problems = list(problems)
    found: dict[str, str] = {}
    for path, row in _section(Root, tree, "", accepted):
        _worsen(found, path, row)
    for problem in problems:
        path = re.sub(r"\[\d+\]", "[]", problem.path)
        row = "invalid" if problem.severity == "error" else ""
        row = _BY_CODE.get(problem.code, row)
        while row and path and path not in found:
            path = path.removesuffix("[]") if path.endswith("[]") else path.rpartition(".")[0]
            row = row if row in ("invalid", "refused") else ""
        if row and path in found:
            _worsen(found, path, row)
    table: dict[str, list[str]] = {row: [] for row in ROWS}
    for path, row in found.items():
        table[row].append(path)
    if any(problem.code == "too_many_problems" for problem in problems):
        table["supported"].clear()
    return table


def _worsen(found: dict[str, str], path: str, row: str) -> None:
    before = found.setdefault(path, row)
    if {before, row} == {"supported", "default"}:
        found[path] = "supported"
    elif ROWS.index(row) > ROWS.index(before):
        found[path] = row


def _section(
    section: type[Section], mapping: Mapping[str, Any], prefix: str, accepted: frozenset[str]
) -> Iterator[tuple[str, str]]:
    below = {name: (inner, many) for name, inner, many in nested(section)}
    for name, value in mapping.items():
        path = f"{prefix}.{name}" if prefix else name
        if section is Root and (name == "gatewayd" or name.startswith("x-")):
            continue
        inner, many = below.get(name, (None, ""))
        if inner is not None and inner in _OPENED:
            items = value if many == "list" else [value]
            for item in items if isinstance(items, list) else ():
                if isinstance(item, Mapping):
                    yield from _section(inner, item, f"{path}[]" if many == "list" else path, accepted)
            continue
        if section is ModelEntry and name == "model_name":
            continue
        yield path, _row(section, name, value, mapping, accepted)


def _row(section: type[Section], name: str, value: Any, mapping: Mapping[str, Any], accepted: frozenset[str]) -> str:
    if name in section.model_fields:
        if section is LitellmParams and mapping.get(_TWINS.get(name, "")) is not None:
            return "ignored"
        return "approximated" if value is not None and _differs(section, name, value) else "supported"
    support, _ = standing(section, name)
    if support != "full" and asks_for_nothing(section, name, value):
        return "default"
    if support == "refused":
        return "ignored" if name in accepted else "refused"
    if support == "ignored":
        guards = name in refused_in_part(section) and any(True for _ in callbacks.guards(value))
        return "refused" if guards and name not in accepted else "ignored"
    if section is ModelInfo:
        return "only shown"
    if name in known(section) or (section is LitellmParams and is_parameter(name)):
        return "supported"
    return "sent on" if section is LitellmParams else "ignored"


def _differs(section: type[Section], name: str, value: Any) -> bool:
    exact = _approximated(section).get(name)
    return exact is not None and value not in exact


@cache
def _approximated(section: type[Section]) -> Mapping[str, tuple[Any, ...]]:
    """Keys that gatewayd carries out differently from litellm → the values for which it does not."""
    extras = ((name, field.json_schema_extra) for name, field in section.model_fields.items())
    return {
        name: tuple(extra.get("x-exact", ()))  # type: ignore[arg-type]
        for name, extra in extras
        if isinstance(extra, Mapping) and "x-approximated" in extra
    }
