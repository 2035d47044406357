"""Choosing one candidate out of those that are left. Pure: the randomness is handed in.

A strategy is a function `(candidates, rng) -> Candidate`; adding one is adding a function and its name in the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from gatewayd.routing.table import Candidate


def simple_shuffle(candidates: Sequence[Candidate], rng: Random) -> Candidate:
    """Random, weighted by `weight`, else by `rpm`, else by `tpm`, else evenly.

    The first of the three that any candidate has decides; a candidate without it weighs nothing, as in litellm.
    When nobody left has any weight, all are equal: a group is never without an answer because of its weights.
    """
    if len(candidates) == 1:
        return candidates[0]
    for candidate in candidates:
        if candidate.weight or candidate.rpm or candidate.tpm:
            return _weighted(candidates, rng)
    return candidates[int(rng.random() * len(candidates))]


def _weighted(candidates: Sequence[Candidate], rng: Random) -> Candidate:
    for weights in (
        [c.weight for c in candidates],
        [c.rpm for c in candidates],
        [c.tpm for c in candidates],
    ):
        if any(weights):
            break
    return rng.choices(candidates, [weight or 0 for weight in weights])[0]
