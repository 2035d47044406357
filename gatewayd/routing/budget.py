"""How many retries a group of deployments gets while much of it fails. Pure: `now` is handed in.

Retries hide a short failure of an upstream. When everything fails, they only multiply the load. So the failed retries
of a group may be a fifth of its requests, and three a second at least. These are Envoy's figures, but over the last
seconds instead of what is in flight, because retries that fail at once are never in flight together. A retry that
succeeds costs nothing, so clients do not notice one dead deployment among healthy ones. Retries whose outcome is open
are bounded too: no more than there were requests. Trying another group (a fallback) is no retry.
"""

from __future__ import annotations

import math

WINDOW = 10.0
"""Seconds after which a request or a failed retry counts only a third (1/e) of what it did."""


class RetryBudget:
    """The record of one group. The sender of a request adds 1 to `requests`; all else happens when one has failed.

    `share`: failed retries for each request. `floor`: retries a second that are always granted. Times are on the
    caller's monotonic clock.
    """

    __slots__ = ("_at", "_failed", "_floor", "_most", "_open", "_recent", "_share", "requests")

    def __init__(self, share: float = 0.2, floor: float = 3.0) -> None:
        self.requests = 0
        """Since the last look."""
        self._share = share
        self._floor = floor * WINDOW
        self._recent = 0.0  # requests, if those that came between two looks came evenly
        self._most = 0.0  # if all of them came just now
        self._failed = 0.0
        self._open = 0
        self._at = -math.inf

    def take(self, now: float) -> bool:
        """Whether a request that failed may be tried again in the same group. True is paired with one `settle`."""
        passed = (now - self._at) / WINDOW
        fade = math.exp(-passed)
        new, self.requests = self.requests, 0
        self._recent = self._recent * fade + (new * (1.0 - fade) / passed if passed > 0 else new)
        self._most = self._most * fade + new
        self._failed *= fade
        self._at = now
        # What has failed is measured by what is certain: a quiet hour must not save up for a storm. What is open may be
        # a burst after that hour, half of which met a dead deployment: it gets the benefit of the doubt.
        if self._failed + 1.0 > max(self._share * self._recent, self._floor):
            return False
        if self._open + 1 > max(self._most, self._floor):
            return False
        self._open += 1
        return True

    def settle(self, *, failed: bool) -> None:
        """How a retry ended."""
        self._open -= 1
        self._failed += failed
