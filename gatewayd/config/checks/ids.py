"""Names and identities of deployments, both unique in the file.

A deployment's id is its name for people: in the log, in `gatewayd status`, in the `x-gatewayd-deployment` header. It is
`model_info.id`, or else made from the name of its group: the first deployment of the group `gpt-4o` is called `gpt-4o`,
the second `gpt-4o-2`. So an edit of another group, of a key or of an address renames nothing. Health and connections
belong to the identity, which is a hash of everything that is sent, and of the address.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path
from gatewayd.config.snapshot import Deployment
from gatewayd.secret import Secret

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_LENGTH = 64
"""Characters of a derived id, without its number."""


class Ids:
    """Gives every deployment its id and its identity."""

    def __init__(self, entries: Sequence[Any], report: Report) -> None:
        """`entries`: `model_list` with resolved references. Invalid entries keep their numbers, so skipping one renames
        no other."""
        self._report = report
        self._given: dict[str, Path] = {}
        self._seen: dict[str, int] = defaultdict(int)
        self._derived = _derived(entries)

    def take(self, deployment: Deployment, path: Path) -> tuple[str, str]:
        """(id, identity) of the entry at `path`."""
        identity = _identity(deployment)
        self._seen[identity] += 1
        if self._seen[identity] > 1:
            identity = _digest([identity, self._seen[identity]])
        if not deployment.id:
            return self._derived[int(path[1])], identity
        if deployment.id in self._given:
            message = f"model_list[{self._given[deployment.id][1]}] has the same id; ids must be unique"
            self._report.error("duplicate_id", (*path, "model_info", "id"), message)
        self._given[deployment.id] = path
        return deployment.id, identity


def _derived(entries: Sequence[Any]) -> dict[int, str]:
    """An id for each entry without one, by its index. First deployments of groups get their names before others."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    waiting: dict[int, str] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, Mapping):
            if (given := _given(entry)) is not None:
                taken.add(given)
            else:
                waiting[index] = _base(entry)
    for index, base in [*waiting.items()]:
        if base not in taken:
            taken.add(base)
            names[index] = base
            del waiting[index]
    numbers: dict[str, int] = defaultdict(lambda: 1)
    for index, base in waiting.items():
        while True:
            numbers[base] += 1
            if (name := f"{base}-{numbers[base]}") not in taken:
                break
        taken.add(name)
        names[index] = name
    return names


def _given(entry: Mapping[str, Any]) -> str | None:
    info = entry.get("model_info")
    told = info.get("id") if isinstance(info, Mapping) else None
    return str(told) if isinstance(told, str | int) and not isinstance(told, bool) and told != "" else None


def _base(entry: Mapping[str, Any]) -> str:
    """The group's name in safe characters; the model's name for groups without such characters (`*`, `模型`)."""
    params = entry.get("litellm_params")
    model = params.get("model") if isinstance(params, Mapping) else None
    for text in (entry.get("model_name"), model):
        if isinstance(text, str) and (safe := _UNSAFE.sub("-", text)[:_MAX_LENGTH].strip("-.")):
            return safe
    return "deployment"


def _identity(deployment: Deployment) -> str:
    """Everything that changes what is sent, or the address. Timeouts are part of the call instead."""
    d = deployment
    return _digest(
        [
            d.group, d.kind, d.provider, d.model, d.api_base, d.api_key, d.api_version, d.organization, d.params,
            d.extra_body, d.extra_headers, d.litellm_params, d.drop_params, d.additional_drop_params,
            d.allowed_openai_params, d.family, d.mock, d.trust, d.dialects,
            d.abilities,
        ]
    )  # fmt: skip


def _digest(value: Any) -> str:
    encoded = msgspec.json.encode(value, enc_hook=_reveal, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
