"""Paths that gatewayd does not serve itself: passed to the deployments that `gatewayd.pass_through` names."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from gatewayd.engine.request import Request
from gatewayd.engine.runtime import Runtime, Target
from gatewayd.errors import GatewayError
from gatewayd.observe.record import Attempt
from gatewayd.upstream.base import Timeouts
from gatewayd.upstream.convert import native_upstream
from gatewayd.upstream.passing import METHODS, PassedRequest, PassingUpstream, stays_below
from gatewayd.web.unknown import is_known_api
from gatewayd.wire.dialect import CHAT, MESSAGES, OPENAI, RESPONSES
from gatewayd.wire.headers import sanitised, unlooped, upstream_headers

_VERSION: Final = "/v1/"
_OPENAIS: Final = {"openai": ("openai", "azure")}
"""Paths that are those of two providers."""
_NATIVE: Final = (CHAT, RESPONSES, MESSAGES)
"""In one of these a deployment is asked as it is, if in any."""


@dataclass(frozen=True, slots=True)
class PassingTarget:
    """Where a request is passed."""

    deployment: str
    upstream: PassingUpstream
    path: str
    """Below the base URL."""


def destination(runtime: Runtime, method: str, path: str) -> PassingTarget | None:
    """None if no deployment gets such requests. `path` as it came, percent-encoded."""
    names = runtime.snapshot.server.pass_through
    if not names or method not in METHODS or not stays_below(path):
        return None
    if path.startswith(_VERSION) or is_known_api(path):
        return _to(_target(runtime, names[0]), path)
    name, slash, rest = path.removeprefix("/").partition("/")
    if not slash:
        return None
    wanted = _OPENAIS.get(name, (name,))
    for target in (_target(runtime, name) for name in names):
        if target is not None and target.deployment.provider in wanted:
            return _to(target, f"/{rest}")
    return None


async def pass_on(request: Request, found: PassingTarget) -> None:
    """Passes a request on, and the answer back."""
    head, record, runtime = request.head, request.record, request.runtime
    headers = unlooped(upstream_headers(head.headers.items()), request.gateway.instance)
    told = ((name, head.headers.get(name)) for name in ("content-type", "accept"))
    headers += [(name, sanitised(value)) for name, value in told if value is not None]
    body = await request.read_body()
    server = runtime.snapshot.server.timeouts
    timeouts = Timeouts(min(server.connect, server.total), server.total, server.idle, server.total)
    attempt = Attempt(found.deployment, "", time.monotonic())
    record.attempts.append(attempt)
    passed = PassedRequest(METHODS[head.method], found.path, head.query, headers, body)
    try:
        reply = await found.upstream.send(passed, timeouts)
    except GatewayError as error:
        attempt.fail(error, time.monotonic())
        raise
    attempt.status = reply.status
    try:
        await request.relay(reply, OPENAI, time.monotonic() - attempt.begun)
    finally:
        reply.close()
        attempt.ended = time.monotonic()


def _to(target: Target | None, path: str) -> PassingTarget | None:
    upstream = None if target is None else _passing_of(target)
    if target is None or upstream is None:
        return None
    return PassingTarget(target.deployment.id, upstream, upstream.below(path))


def _passing_of(target: Target) -> PassingUpstream | None:
    natives = (native_upstream(target.upstream, endpoint) for endpoint in _NATIVE)
    return next((native.passing for native in natives if native is not None), None)


def _target(runtime: Runtime, name: str) -> Target | None:
    """The deployment of this id, or the only one of this group."""
    key = "passing", name
    if key not in runtime.notes:
        found = runtime.targets.get(name)
        several = [one for one in runtime.targets.values() if one.deployment.group == name]
        runtime.notes[key] = found or (several[0] if len(several) == 1 else None)
    target: Target | None = runtime.notes[key]
    return target
