"""What the event loop could not give to anybody: errors in callbacks and transports.

Logged without the objects asyncio puts beside them, whose text may hold anything, and not more than once a second for
the same cause: at the limit of file descriptors asyncio complains thousands of times (one line for each try to accept).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

_log = logging.getLogger("gatewayd.loop")

_QUIET = 1.0
"""Seconds between two lines about the same cause."""
_CAUSES = 256
"""Causes remembered at most."""


class LoopErrors:
    """An exception handler for `loop.set_exception_handler`."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        cause = str(context.get("message", "")), type(error).__name__
        at, unsaid = self._told.get(cause, (-_QUIET, 0))
        now = loop.time()
        if now - at < _QUIET:
            self._told[cause] = at, unsaid + 1
            return
        if len(self._told) >= _CAUSES:
            self._told.clear()
        self._told[cause] = now, 0
        more = f" ({unsaid} times more since the last line)" if unsaid else ""
        _log.error("%s: %s%s", *cause, more, exc_info=error if isinstance(error, Exception) else None)
