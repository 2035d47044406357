"""`gatewayd check` and `gatewayd schema`: everything about a configuration file that can be told without a daemon."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from gatewayd.cli import exits
from gatewayd.cli.output import complain, paint, problems_text
from gatewayd.config import search, source
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import Problem, ProblemFormat, errors, warnings
from gatewayd.config.result import Result
from gatewayd.config.schema.deployment import ModelInfo
from gatewayd.config.validator import ConfigValidator
from gatewayd.config.yaml_reader import MAX_CONFIG_BYTES

_FACTS = "model_list[].model_info."
_STDIN = "<stdin>"
_LITELLM_SECTIONS = ("litellm_settings", "router_settings", "general_settings")
_SUPPORT = {
    "approximated": "approximated",
    "misplaced_key": "sent on",
    "ignored_key": "ignored",
    "unknown_key": "ignored",
    "overridden_key": "ignored",
    "unsupported_key": "refused",
}
"""What a problem's code says about how a key of litellm's is supported."""


def check(named: str | None, *, form: ProblemFormat, strict: bool, on_invalid_deployment: str | None = None) -> int:
    """Prints every problem of the file at once; `strict`: warnings fail too."""
    overrides = Overrides(on_invalid_deployment=on_invalid_deployment)
    if named == "-":
        return _check(_STDIN, sys.stdin.buffer.read(MAX_CONFIG_BYTES + 1), form, strict, overrides)
    path = search.find(named, os.environ)
    if path is None or not os.path.exists(path):
        places = ", ".join(search.candidates(os.environ)) if path is None else path
        complain(f"no configuration file: {places}")
        return exits.NO_INPUT
    return _check(path, None, form, strict, overrides)


def _check(path: str, data: bytes | None, form: ProblemFormat, strict: bool, overrides: Overrides) -> int:
    document = source.read(path, data)
    result = ConfigValidator(environ=os.environ, overrides=overrides).check_document(document)
    failed = bool(errors(result.problems)) or (strict and bool(result.problems))
    sys.stdout.write(problems_text(result.problems, form, sys.stdout))
    if form == "text":
        sys.stdout.write(_support_text(source.read(path, data).tree, result.problems) + _summary(path, result))
    return exits.CONFIG if failed else exits.OK


def schema() -> int:
    """Prints the JSON Schema (draft-07) of the file."""
    from gatewayd.config.schema.export import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
    return exits.OK


def _summary(path: str, result: Result) -> str:
    counts = [_count(len(errors(result.problems)), "error"), _count(len(warnings(result.problems)), "warning")]
    snapshot = result.snapshot
    if snapshot is None:
        return f"{path}: {paint(' and '.join(counts), 'error', sys.stdout)}\n"
    groups = len({deployment.group for deployment in snapshot.deployments})
    key = f"clients send the master key, from {source}\n" if (source := snapshot.server.master_key_source) else ""
    told = f"{_count(groups, 'model group')}, {_count(len(snapshot.deployments), 'deployment')}, {counts[1]}"
    if snapshot.left_out:
        told += f", {paint(f'{len(snapshot.left_out)} left out', 'warning', sys.stdout)}"
    return f"{key}{path}: {paint('ok', 'ok', sys.stdout)}: {told}, revision {snapshot.revision}\n"


def _support_text(tree: Mapping[str, Any], problems: tuple[Problem, ...]) -> str:
    """Which of litellm's keys in this file do what litellm makes of them; "" for a file that has only models."""
    if not any(section in tree for section in _LITELLM_SECTIONS):
        return ""
    told = {_general(problem.path): _SUPPORT[problem.code] for problem in problems if problem.code in _SUPPORT}
    groups: dict[str, list[str]] = {
        name: [] for name in ("supported", "approximated", "sent on", "only shown", "ignored", "refused")
    }
    for key in dict.fromkeys(_litellm_keys(tree)):
        fact = key.startswith(_FACTS) and key.removeprefix(_FACTS) not in ModelInfo.model_fields
        groups[told.get(key, "only shown" if fact else "supported")].append(key)
    rows = (f"  {name:12} {', '.join(keys)}\n" for name, keys in groups.items() if keys)
    return "litellm keys in this file:\n" + "".join(rows)


def _litellm_keys(tree: Mapping[str, Any]) -> Iterator[str]:
    models = tree.get("model_list")
    for entry in models if isinstance(models, list) else ():
        for part in ("litellm_params", "model_info"):
            if isinstance(entry, Mapping) and isinstance(entry.get(part), Mapping):
                yield from (f"model_list[].{part}.{key}" for key in entry[part])
    for section in _LITELLM_SECTIONS:
        if isinstance(tree.get(section), Mapping):
            yield from (f"{section}.{key}" for key in tree[section])


def _general(path: str) -> str:
    """`model_list[3].litellm_params.rpm` as a kind of key: `model_list[].litellm_params.rpm`."""
    return re.sub(r"\[\d+\]", "[]", path)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
