"""Which endpoints a server has not."""

from __future__ import annotations

import time
from typing import Final

from gatewayd.wire.dialect import Endpoint

_MISSING_FOR: Final = 600.0
"""Seconds for which a server is not asked again for an endpoint that it has not."""


class MissingEndpoints:
    """Endpoints that a server has not, although its provider documents them: an older version, mostly. They are asked
    for again after a while, because servers are updated."""

    def __init__(self) -> None:
        self._until: dict[Endpoint, float] = {}

    def has(self, endpoint: Endpoint) -> bool:
        return bool(self._until) and time.monotonic() < self._until.get(endpoint, 0.0)

    def noted(self, endpoint: Endpoint) -> bool:
        """Whether it was ever missing: then only `upstream.convert` asks for it, which knows what to do."""
        return endpoint in self._until

    def note(self, endpoint: Endpoint) -> None:
        self._until[endpoint] = time.monotonic() + _MISSING_FOR
