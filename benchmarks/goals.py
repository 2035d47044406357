"""What gatewayd sets out to reach, checked against a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers import Gatewayd, LiteLLM, Portkey, Smg, VllmRouter
from benchmarks.proxies import Nginx
from benchmarks.results import Results

OURS = Gatewayd.name


@dataclass(frozen=True, slots=True)
class Goal:
    text: str
    limit: float
    value: Callable[[Results], float | None]
    """None: not measured in this run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: Goal
    value: float | None

    @property
    def word(self) -> str:
        if self.value is None:
            return "not measured"
        return "reached" if self.value <= self.goal.limit else "missed"


def check(results: Results) -> list[Verdict]:
    """All goals in order."""
    return [Verdict(goal, goal.value(results)) for goal in GOALS]


def _ratio(case: str, figure: str, other: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        ours, theirs = results.median(case, OURS, figure), results.median(case, other, figure)
        return ours / theirs if ours is not None and theirs else None

    return value


def _own(case: str, figure: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(case, OURS, figure)


def _worst(case: str, *figures: str) -> Callable[[Results], float | None]:
    """The highest sample of several figures."""

    def value(results: Results) -> float | None:
        spreads = [results.spread(case, OURS, figure) for figure in figures]
        return max((spread.high for spread in spreads if spread), default=None)

    return value


GOALS = (
    Goal("CPU per request, times nginx's", 5, _ratio("unary-64", "cpu_us", Nginx.name)),
    Goal(
        "CPU per request with a head never seen before, times nginx's", 5, _ratio("unary-64-new", "cpu_us", Nginx.name)
    ),
    Goal("CPU per request, part of vllm-router's", 1 / 2, _ratio("unary-64", "cpu_us", VllmRouter.name)),
    Goal("CPU per request, part of smg's", 1 / 2, _ratio("unary-64", "cpu_us", Smg.name)),
    Goal("CPU per request, part of Portkey's", 1 / 15, _ratio("unary-64", "cpu_us", Portkey.name)),
    Goal("CPU per request, part of LiteLLM's", 1 / 150, _ratio("unary-64", "cpu_us", LiteLLM.name)),
    Goal("CPU per relayed chunk, times nginx's", 1.5, _ratio("stream", "cpu_us", Nginx.name)),
    Goal("added p50 at 64 connections, part of vllm-router's", 1, _ratio("unary-64", "added_p50_ms", VllmRouter.name)),
    Goal("added p99 at 64 connections, part of vllm-router's", 1, _ratio("unary-64", "added_p99_ms", VllmRouter.name)),
    Goal("added p50 at 64 connections, part of smg's", 1, _ratio("unary-64", "added_p50_ms", Smg.name)),
    Goal("added p99 at 64 connections, part of smg's", 1, _ratio("unary-64", "added_p99_ms", Smg.name)),
    Goal("CPU per translated request, part of LiteLLM's", 1 / 6, _ratio("translated", "cpu_us", LiteLLM.name)),
    Goal("start to ready, seconds of CPU", 0.6, _own("process", "start_cpu_s")),
    Goal("resident memory after load, MB", 70, _own("process", "rss_loaded_mb")),
    Goal("reload of 1,000 models in effect, seconds, worst", 1, _worst("reload-1000", "one_s", "every_s")),
    Goal("longest stall during reloads of 1,000 models, ms", 20, _worst("reload-1000", "stall_ms")),
    Goal("reload of 10,000 models in effect, seconds, worst", 5, _worst("reload-10000", "one_s", "every_s")),
    Goal("longest stall during reloads of 10,000 models, ms", 50, _worst("reload-10000", "stall_ms")),
)
