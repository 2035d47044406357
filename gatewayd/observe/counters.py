"""Counts requests with plain integers, which costs a dictionary look-up and a few additions for each request.

prometheus_client's counters and histograms take a lock and visit every bucket for each observation, which costs more
than choosing a deployment. Here the event loop is the only writer, and `collect` makes metric families of the integers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gatewayd.observe.record import Record

OTHER: Final = "other"
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the buckets in seconds: from a cached answer to a long generation."""


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
        """(upper bound, observations up to it), cumulative as in Prometheus."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            total += count
            buckets.append((floatToGoString(bound), total))  # type: ignore[no-untyped-call]
        return buckets


class Counters:
    """Counts of the requests for one group."""

    __slots__ = ("duration", "fallbacks", "first_token", "outcomes", "retries")

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.duration = Distribution()
        self.first_token = Distribution()
        self.retries = 0
        self.fallbacks = 0


class RequestCounters(Collector):
    """The counters of all groups as metric families. A group appears with its first request."""

    def __init__(self) -> None:
        self._groups: dict[str, Counters] = {}

    def ended(self, record: Record) -> None:
        """Counts a request to a model (an observer). Its group must come from the configuration, because labels must be
        bounded; "" is `other`."""
        if record.kind != "model":
            return
        group, duration, attempts = record.group, record.duration, record.attempts
        counters = self._groups.get(group)
        if counters is None:
            counters = self._groups[group] = Counters()
        counters.outcomes[record.outcome] += 1
        distribution = counters.duration  # as in `Distribution.observe`, without the call: this is for every request
        distribution.counts[bisect_left(BOUNDS, duration)] += 1
        distribution.sum += duration
        if record.ttft is not None:
            counters.first_token.observe(record.ttft)
        if len(attempts) > 1 or (attempts and attempts[0].group != group):
            counters.retries += record.retries
            counters.fallbacks += record.fallbacks

    def collect(self) -> Iterator[Metric]:
        groups = [(group or OTHER, counters) for group, counters in self._groups.items()]
        requests = CounterMetricFamily(
            "gatewayd_requests", "Requests to models, by the requested group.", labels=["group", "outcome"]
        )
        for group, counters in groups:
            for outcome, count in counters.outcomes.items():
                requests.add_metric([group, outcome], count)
        yield requests
        yield _histogram(
            "gatewayd_request_duration_seconds",
            "From the request's head to the end of its answer.",
            [(group, counters.duration) for group, counters in groups],
        )
        yield _histogram(
            "gatewayd_time_to_first_token_seconds",
            "From the request's head to the first event of a streamed answer.",
            [(group, counters.first_token) for group, counters in groups],
        )
        yield _counter(
            "gatewayd_retries",
            "Retries in the same group, by the requested group.",
            [(group, counters.retries) for group, counters in groups],
        )
        yield _counter(
            "gatewayd_fallbacks",
            "Fallback groups tried, by the requested group.",
            [(group, counters.fallbacks) for group, counters in groups],
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
