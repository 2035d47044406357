"""The metrics of `GET /metrics`, in Prometheus' text format. Names and labels are stable, because dashboards use them.

Labels are bounded: a group is one of the configuration or `other`. The counters of requests are in `observe.counters`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gatewayd._version import __version__
from gatewayd.observe import detours
from gatewayd.observe.counters import RequestCounters
from gatewayd.observe.log import lost_lines
from gatewayd.observe.record import Observer

ReloadResult = Literal["applied", "unchanged", "rejected"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Otherwise every counter and histogram has a second series, `_created`. The library has one switch for the process.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _LostLines(Collector):
    def collect(self) -> Iterable[Metric]:
        text = "Log lines that this process could not write."
        return [CounterMetricFamily("gatewayd_log_lines_lost", text, value=lost_lines())]


class _Detours(Collector):
    def collect(self) -> Iterable[Metric]:
        text = "Translated calls of this process that used litellm.acompletion because the direct path failed."
        family = CounterMetricFamily("gatewayd_direct_path_left", text, labels=["reason"])
        for reason, count in detours.counts().items():
            family.add_metric([reason], count)
        return [family]


class Metrics:
    """Has its own registry, so that one process can run several gateways."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.counters = RequestCounters()
        registry.register(self.counters)
        self.request_ended: Observer = self.counters.ended
        self._in_flight = Gauge("gatewayd_inflight_requests", "Requests to models in flight.", registry=registry)
        self._bodies = Gauge(
            "gatewayd_request_body_bytes", "Bytes received of the bodies of requests in flight.", registry=registry
        )
        self._clients = Gauge(
            "gatewayd_client_connections", "Open client connections on the data listener.", registry=registry
        )
        self._upstreams = Gauge(
            "gatewayd_upstream_connections",
            "Connections to upstreams. busy: connecting, or with a request in flight.",
            ["state"],
            registry=registry,
        )
        self._tasks = Gauge("gatewayd_tasks", "Tasks of the event loop.", registry=registry)
        self._reload_ok = Gauge(
            "gatewayd_config_last_reload_successful", "1 if the last reload was not rejected.", registry=registry
        )
        self._reload_at = Gauge(
            "gatewayd_config_last_reload_success_timestamp_seconds",
            "Unix time of the last reload that was not rejected.",
            registry=registry,
        )
        self._reloads = Counter("gatewayd_config_reloads", "Reloads, by result.", ["result"], registry=registry)
        self._config = Gauge("gatewayd_config_info", "The live configuration.", ["hash"], registry=registry)
        self._watcher = Gauge(
            "gatewayd_config_watcher_up", "1 if file events arrive, 0 if the file is only polled.", registry=registry
        )
        self._task_failures = Counter(
            "gatewayd_background_task_failures",
            "Failures of background tasks, which are restarted.",
            ["task"],
            registry=registry,
        )
        self._worker_restarts = Counter(
            "gatewayd_worker_restarts", "Worker processes that exited and were replaced.", registry=registry
        )
        self._revision = ""
        build = Gauge("gatewayd_build_info", "Versions.", ["version", "python"], registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        for result in ("applied", "unchanged", "rejected"):
            self._reloads.labels(result)  # an alert needs a series that exists at 0
        ProcessCollector(registry=registry)
        registry.register(_LostLines())
        registry.register(_Detours())

    def count_in_flight(self, count: Callable[[], int]) -> None:
        """Registers the gauge of requests in flight."""
        self._in_flight.set_function(count)

    def count_bodies(self, count: Callable[[], int]) -> None:
        """Registers the gauge of received bytes of request bodies."""
        self._bodies.set_function(count)

    def count_open(
        self, *, clients: Callable[[], int], busy: Callable[[], int], idle: Callable[[], int], tasks: Callable[[], int]
    ) -> None:
        """Registers gauges for open connections and tasks."""
        self._clients.set_function(clients)
        self._upstreams.labels("busy").set_function(busy)
        self._upstreams.labels("idle").set_function(idle)
        self._tasks.set_function(tasks)

    def reloaded(self, result: ReloadResult, revision: str, at: datetime) -> None:
        """Counts a reload or the start. `revision`: the live one, also after a rejected reload."""
        self._reloads.labels(result).inc()
        self._reload_ok.set(result != "rejected")
        if result != "rejected":
            self._reload_at.set(at.timestamp())
        if revision != self._revision:
            self._config.clear()
            self._config.labels(revision).set(1)
            self._revision = revision

    def watcher_up(self, up: bool) -> None:
        self._watcher.set(up)

    def task_failed(self, name: str) -> None:
        """`name`: of a task of gatewayd, so that labels are bounded."""
        self._task_failures.labels(name).inc()

    def worker_restarted(self) -> None:
        self._worker_restarts.inc()

    def render(self) -> bytes:
        """All series in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)
