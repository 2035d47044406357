"""Strategies: choosing one candidate out of those that are left. Pure: the randomness is handed in.

To add one, write a function `(candidates, view) -> Candidate` and list it in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from gatewayd.routing.candidate import Candidate


@dataclass(frozen=True, slots=True)
class View:
    """What a strategy may look at besides the candidates."""

    rng: Random
    in_flight: Callable[[Candidate], int] = lambda candidate: 0
    """Requests that the candidate is answering at this moment."""


Pick = Callable[[Sequence[Candidate], View], Candidate]


def simple_shuffle(candidates: Sequence[Candidate], view: View) -> Candidate:
    """Random, weighted by `weight`, else by `rpm`, else by `tpm`, else evenly.

    The first of the three that any candidate has decides; a candidate without it weighs nothing, as in litellm.
    When no candidate left has a weight, all are equal: a group always has an answer, whatever its weights.
    """
    if len(candidates) == 1:
        return candidates[0]
    for candidate in candidates:
        if candidate.weight or candidate.rpm or candidate.tpm:
            return _weighted(candidates, view.rng)
    return candidates[int(view.rng.random() * len(candidates))]


def least_busy(candidates: Sequence[Candidate], view: View) -> Candidate:
    """The one with the fewest requests in flight; at random among several."""
    loads = [view.in_flight(candidate) for candidate in candidates]
    least = min(loads)
    idle = [candidate for candidate, load in zip(candidates, loads, strict=True) if load == least]
    return idle[int(view.rng.random() * len(idle))]


STRATEGIES: Final[Mapping[str, Pick]] = {"simple-shuffle": simple_shuffle, "least-busy": least_busy}
"""By the name that `router_settings.routing_strategy` has for it."""


def _weighted(candidates: Sequence[Candidate], rng: Random) -> Candidate:
    for weights in (
        [c.weight for c in candidates],
        [c.rpm for c in candidates],
        [c.tpm for c in candidates],
    ):
        if any(weights):
            break
    return rng.choices(candidates, [weight or 0 for weight in weights])[0]
