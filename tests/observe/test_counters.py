"""The families that `RequestCounters` makes are those of prometheus_client's own counters and histograms."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gatewayd.observe.counters import BOUNDS, RequestCounters
from gatewayd.observe.record import Attempt, Outcome, Record

_OUTCOMES: list[Outcome] = ["ok", "error"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["chat", "", "a b"]), st.sampled_from(_OUTCOMES), st.floats(0, 700)),
        max_size=30,
    ),
    st.lists(st.sampled_from(BOUNDS), max_size=5),
)
def test_samples_equal_those_of_prometheus_client(
    requests: list[tuple[str, Outcome, float]], exact: list[float]
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counters = RequestCounters()
    ours.register(counters)
    counter = Counter("gatewayd_requests", "x", ["group", "outcome"], registry=theirs)
    histogram = Histogram("gatewayd_request_duration_seconds", "x", ["group"], buckets=BOUNDS, registry=theirs)
    for group, outcome, duration in [*requests, *(("chat", "ok", bound) for bound in exact)]:
        counters.ended(Record(kind="model", group=group, outcome=outcome, duration=duration))
        counter.labels(group or "other", outcome).inc()
        histogram.labels(group or "other").observe(duration)

    def samples(registry: CollectorRegistry) -> set[str]:
        text = generate_latest(registry).decode()
        families = ("gatewayd_requests_total", "gatewayd_request_duration_seconds")
        return {line for line in text.splitlines() if line.startswith(families) and "_created" not in line}

    assert samples(ours) == samples(theirs)


def test_retries_fallbacks_and_first_tokens_have_a_series_for_each_group() -> None:
    registry = CollectorRegistry()
    counters = RequestCounters()
    registry.register(counters)
    groups = ("chat", "chat", "chat", "spare")
    attempts = [Attempt("d1", group, 0.0) for group in groups]
    counters.ended(Record(kind="model", group="chat", attempts=attempts, ttft=0.2))
    assert registry.get_sample_value("gatewayd_retries_total", {"group": "chat"}) == 2
    assert registry.get_sample_value("gatewayd_fallbacks_total", {"group": "chat"}) == 1
    assert (
        registry.get_sample_value("gatewayd_time_to_first_token_seconds_bucket", {"group": "chat", "le": "0.25"}) == 1
    )
    assert registry.get_sample_value("gatewayd_time_to_first_token_seconds_count", {"group": "chat"}) == 1
