"""The numbers of `GET /metrics`, in Prometheus' text format. Names and labels are a promise: dashboards lean on them.

Labels are bounded: the groups are those of the configuration, everything else is `other`. What every request is counted
in is in `observe.tally`.
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
from gatewayd.observe.log import lost_lines
from gatewayd.observe.tally import Tallies

Outcome = Literal["ok", "rejected", "error", "client_left", "broken_stream", "shutdown"]
"""rejected: the caller's own mistake. error: no deployment could answer, or a fault of ours. broken_stream: it broke
after the first bytes had gone to the client. shutdown: the gateway stopped."""
ReloadResult = Literal["applied", "unchanged", "rejected"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Or every counter and histogram doubles its series with a `_created` gauge. The library has one switch for the process.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _LostLines(Collector):
    def collect(self) -> Iterable[Metric]:
        text = "Lines of the log that could not be written, by this process."
        return [CounterMetricFamily("gatewayd_log_lines_lost", text, value=lost_lines())]


class _Detours(Collector):
    def collect(self) -> Iterable[Metric]:
        text = "Translated calls that litellm.acompletion answered because the direct way failed, by this process."
        family = CounterMetricFamily("gatewayd_direct_path_left", text, labels=["reason"])
        for reason, count in detours.counts().items():
            family.add_metric([reason], count)
        return [family]


class Metrics:
    """One registry of its own, so that several gateways can live in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.tallies = Tallies()
        registry.register(self.tallies)
        self._in_flight = Gauge("gatewayd_inflight_requests", "Requests to models under way.", registry=registry)
        self._bodies = Gauge(
            "gatewayd_request_body_bytes", "What has arrived of the bodies of requests under way.", registry=registry
        )
        self._clients = Gauge(
            "gatewayd_client_connections", "Connections of clients that are open on the data side.", registry=registry
        )
        self._upstreams = Gauge(
            "gatewayd_upstream_connections",
            "Connections to upstreams. busy: being made, or with a request under way.",
            ["state"],
            registry=registry,
        )
        self._tasks = Gauge("gatewayd_tasks", "Tasks of the event loop.", registry=registry)
        self._reload_ok = Gauge(
            "gatewayd_config_last_reload_successful", "1 if the last reload was not rejected.", registry=registry
        )
        self._reload_at = Gauge(
            "gatewayd_config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration last was read and found good.",
            registry=registry,
        )
        self._reloads = Counter("gatewayd_config_reloads", "Reloads, by result.", ["result"], registry=registry)
        self._config = Gauge("gatewayd_config_info", "The configuration that serves.", ["hash"], registry=registry)
        self._watcher = Gauge(
            "gatewayd_config_watcher_up", "1 if file events arrive; 0: the file is only polled.", registry=registry
        )
        self._task_failures = Counter(
            "gatewayd_background_task_failures",
            "Failures of background tasks, which are started again.",
            ["task"],
            registry=registry,
        )
        self._worker_restarts = Counter(
            "gatewayd_worker_restarts", "Worker processes that ended and were replaced.", registry=registry
        )
        self._revision = ""
        build = Gauge("gatewayd_build_info", "Versions.", ["version", "python"], registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        for result in ("applied", "unchanged", "rejected"):
            self._reloads.labels(result)  # a series that exists at 0 can be alerted on
        ProcessCollector(registry=registry)
        registry.register(_LostLines())
        registry.register(_Detours())

    def count_in_flight(self, count: Callable[[], int]) -> None:
        """Names the function that tells, when asked, how many requests are under way."""
        self._in_flight.set_function(count)

    def count_bodies(self, count: Callable[[], int]) -> None:
        """Names the function that tells, when asked, how many bytes of request bodies are held."""
        self._bodies.set_function(count)

    def count_open(
        self, *, clients: Callable[[], int], busy: Callable[[], int], idle: Callable[[], int], tasks: Callable[[], int]
    ) -> None:
        """Names the functions that tell, when asked, what is open: what grows when something leaks."""
        self._clients.set_function(clients)
        self._upstreams.labels("busy").set_function(busy)
        self._upstreams.labels("idle").set_function(idle)
        self._tasks.set_function(tasks)

    def request_ended(
        self,
        group: str,
        outcome: Outcome,
        duration: float,
        first_token: float | None = None,
        retries: int = 0,
        fallbacks: int = 0,
    ) -> None:
        """Counts one request. `group` must come from the configuration; "" is `other`. Times in seconds."""
        tally = self.tallies.of(group)
        tally.ended(outcome, duration)
        if first_token is not None:
            tally.first_token.observe(first_token)
        tally.retries += retries
        tally.fallbacks += fallbacks

    def reloaded(self, result: ReloadResult, revision: str, at: datetime) -> None:
        """Notes how a reload ended, start-up included. `revision` is what serves now, also after a rejected one."""
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
        """`name` is one of the program's own."""
        self._task_failures.labels(name).inc()

    def worker_restarted(self) -> None:
        self._worker_restarts.inc()

    def render(self) -> bytes:
        """All series in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)
