"""The numbers, read as Prometheus would read them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayd._version import __version__
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.record import Attempt, Outcome, Record

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def samples(metrics: Metrics) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return next((number for found, tags, number in samples(metrics) if (found, tags) == (name, labels)), None)


def test_a_request_counts_once_in_each_family() -> None:
    metrics = Metrics()
    groups = ("chat", "chat", "spare", "spare")
    attempts = [Attempt(f"d{number}", group, 0.0) for number, group in enumerate(groups)]
    metrics.request_ended(Record(kind="model", group="chat", duration=0.3, ttft=0.1, attempts=attempts))
    metrics.request_ended(Record(kind="model", group="chat", outcome="error", duration=7.0))
    metrics.request_ended(Record(kind="open"))
    assert value(metrics, "gatewayd_requests_total", group="chat", outcome="ok") == 1
    assert value(metrics, "gatewayd_requests_total", group="chat", outcome="error") == 1
    assert value(metrics, "gatewayd_request_duration_seconds_count", group="chat") == 2
    assert value(metrics, "gatewayd_request_duration_seconds_sum", group="chat") == pytest.approx(7.3)
    assert value(metrics, "gatewayd_time_to_first_token_seconds_count", group="chat") == 1
    assert value(metrics, "gatewayd_retries_total", group="chat") == 2
    assert value(metrics, "gatewayd_fallbacks_total", group="chat") == 1


def test_a_request_without_a_known_group_is_other() -> None:
    """D-10"""
    metrics = Metrics()
    for outcome in get_args(Outcome):
        metrics.request_ended(Record(kind="model", outcome=outcome))
    assert {tags["group"] for name, tags, _ in samples(metrics) if "group" in tags} == {"other"}


def test_requests_in_flight_are_asked_for_when_shown() -> None:
    metrics = Metrics()
    numbers = iter([3, 0])
    metrics.count_in_flight(lambda: next(numbers))
    assert value(metrics, "gatewayd_inflight_requests") == 3
    assert value(metrics, "gatewayd_inflight_requests") == 0


def test_what_is_open_is_asked_for_when_shown() -> None:
    metrics = Metrics()
    metrics.count_open(clients=lambda: 4, busy=lambda: 2, idle=lambda: 7, tasks=lambda: 9)
    assert value(metrics, "gatewayd_client_connections") == 4
    assert value(metrics, "gatewayd_upstream_connections", state="busy") == 2
    assert value(metrics, "gatewayd_upstream_connections", state="idle") == 7
    assert value(metrics, "gatewayd_tasks") == 9


def test_reloads_and_the_configuration_that_serves() -> None:
    """R9, E-32"""
    metrics = Metrics()
    ok, at = "gatewayd_config_last_reload_successful", "gatewayd_config_last_reload_success_timestamp_seconds"
    assert value(metrics, "gatewayd_config_reloads_total", result="rejected") == 0
    metrics.reloaded("applied", "aaa", AT)
    assert (value(metrics, ok), value(metrics, at)) == (1, AT.timestamp())
    metrics.reloaded("rejected", "aaa", datetime.now(UTC))
    assert (value(metrics, ok), value(metrics, at)) == (0, AT.timestamp())
    metrics.reloaded("unchanged", "aaa", AT)
    assert value(metrics, ok) == 1
    metrics.reloaded("applied", "bbb", AT)
    assert [tags for name, tags, _ in samples(metrics) if name == "gatewayd_config_info"] == [{"hash": "bbb"}]
    assert value(metrics, "gatewayd_config_reloads_total", result="applied") == 2


def test_the_watcher_and_the_build() -> None:
    metrics = Metrics()
    metrics.watcher_up(True)
    assert value(metrics, "gatewayd_config_watcher_up") == 1
    metrics.watcher_up(False)
    assert value(metrics, "gatewayd_config_watcher_up") == 0
    assert value(metrics, "gatewayd_build_info", version=__version__, python=platform.python_version()) == 1


def test_registries_are_apart() -> None:
    one, other = Metrics(), Metrics()
    one.request_ended(Record(kind="model", group="chat"))
    assert value(other, "gatewayd_requests_total", group="chat", outcome="ok") is None
