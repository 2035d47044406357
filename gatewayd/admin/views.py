"""What the admin side shows, as JSON. Reads, never writes; secrets are masked wherever they might stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gatewayd._version import __version__
from gatewayd.config.snapshot import Packed, Snapshot
from gatewayd.engine.reload import Applied, Rejected, Reloader, ReloadOutcome, Unchanged
from gatewayd.engine.runtime import Gateway, Runtime, Target


def status_view(gateway: Gateway, reloader: Reloader, uptime: float, now: float) -> bytes:
    """`uptime` in seconds; `now` on the monotonic clock that health is kept on."""
    runtime = gateway.current
    server = runtime.snapshot.server
    return _encode(
        {
            "version": __version__,
            "revision": runtime.snapshot.revision,
            "ready": gateway.ready,
            "uptime_seconds": round(uptime, 3),
            "in_flight": gateway.in_flight,
            "listen": [str(address) for address in server.listen],
            "admin": None if server.admin is None else str(server.admin),
            "files": runtime.snapshot.files,
            "groups": _groups(runtime, now),
            "aliases": {name: alias.model for name, alias in runtime.snapshot.routing.aliases.items()},
            "reloads": {name: reloader.counts[name] for name in ("applied", "unchanged", "rejected")},
            "last_reload": _last_reload(reloader),
        }
    )


def config_view(snapshot: Snapshot) -> bytes:
    """The effective configuration, defaults filled in, secrets masked."""
    tree = snapshot.effective
    shown = msgspec.Raw(tree.json) if isinstance(tree, Packed) else tree
    return _encode({"revision": snapshot.revision, "files": snapshot.files, "config": shown})


def outcome_view(outcome: ReloadOutcome) -> bytes:
    return _encode(_outcome(outcome))


def _outcome(outcome: ReloadOutcome) -> dict[str, Any]:
    match outcome:
        case Applied(revision, changes, warnings, seconds):
            return {
                "result": "applied",
                "revision": revision,
                "changes": changes,
                "warnings": [problem.as_dict() for problem in warnings],
                "seconds": round(seconds, 3),
            }
        case Unchanged(revision):
            return {"result": "unchanged", "revision": revision}
        case Rejected(problems):
            return {"result": "rejected", "problems": [problem.as_dict() for problem in problems]}


def _last_reload(reloader: Reloader) -> dict[str, Any] | None:
    if reloader.last is None or reloader.last_at is None:
        return None
    return {"at": reloader.last_at.isoformat(timespec="milliseconds"), **_outcome(reloader.last)}


def _groups(runtime: Runtime, now: float) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for target in runtime.targets.values():
        groups.setdefault(target.deployment.group, []).append(_deployment(runtime, target, now))
    return [{"name": name, "deployments": deployments} for name, deployments in groups.items()]


def _deployment(runtime: Runtime, target: Target, now: float) -> dict[str, Any]:
    deployment = target.deployment
    state = runtime.health.state(deployment.identity)
    cooling_for = runtime.health.cooling_for(target.candidate, now)
    return {
        "id": deployment.id,
        "provider": deployment.provider,
        "model": deployment.model,
        "upstream": deployment.kind,
        "state": "cooling" if cooling_for else "probation" if state.probation else "ok",
        "cooling_for_seconds": round(cooling_for, 3),
        "in_flight": state.in_flight,
        "failures": state.fails,
        "last_error": state.last_error,
        "place": deployment.place,
    }


def _encode(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2)


def _plain(value: object) -> object:
    """What JSON does not know: read-only mappings as objects, anything else by its name (a `Secret` shows `***`)."""
    return dict(value) if isinstance(value, Mapping) else str(value)
