"""A deployment as routing sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """What picking needs to know. `identity` is the key of its health, `id` its name in headers and logs."""

    id: str
    identity: str
    order: int = 0
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    cooldown_time: float | None = None
