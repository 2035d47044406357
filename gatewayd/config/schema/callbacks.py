"""litellm's callbacks that check or rewrite requests, and so must not be ignored.

The names stand in `keys.toml`; they are those of litellm's `proxy/common_utils/callback_utils.py` and
`types/guardrails.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from gatewayd.config.tables import table

_CODE = re.compile(r"[\w.]*\w\.\w[\w.]*|(s3|gcs)://.*|os\.environ/.*")
"""`module.object`, or where litellm loads such a module from, or a reference to either."""


@cache
def guard_names() -> frozenset[str]:
    """Names of callbacks that check or rewrite requests."""
    return frozenset(table("keys")["guards"].split())


def guards(value: Any) -> Iterator[tuple[int | None, str]]:
    """The entries of the value of such a key that may guard requests: (index, or None if it is not a list; words)."""
    entries = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    for index, entry in entries:
        if not isinstance(entry, str):
            continue
        if entry.strip().lower().replace("-", "_") in guard_names():
            yield index, "checks or rewrites requests"
        elif _CODE.fullmatch(entry.strip()):
            yield index, "is code that may check or rewrite requests"
