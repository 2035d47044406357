"""What the admin side shows, as JSON. Reads, never writes; secrets are masked wherever they might stand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewayd._version import __version__
from gatewayd.config.snapshot import Deployment, Packed, Snapshot
from gatewayd.engine.reload import Applied, Held, Rejected, Reloader, ReloadOutcome, Unchanged
from gatewayd.engine.runtime import Gateway, Runtime, Target
from gatewayd.observe.log import stamp
from gatewayd.routing.health import CONDITIONS, Failure
from gatewayd.upstream.local import local_server_hint


def status_view(
    gateway: Gateway,
    reloader: Reloader,
    uptime: float,
    now: float,
    workers: Sequence[Mapping[str, Any]] | None = None,
) -> bytes:
    """`uptime` in seconds; `now` on the monotonic clock that health is kept on. `workers`: what `health_view` told in
    each process that answers requests, if that is not this one."""
    runtime = gateway.current
    server = runtime.snapshot.server
    status = {
        "version": __version__,
        "revision": runtime.snapshot.revision,
        "ready": gateway.ready and not gateway.overloaded,
        "overloaded": gateway.overloaded,
        "uptime_seconds": round(uptime, 3),
        "in_flight": gateway.in_flight,
        "listen": [str(address) for address in server.listen],
        "admin": None if server.admin is None else str(server.admin),
        "files": runtime.snapshot.files,
        "groups": _groups(runtime, now),
        "left_out": [
            {"group": group, "place": place, "reason": reason} for group, place, reason in runtime.snapshot.left_out
        ],
        "aliases": {name: alias.model for name, alias in runtime.snapshot.routing.aliases.items()},
        "reloads": {name: reloader.counts[name] for name in ("applied", "unchanged", "rejected")},
        "last_reload": _last_reload(reloader),
        "held_edit": _held(reloader.held),
    }
    if workers is not None:
        _count_workers(status, workers)
    return _encode(status)


def health_view(gateway: Gateway, uptime: float, now: float) -> bytes:
    """How one worker is; arguments as of `status_view`."""
    groups = _groups(gateway.current, now)
    return _encode(
        {
            "uptime_seconds": round(uptime, 3),
            "in_flight": gateway.in_flight,
            "overloaded": gateway.overloaded,
            "groups": groups,
        }
    )


def _count_workers(status: dict[str, Any], workers: Sequence[Mapping[str, Any]]) -> None:
    """Puts the workers' numbers in place of those of the process that only decides."""
    # Those that do not serve, or are stuck, tell nothing of their groups.
    status["ready"] = status["ready"] and any("groups" in worker for worker in workers)
    status["overloaded"] = any(worker.get("overloaded", False) for worker in workers)
    status["ready"] = status["ready"] and not status["overloaded"]
    status["in_flight"] = sum(worker.get("in_flight", 0) for worker in workers)
    status["workers"] = [{name: value for name, value in worker.items() if name != "groups"} for worker in workers]
    told: dict[str, list[Any]] = defaultdict(list)
    for worker in workers:
        for group in worker.get("groups", ()):
            for deployment in group["deployments"]:
                told[deployment["id"]].append(deployment)
    for group in status["groups"]:
        for deployment in group["deployments"]:
            if views := told.get(deployment["id"]):
                deployment |= _merged(views)


def _merged(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One deployment, as all workers see it: the worst state with its results, the earliest beginning of that state,
    the newest failure."""
    worst = max(views, key=lambda view: (CONDITIONS.index(view["state"]), view["cooling_for_seconds"]))
    merged = {name: worst[name] for name in ("state", "cooling_for_seconds", "recent")}
    merged |= {name: sum(view[name] for view in views) for name in ("in_flight", "failures")}
    merged["since"] = min((v["since"] for v in views if v["state"] == worst["state"] and v["since"]), default=None)
    failures = [view["last_failure"] for view in (worst, *views) if view["last_failure"]]
    merged["last_failure"] = max(failures, key=lambda failure: failure["at"], default=None)
    merged["last_error"] = None if merged["last_failure"] is None else merged["last_failure"]["code"]
    return merged


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
        case Unchanged(revision, live_seconds):
            return {"result": "unchanged", "revision": revision, "live_seconds": round(live_seconds, 3)}
        case Rejected(problems):
            return {"result": "rejected", "problems": [problem.as_dict() for problem in problems]}


def _last_reload(reloader: Reloader) -> dict[str, Any] | None:
    if reloader.last is None or reloader.last_at is None:
        return None
    return {"at": reloader.last_at.isoformat(timespec="milliseconds"), **_outcome(reloader.last)}


def _held(held: Held | None) -> dict[str, Any] | None:
    if held is None:
        return None
    seconds = max(0.0, held.until - asyncio.get_running_loop().time())
    return {"revision": held.revision, "losses": held.losses, "live_in_seconds": round(seconds, 1)}


def _groups(runtime: Runtime, now: float) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for target in runtime.targets.values():
        groups.setdefault(target.deployment.group, []).append(_deployment(runtime, target, now))
    return [{"name": name, "deployments": deployments} for name, deployments in groups.items()]


def _deployment(runtime: Runtime, target: Target, now: float) -> dict[str, Any]:
    deployment = target.deployment
    state = runtime.health.state(deployment.identity)
    cooling_for = runtime.health.cooling_for(target.candidate, now)
    last = state.failures[-1] if state.failures else None
    return {
        "id": deployment.id,
        "provider": deployment.provider,
        "model": deployment.model,
        "upstream": deployment.kind,
        "address": deployment.authority or None,
        "state": state.condition(now),
        "since": None if state.since is None else _at(state.since, now),
        "cooling_for_seconds": round(cooling_for, 3),
        "in_flight": state.in_flight,
        "failures": state.fails,
        "recent": state.recent,
        "last_error": state.last_error,
        "last_failure": None if last is None else _failure(last, deployment, now),
        "place": deployment.place,
    }


def _failure(failure: Failure, deployment: Deployment, now: float) -> dict[str, Any]:
    return {
        "at": _at(failure.at, now),
        "code": failure.code,
        "reason": failure.reason,
        "hint": local_server_hint(deployment) if failure.refused else None,
    }


def _at(moment: float, now: float) -> str:
    """A moment of the monotonic clock as UTC (RFC 3339)."""
    return stamp(datetime.now(UTC).timestamp() - (now - moment))


def _encode(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2)


def _plain(value: object) -> object:
    """What JSON does not know: read-only mappings as objects, anything else by its name (a `Secret` shows `***`)."""
    return dict(value) if isinstance(value, Mapping) else str(value)
