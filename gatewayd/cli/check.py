"""`gatewayd check` and `gatewayd schema`, which need no running daemon."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from gatewayd.cli import exits
from gatewayd.cli.output import complain, paint, problems_text
from gatewayd.config import search, source
from gatewayd.config.checks import support
from gatewayd.config.document import shortened
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import Problem, ProblemFormat, errors, warnings
from gatewayd.config.result import Result
from gatewayd.config.secrets import without_keys
from gatewayd.config.validator import ConfigValidator
from gatewayd.config.yaml_reader import MAX_CONFIG_BYTES

_STDIN = "<stdin>"
_MAX_NAMES = 60
"""Keys listed in one row of the table."""


def check(named: str | None, *, form: ProblemFormat, strict: bool, on_invalid_deployment: str | None = None) -> int:
    """Prints all problems of the file; `strict`: fail on warnings too."""
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
    """Which of litellm's keys in this file work as in litellm; "" for a file that has only models."""
    if not any(name not in ("model_list", "gatewayd") and not name.startswith("x-") for name in tree):
        return ""
    own = tree.get("gatewayd")
    listed = own.get("ignore_unsupported") if isinstance(own, Mapping) else None
    accepted = frozenset(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else frozenset()
    text = "litellm keys in this file:\n"
    for row, keys in support.rows(tree, problems, accepted).items():
        if keys:
            names = ", ".join(shortened(without_keys(key)) for key in keys[:_MAX_NAMES])
            more = f" and {len(keys) - _MAX_NAMES} more" if len(keys) > _MAX_NAMES else ""
            text += f"  {row:12} {names}{more}\n"
    if any(problem.code == "too_many_problems" for problem in problems):
        text += "  There are more problems than are shown, so supported keys are not listed.\n"
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
