"""A request that goes on with a response which a provider keeps can be asked of one deployment only."""

from __future__ import annotations

from gatewayd.engine.runtime import Runtime
from gatewayd.errors import InvalidRequest
from gatewayd.routing.table import Chain
from gatewayd.upstream.base import Call
from gatewayd.upstream.response_memory import NOT_FOUND, PREVIOUS
from gatewayd.verdicts import FallbackKind

_WITHOUT = "or send the whole conversation."


def pinned_deployment(runtime: Runtime, chain: Chain, call: Call) -> str | None:
    """The deployment that keeps the response with which a request goes on; None if any may be asked. Raises
    InvalidRequest if it cannot be asked for this model."""
    pinned = None if call.memory is None else call.memory.deployment_of(call.intent)
    if pinned is None:
        return None
    hops = (chain.first, *chain.fallbacks.get(FallbackKind.GENERAL, ()))
    if any(candidate.id == pinned for hop in hops for candidate in hop.group.candidates):
        return pinned
    what = "does not serve the model that the request names. Name another one,"
    if pinned not in runtime.targets:
        what = "is not configured any more. Ask its provider,"
    raise InvalidRequest(f"{_kept_by(pinned)}, which {what} {_WITHOUT}", param=PREVIOUS, code=NOT_FOUND)


def out_of_rotation(pinned: str) -> str:
    """The message when that deployment is cooling down."""
    return f"{_kept_by(pinned)}, which is out of rotation after failures. Try again later, {_WITHOUT}"


def _kept_by(deployment: str) -> str:
    return f"The request goes on with a response that is kept by the deployment '{deployment}'"
