"""Asks a deployment in a dialect that it speaks."""

from __future__ import annotations

from collections.abc import Sequence

from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.base import Call, Reply, Upstream


async def open_in_dialect(upstream: Upstream, dialects: Sequence[str], call: Call) -> Reply:
    """`Upstream.open`, for a deployment that speaks these dialects."""
    dialect = call.endpoint.dialect
    if dialect.name in dialects:
        return await upstream.open(call)
    raise not_spoken(call)


def not_spoken(call: Call) -> InvalidRequest:
    """The error for a call in a dialect that a deployment does not speak."""
    error = InvalidRequest(
        f"The deployment has no endpoint '{call.endpoint.path}', and its API cannot express the request.",
        code="endpoint_not_supported",
    )
    error.verdict = Verdict.ELSEWHERE  # another deployment may have it
    return error


class SplitUpstream:
    """Implements `Upstream` for a deployment whose dialects are spoken by different upstreams."""

    def __init__(self, upstreams: dict[str, Upstream]) -> None:
        """`upstreams` by the name of the dialect."""
        self._upstreams = upstreams

    async def open(self, call: Call) -> Reply:
        upstream = self._upstreams.get(call.endpoint.dialect.name)
        if upstream is None:
            raise not_spoken(call)
        return await upstream.open(call)

    async def aclose(self) -> None:
        for upstream in self._upstreams.values():
            await upstream.aclose()
