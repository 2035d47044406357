"""Metrics of several processes on one page."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from gatewayd.observe.merger import MetricsMerger
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.record import Record


def numbers(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, as Prometheus would read it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def process(*outcomes: str, revision: str = "r1") -> Metrics:
    metrics = Metrics()
    metrics.count_in_flight(lambda: len(outcomes))
    metrics.reloaded("applied", revision, datetime.now(UTC))
    for outcome in outcomes:
        record = Record(kind="model", group='odd "name", {x} 1', duration=0.2, ttft=0.1)
        record.outcome = outcome  # type: ignore[assignment]
        metrics.request_ended(record)
    return metrics


GROUP = ("group", 'odd "name", {x} 1')
OK = ("gatewayd_requests_total", (GROUP, ("outcome", "ok")))


def test_counters_histograms_and_gauges_are_summed() -> None:
    page = MetricsMerger().render(process().render(), {1: process("ok", "error").render(), 2: process("ok").render()})
    found = numbers(page)
    assert found[OK] == 2.0
    assert found["gatewayd_requests_total", (GROUP, ("outcome", "error"))] == 1.0
    assert found["gatewayd_request_duration_seconds_count", (GROUP,)] == 3.0
    assert found["gatewayd_request_duration_seconds_bucket", (GROUP, ("le", "0.25"))] == 3.0
    assert found["gatewayd_request_duration_seconds_bucket", (GROUP, ("le", "+Inf"))] == 3.0
    assert found["gatewayd_inflight_requests", ()] == 3.0


def test_configuration_metrics_are_the_supervisors_and_process_metrics_are_not_summed() -> None:
    found = numbers(MetricsMerger().render(process(revision="new").render(), {1: process(revision="old").render()}))
    assert found["gatewayd_config_info", (("hash", "new"),)] == 1.0
    assert ("gatewayd_config_info", (("hash", "old"),)) not in found
    assert found["gatewayd_config_reloads_total", (("result", "applied"),)] == 1.0
    assert sum(name == "gatewayd_build_info" for name, _ in found) == 1
    for labels in ((), (("worker", "1"),)):
        assert found["process_resident_memory_bytes", labels] > 0


def test_every_family_is_listed_once_with_its_head() -> None:
    lines = (
        MetricsMerger().render(process().render(), {1: process("ok").render(), 2: process("ok").render()}).splitlines()
    )
    heads = [line for line in lines if line.startswith(b"#")]
    assert len(heads) == len(set(heads))


def test_counters_of_an_exited_worker_stay_and_its_gauges_do_not() -> None:
    """F-05: a sum that shrinks looks like a restart of everything, and like a burst afterwards."""
    merged, own = MetricsMerger(), process().render()
    before = numbers(merged.render(own, {1: process("ok", "ok").render(), 2: process("ok").render()}))
    merged.retire(process("ok", "ok").render())
    after = numbers(merged.render(own, {1: process("error").render(), 2: process("ok").render()}))
    assert before[OK] == after[OK] == 3.0
    assert after["gatewayd_request_duration_seconds_count", (GROUP,)] == 4.0
    assert after["gatewayd_inflight_requests", ()] == 2.0
    assert after["process_open_fds", (("worker", "1"),)] < 10_000


def test_an_empty_page_changes_nothing() -> None:
    merged = MetricsMerger()
    merged.retire(b"")
    own = process("ok").render()
    assert numbers(merged.render(own, {1: b""})) == numbers(own)


def test_only_a_line_feed_ends_a_line() -> None:
    """D-10: a label's value may hold anything but a line feed as it is."""
    metrics, odd = Metrics(), "a\u2028b\x85c\rd\x0be"
    metrics.request_ended(Record(kind="model", group=odd, duration=0.2))
    found = numbers(MetricsMerger().render(process().render(), {1: metrics.render()}))
    assert found["gatewayd_requests_total", (("group", odd), ("outcome", "ok"))] == 1.0
