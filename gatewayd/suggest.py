"""Did you mean ...? Nearest known names for a mistyped one."""

from __future__ import annotations

from collections.abc import Collection

_MANY = 1_000
"""Above this many candidates only spelling variants are looked for: a distance to each would take seconds."""


def nearest(name: str, candidates: Collection[str], *, many: int = _MANY) -> str | None:
    """The candidate a person most likely meant, or None when none is close. Above `many` candidates only spelling
    variants are found."""
    if len(name) > 120:
        return None
    plain = _plain(name)
    variants = [candidate for candidate in candidates if _plain(candidate) == plain]
    if variants:
        return min(variants)
    if len(candidates) > many:
        return None
    allowed = 1 if len(plain) < 5 else 2 if len(plain) < 12 else 3
    best: tuple[int, str] | None = None
    for candidate in candidates:
        other = _plain(candidate)
        if abs(len(other) - len(plain)) > allowed or _opposite(plain, other):
            continue
        away = distance(plain, other, allowed)
        if away <= allowed and (best is None or (away, candidate) < best):
            best = away, candidate
    return None if best is None else best[1]


def did_you_mean(name: str, candidates: Collection[str]) -> str | None:
    """The same as a sentence for `Problem.hint`."""
    found = nearest(name, candidates)
    return None if found is None else f"did you mean '{found}'?"


def distance(one: str, other: str, limit: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two texts; above `limit`: `limit + 1`."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (char != wanted))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before, last = last, row
    return min(last[-1], limit + 1)


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_").replace(".", "_")


def _opposite(one: str, other: str) -> bool:
    """`enable_x` is as good as `disable_x` to a spelling check, and the wrong advice."""
    return {one.partition("_")[0], other.partition("_")[0]} == {"enable", "disable"}
