"""How long a client is willing to wait."""

from __future__ import annotations

import math

from gatewayd.access.keys import RequestHeaders
from gatewayd.config.snapshot import ServerSettings
from gatewayd.errors import InvalidRequest


def client_timeout(headers: RequestHeaders, server: ServerSettings) -> float | None:
    """`x-litellm-timeout` in seconds; it may shorten what is configured, not lengthen it."""
    told = headers.get("x-litellm-timeout")
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest("The header x-litellm-timeout must be a number of seconds above 0.")
    return min(seconds, server.timeouts.total)
