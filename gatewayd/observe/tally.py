"""Counting requests with plain integers: what a request costs here is a dictionary look-up and a few additions.

prometheus_client's counters and histograms take a lock and go through the buckets at each observation, which is more
than the gateway spends on finding a deployment. Here the event loop is the only writer, and the families are made of
the numbers when somebody asks (`collect`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

OTHER: Final = "other"
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the buckets in seconds: from an answer out of a cache to a long generation."""


class Distribution:
    """One histogram."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as Prometheus has them."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            total += count
            buckets.append((floatToGoString(bound), total))  # type: ignore[no-untyped-call]
        return buckets


class Tally:
    """The requests that asked for one group."""

    __slots__ = ("duration", "fallbacks", "first_token", "outcomes", "retries")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.duration = Distribution()
        self.first_token = Distribution()
        self.retries = 0
        self.fallbacks = 0

    def ended(self, outcome: str, duration: float) -> None:
        """Counts one request; seconds."""
        outcomes = self.outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        self.duration.observe(duration)


class Tallies(Collector):
    """All groups' tallies as metric families. A group is there from its first request on."""

    def __init__(self) -> None:
        self._groups: dict[str, Tally] = {}

    def of(self, group: str) -> Tally:
        """`group` must come from the configuration, for labels have to be bounded; "" is `other`."""
        tally = self._groups.get(group)
        if tally is None:
            tally = self._groups[group] = Tally()
        return tally

    def collect(self) -> Iterator[Metric]:
        groups = [(group or OTHER, tally) for group, tally in self._groups.items()]
        requests = CounterMetricFamily(
            "gatewayd_requests", "Requests to models, by the group asked for.", labels=["group", "outcome"]
        )
        for group, tally in groups:
            for outcome, count in tally.outcomes.items():
                requests.add_metric([group, outcome], count)
        yield requests
        yield _histogram(
            "gatewayd_request_duration_seconds",
            "From the request's head to the end of its answer.",
            [(group, tally.duration) for group, tally in groups],
        )
        yield _histogram(
            "gatewayd_time_to_first_token_seconds",
            "From the request's head to the first event of a streamed answer.",
            [(group, tally.first_token) for group, tally in groups],
        )
        yield _counter(
            "gatewayd_retries",
            "Further tries in the same group, by the group asked for.",
            [(group, tally.retries) for group, tally in groups],
        )
        yield _counter(
            "gatewayd_fallbacks",
            "Fallback groups tried, by the group asked for.",
            [(group, tally.fallbacks) for group, tally in groups],
        )


def _counter(name: str, text: str, counts: Sequence[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["group"])
    for group, count in counts:
        family.add_metric([group], count)
    return family


def _histogram(name: str, text: str, distributions: Sequence[tuple[str, Distribution]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["group"])
    for group, distribution in distributions:
        family.add_metric([group], distribution.buckets(), distribution.sum)
    return family
