"""What a failed try means for the plan: whether somewhere else is tried, and which fallback list is asked for."""

from __future__ import annotations

import enum
from typing import Final


class Verdict(enum.Enum):
    """What the plan does with a failed try."""

    RETRY = "retry"
    """Another deployment of the group, else the same one again after a wait."""
    ELSEWHERE = "elsewhere"
    """Another deployment of the group, never the same one again: waiting cannot fix it (a wrong key, say)."""
    NEXT_GROUP = "next_group"
    """No deployment of this group can do better (context window, content policy): fallbacks only."""
    FATAL = "fatal"
    """The caller's request is at fault: no other deployment is tried."""


class FallbackKind(enum.Enum):
    """Which fallback list a failure asks for (litellm's three lists)."""

    GENERAL = "fallbacks"
    CONTEXT_WINDOW = "context_window_fallbacks"
    CONTENT_POLICY = "content_policy_fallbacks"


BY_STATUS: Final[dict[int, tuple[Verdict, bool]]] = {
    400: (Verdict.FATAL, False),
    402: (Verdict.ELSEWHERE, True),
    404: (Verdict.ELSEWHERE, True),
    408: (Verdict.RETRY, True),
    409: (Verdict.RETRY, False),
    413: (Verdict.FATAL, False),
    422: (Verdict.FATAL, False),
    425: (Verdict.RETRY, False),
    429: (Verdict.RETRY, True),
    500: (Verdict.RETRY, True),
}
"""What an upstream's error status means: the verdict, and whether it counts against the deployment's health. Any other
5xx is as 500, any other 4xx as 400."""
