"""What the log says about deployments: why one failed, that it is out of rotation, that it answers again.

A deployment that is down fails with every request, so a line of one kind is written once a minute; the next one says
how many it stands for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import GatewayError, UpstreamConnection
from gatewayd.routing.candidate import Candidate
from gatewayd.upstream.local import local_server_hint

_log = logging.getLogger("gatewayd.deployments")

EVERY = 60.0
"""Seconds between two lines of one kind about one deployment."""
_MOST_KINDS = 4096
"""Bound of the memory for them: reasons hold an upstream's status, and deployments come and go."""


@dataclass(slots=True)
class _Kind:
    """Lines of one kind: when the last one was written, and how many were not since."""

    at: float
    unwritten: int = 0


class Incidents:
    """Writes them (`routing.health.HealthObserver`)."""

    def __init__(self, find: Callable[[Candidate], Deployment | None]) -> None:
        """`find`: the deployment of a candidate, if a live configuration has it."""
        self._find = find
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def failed(self, candidate: Candidate, error: GatewayError, cooldown: float, now: float) -> None:
        kind = f"{'out' if cooldown else 'failed'} {error.reason}"
        if (unwritten := self._due(candidate, kind, now)) is None:
            return
        deployment = self._find(candidate)
        text = f"deployment {label(candidate.id, deployment)}: {error.detail}"
        if cooldown:
            text += f"; out of rotation for {cooldown:.2g} s"
        if deployment and isinstance(error, UpstreamConnection) and error.refused:
            advice = local_server_hint(deployment)
            text += f"; hint: {advice}" if advice else ""
        if unwritten:
            text += f" ({unwritten} more like this since the last such line)"
        details = {
            "deployment": candidate.id,
            "group": "" if deployment is None else deployment.group,
            "code": error.code,
            "reason": error.detail,
            "cooldown_seconds": round(cooldown, 3),
            "unwritten": unwritten,
        }
        _log.warning("%s", text, extra={"details": details})

    def recovered(self, candidate: Candidate, seconds: float, now: float) -> None:
        if self._due(candidate, "recovered", now) is None:
            return
        text = f"deployment {label(candidate.id, self._find(candidate))}: answers again after {_span(seconds)}"
        details = {"deployment": candidate.id, "failing_seconds": round(seconds, 3)}
        _log.info("%s", text, extra={"details": details})

    def _due(self, candidate: Candidate, what: str, now: float) -> int | None:
        """How many lines of this kind were left out since the last one, if it is time for another; else None."""
        key = candidate.identity, what
        kind = self._kinds.get(key)
        if kind is not None and now - kind.at < EVERY:
            kind.unwritten += 1
            return None
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        self._kinds[key] = _Kind(now)
        return 0 if kind is None else kind.unwritten


def label(id: str, deployment: Deployment | None) -> str:
    """`west (openai/gpt-4o at 127.0.0.1:11434, gatewayd.yaml:6)`"""
    if deployment is None:
        return id
    place = os.path.basename(deployment.place)
    return f"{id} ({deployment.summary}{f', {place}' if place else ''})"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
