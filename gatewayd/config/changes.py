"""What differs between two snapshots, in lines a person reads: the answer to "what did that edit do?".

`+` new, `-` gone, `~` changed. Pure. Values are shown only where they cannot be secret (numbers, names, addresses);
of a deployment only the names of the changed fields.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gatewayd.config.snapshot import Address, Deployment, RoutingSettings, ServerSettings, Snapshot
from gatewayd.secret import Secret

_SILENT = {"id", "identity", "place", "litellm_params", "unserved"}
"""Fields of a deployment that only mirror others, or say nothing to a reader by their name alone."""
_IN_THE_FILE = {"mock": "mock_response", "info": "model_info", "trust": "ssl_verify", "family": "base_model"}
"""Fields of a deployment whose key in the file has another name."""


def changes(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    """One line per difference: model groups, deployments, routing, server, environment. Empty when nothing differs."""
    return tuple(line for line in steps(old, new) if line is not None)


def steps(old: Snapshot, new: Snapshot) -> Iterator[str | None]:
    """The lines of `changes`, and None wherever there has been some work without one: never much in one step."""
    yield from _deployments(old.deployments, new.deployments)
    yield from _routing(old.routing, new.routing)
    yield from _server(old.server, new.server)
    yield from _keys("environment", old.environment, new.environment)


def _deployments(old: Sequence[Deployment], new: Sequence[Deployment]) -> Iterator[str | None]:
    before, after = _by_group(old), _by_group(new)
    for group in [*after, *(g for g in before if g not in after)]:
        yield None
        was, now = before.get(group, []), after.get(group, [])
        if not was or not now:
            members = was or now
            count = f"{len(members)} deployment{'s' if len(members) > 1 else ''}"
            yield f"{'+' if now else '-'} group {group} ({count}: {', '.join(d.summary for d in members)})"
            continue
        for one, other in _pairs(was, now):
            yield None
            if other is None:
                assert one is not None
                yield f"- deployment {group}: {one.summary}"
            elif one is None:
                yield f"+ deployment {group}: {other.summary}"
            elif one.identity != other.identity or (one != other and _differing(one, other)):
                what = ", ".join(_differing(one, other)) or "parameters"
                yield f"~ deployment {group}: {other.summary}: {what}"


def _by_group(deployments: Sequence[Deployment]) -> dict[str, list[Deployment]]:
    groups: dict[str, list[Deployment]] = defaultdict(list)
    for deployment in deployments:
        groups[deployment.group].append(deployment)
    return groups


def _pairs(was: list[Deployment], now: list[Deployment]) -> Iterator[tuple[Deployment | None, Deployment | None]]:
    """Old and new of the same deployment: those that have not changed, then by an id that the file gives, then by
    provider and model. A derived id says nothing here: it is a matter of position. New ones first, in their order."""
    partners: dict[str, Deployment] = {}
    gone = {deployment.id: deployment for deployment in was}
    for key in (_by_identity, _by_own_id, _by_model):
        if not gone:
            break
        free: dict[Any, list[Deployment]] = defaultdict(list)
        for deployment in reversed(gone.values()):
            free[key(deployment)].append(deployment)
        for deployment in now:
            if deployment.id not in partners and (twins := free.get(key(deployment))):
                partners[deployment.id] = twins.pop()
                del gone[partners[deployment.id].id]
    yield from ((partners.get(deployment.id), deployment) for deployment in now)
    yield from ((deployment, None) for deployment in gone.values())


def _by_identity(deployment: Deployment) -> object:
    return deployment.identity


def _by_own_id(deployment: Deployment) -> object:
    return deployment.id if deployment.has_own_id else deployment.identity


def _by_model(deployment: Deployment) -> object:
    return deployment.provider, deployment.model


def _differing(one: Deployment, other: Deployment) -> list[str]:
    """The keys of the file that differ; of the parameters, each by its own name."""
    names = (f.name for f in dataclasses.fields(Deployment))
    found: list[str] = []
    for name in names:
        if name in _SILENT or getattr(one, name) == getattr(other, name):
            continue
        if name == "params":
            keys = dict.fromkeys([*one.params, *other.params])
            found += [key for key in keys if one.params.get(key) != other.params.get(key)]
        else:
            found.append(_IN_THE_FILE.get(name, name))
    return found


def _routing(old: RoutingSettings, new: RoutingSettings) -> Iterator[str]:
    yield from _values("", old, new, skip={"fallbacks", "aliases"})
    for kind in dict.fromkeys([*old.fallbacks, *new.fallbacks]):
        yield from _keys(kind.value, old.fallbacks.get(kind, {}), new.fallbacks.get(kind, {}), show=True)
    yield from _keys("alias", old.aliases, new.aliases)


def _server(old: ServerSettings, new: ServerSettings) -> Iterator[str]:
    yield from _values("", old, new, skip={"master_key_source", "default_models"})
    yield from _keys("default model for", old.default_models, new.default_models, show=True)


def _values(prefix: str, old: Any, new: Any, *, skip: Collection[str] = ()) -> Iterator[str]:
    for field in dataclasses.fields(old):
        one, other = getattr(old, field.name), getattr(new, field.name)
        if field.name in skip or one == other:
            continue
        if isinstance(one, Secret) or isinstance(other, Secret):
            yield f"{_sign(one, other)} {prefix}{field.name}"
        elif dataclasses.is_dataclass(one) and not isinstance(one, Address):
            yield from _values(f"{prefix}{field.name}.", one, other)
        else:
            yield f"~ {prefix}{field.name}: {_show(one)} → {_show(other)}"


def _keys(label: str, old: Mapping[str, Any], new: Mapping[str, Any], *, show: bool = False) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        one, other = old.get(key), new.get(key)
        if one != other:
            value = f": {_show(one)} → {_show(other)}" if show else ""
            yield f"{_sign(one, other)} {label} {key}{value}"


def _sign(old: object, new: object) -> str:
    return "+" if old is None else "-" if new is None else "~"


def _show(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Secret):
        return value.fingerprint()
    if isinstance(value, tuple):
        return ", ".join(_show(v) for v in value) or "none"
    return str(value)


def losses(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    """What an edit takes away that the beginning of a file would lack as well: most deployments, an address, the master
    key or its end. Each in words, to follow "the edit"."""
    found: list[str] = []
    if 2 * len(new.deployments) < len(old.deployments):
        found.append(f"removes {len(old.deployments) - len(new.deployments)} of {len(old.deployments)} deployments")
    was, now = old.server, new.server
    found += [f"stops listening on {address}" for address in was.listen if address not in now.listen]
    if was.admin is not None and was.admin != now.admin:
        found.append(f"closes the admin listener {was.admin}")
    before, after = (key.reveal() if key is not None else "" for key in (was.master_key, now.master_key))
    if before != after and before.startswith(after):
        found.append("shortens the master key" if after else "removes the master key")
    return tuple(found)
