"""`gatewayd reload` and `gatewayd status`: requests to a running daemon, and its answers as text."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from gatewayd.cli import exits
from gatewayd.cli.admin import NoDaemon, discover
from gatewayd.cli.output import complain, paint, problems_text
from gatewayd.config.problems import Problem

_PATIENCE = 120.0
"""Maximum seconds of a reload: reading times out after thirty, and another reload may be running already."""
_GLANCE = 0.3
"""Seconds to wait for a refusal of the request."""


def reload(url: str | None, config: str | None, *, wait: bool) -> int:
    """Requests a reload; with `wait`, prints the outcome with all problems."""
    try:
        status, answer = discover(url, config, os.environ).request(
            "POST", "/reload", timeout=_PATIENCE if wait else _GLANCE
        )
    except NoDaemon as error:
        complain(str(error))
        return exits.UNAVAILABLE
    except TimeoutError:
        if wait:
            complain("the daemon accepted the request but did not answer")
            return exits.UNAVAILABLE
        sys.stdout.write("reload requested\n")
        return exits.OK
    if status not in (200, 422):
        return _refused(status, answer)
    if not wait:
        sys.stdout.write("reload requested\n")
        return exits.OK
    return _print_outcome(answer)


def status(url: str | None, config: str | None, *, form: Literal["text", "json"]) -> int:
    """Prints revision, groups and deployments with their health, and the last reload."""
    try:
        code, answer = discover(url, config, os.environ).request("GET", "/status", timeout=10.0)
    except (NoDaemon, TimeoutError) as error:
        complain(str(error) if isinstance(error, NoDaemon) else "the daemon accepted the request but did not answer")
        return exits.UNAVAILABLE
    if code != 200:
        return _refused(code, answer)
    text = json.dumps(answer, indent=2, ensure_ascii=False) if form == "json" else "\n".join(_status_lines(answer))
    sys.stdout.write(text + "\n")
    return exits.OK


def _refused(status: int, answer: Any) -> int:
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    hint = "; set $GATEWAYD_API_KEY to the master key" if status == 401 else ""
    complain(f"the daemon answered {status}: {error.get('message', 'no reason given')}{hint}")
    return exits.UNAVAILABLE


def _print_outcome(answer: dict[str, Any]) -> int:
    match answer["result"]:
        case "applied":
            title = paint("applied", "ok", sys.stdout)
            lines = [f"{title}: revision {answer['revision']} in {answer['seconds']:.2f} s", *answer["changes"]]
        case "unchanged":
            lines = [f"unchanged: revision {answer['revision']}, live for {_duration(answer['live_seconds'])}"]
        case _:
            lines = [f"{paint('rejected', 'error', sys.stdout)}; still serving the previous revision"]
    problems = [Problem(**found) for found in (*answer.get("problems", ()), *answer.get("warnings", ()))]
    sys.stdout.write("\n".join(lines) + "\n" + problems_text(problems, "text", sys.stdout))
    return exits.CONFIG if answer["result"] == "rejected" else exits.OK


def _status_lines(answer: dict[str, Any]) -> Iterator[str]:
    idle = "workers" in answer and not any("uptime_seconds" in worker for worker in answer["workers"])
    overloaded = answer.get("overloaded", False)
    state = "ready" if answer["ready"] else "overloaded" if overloaded else "no worker serves" if idle else "draining"
    ready = paint(state, "ok" if answer["ready"] else "warning", sys.stdout)
    uptime, busy = _duration(answer["uptime_seconds"]), answer["in_flight"]
    yield f"gatewayd {answer['version']}, {ready}, up {uptime}, {busy} in flight"
    yield f"revision  {answer['revision']}"
    yield f"listens   {', '.join(answer['listen'])}; admin {answer['admin'] or 'off'}"
    yield from (f"file      {path}" for path in answer["files"])
    for worker in answer.get("workers", ()):
        yield f"worker    {_worker_line(worker)}"
    yield f"reloads   {', '.join(f'{number} {name}' for name, number in answer['reloads'].items())}"
    if (last := answer["last_reload"]) is not None:
        style = "error" if last["result"] == "rejected" else "ok"
        yield f"last      {paint(last['result'], style, sys.stdout)} at {last['at']}"
        if problems := [Problem(**problem) for problem in last.get("problems", ())]:
            yield textwrap.indent(problems_text(problems, "text", sys.stdout).rstrip(), " " * 10)
    if (held := answer.get("held_edit")) is not None:
        why = " and ".join(held["losses"])
        yield f"held      {paint('an edit waits', 'warning', sys.stdout)}: it {why}, so the file may be incomplete"
        yield f"          it is applied in {held['live_in_seconds']:g} s, or at once with `gatewayd reload`"
    for entry in answer.get("left_out", ()):
        name = paint(entry["group"] or "an entry", "bold", sys.stdout)
        yield f"left out  {name} ({entry['place']}): {entry['reason']}"
    for group in answer["groups"]:
        yield ""
        yield paint(group["name"], "bold", sys.stdout)
        for deployment in group["deployments"]:
            yield from _deployment_lines(deployment)


def _worker_line(worker: dict[str, Any]) -> str:
    told = f"{worker['number']}, pid {worker['pid']}"
    if worker["serving"] and "uptime_seconds" in worker:
        told += f", up {_duration(worker['uptime_seconds'])}, {worker['in_flight']} in flight"
    else:
        told += ", " + paint("not serving", "warning", sys.stdout)
    return told + (f", replaced {worker['restarts']} times" if worker["restarts"] else "")


def _deployment_lines(deployment: dict[str, Any]) -> Iterator[str]:
    """State, since when and why; what it is and where; what to do."""
    state, last, recent = deployment["state"], deployment["last_failure"], deployment["recent"]
    style = "ok" if state == "ok" else "error" if state == "failing" else "warning"
    told = f"  {deployment['id']}: {paint(state, style, sys.stdout)}"
    if deployment["cooling_for_seconds"]:
        told += f" for {deployment['cooling_for_seconds']:.1f} s"
    if state != "ok" and deployment["since"]:
        told += f", failing since {_moment(deployment['since'])}"
    if last is not None:
        told += f": {last['reason']}" if state != "ok" else f", last failure {_moment(last['at'])}: {last['reason']}"
    yield told
    where = f" at {deployment['address']}" if deployment["address"] else ""
    parts = [f"{deployment['provider']}/{deployment['model']}{where}", deployment["place"]]
    if failed := len(recent) - recent.count("ok"):
        parts.append(f"{failed} of the last {len(recent)} failed")
    parts.append(f"{deployment['in_flight']} in flight")
    yield paint(f"    {', '.join(filter(None, parts))}", "dim", sys.stdout)
    if state != "ok" and last is not None and last["hint"]:
        yield f"    hint: {last['hint']}"


def _moment(stamp: str) -> str:
    """A UTC time of day and its age."""
    at = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    ago = _duration(max(0.0, (datetime.now(UTC) - at).total_seconds()))
    return f"{at:%H:%M:%S}Z ({ago} ago)"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"
