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
        why = f"{exception} while the call was prepared" if reason == "failed" else "this litellm is not known"
        _log.warning(
            "calls to %s go through litellm.acompletion, which costs more than the direct way (%s); "
            "gatewayd_direct_path_left_total counts them",
            provider,
            why,
        )


def counts() -> dict[Reason, int]:
    """Since the start of this process."""
    return {reason: _counts[reason] for reason in REASONS}
