"""Translated calls that were good, but did not go the direct way although they could have: they cost twice as much.

Each reason is logged once, so that an upgrade of litellm that takes the direct way from under gatewayd is seen.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final, Literal

Reason = Literal["unknown_litellm", "failed"]
"""unknown_litellm: this litellm is built differently. failed: preparing the call raised an exception."""
REASONS: Final[tuple[Reason, ...]] = ("unknown_litellm", "failed")

_log = logging.getLogger("gatewayd.upstream")
_counts: Counter[Reason] = Counter()
_logged: set[tuple[Reason, str, str]] = set()


def note(reason: Reason, provider: str, exception: str) -> None:
    """Counts one call; `exception` is a class's name, or empty."""
    _counts[reason] += 1
    if (told := (reason, provider, exception)) not in _logged:
        _logged.add(told)
        why = f"{exception} while preparing the call" if reason == "failed" else "unknown litellm version"
        _log.warning(
            "calls to %s use litellm.acompletion, which costs more than the direct path (%s); "
            "gatewayd_direct_path_left_total counts them",
            provider,
            why,
        )


def counts() -> dict[Reason, int]:
    """Since the start of this process."""
    return {reason: _counts[reason] for reason in REASONS}
