"""Merges the metrics of several processes into one page of Prometheus' text format.

Counters, histograms and gauges of requests are summed. The counts of a worker that has exited stay in the sums, because
a sum that shrinks looks like a reset to Prometheus. Metrics of a process (`process_...`) are shown for each process,
with a `worker` label. Metrics about the configuration come from the supervisor alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_FROM_SUPERVISOR = ("gatewayd_config_", "gatewayd_build_info")
_PER_PROCESS = "process_"
_CUMULATIVE = ("counter", "histogram")


@dataclass(slots=True)
class _Family:
    head: list[str] = field(default_factory=list)
    kind: str = ""
    samples: dict[str, float] = field(default_factory=dict)
    """By the sample's name and labels, as written."""


class MetricsMerger:
    """Keeps the counts of workers that have exited."""

    def __init__(self) -> None:
        self._retired: dict[str, _Family] = {}

    def retire(self, text: bytes) -> None:
        """Keeps the counts of a worker that has exited. `text`: the page that it sent last."""
        for name, family in _parsed(text).items():
            if family.kind in _CUMULATIVE and not name.startswith((*_FROM_SUPERVISOR, _PER_PROCESS)):
                _add(self._retired.setdefault(name, _Family(family.head, family.kind)), family)

    def render(self, own: bytes, workers: Mapping[int, bytes]) -> bytes:
        """`own`: the supervisor's page. `workers`: the workers' pages, by number."""
        families = _parsed(own)
        for name, family in self._retired.items():
            _add(families.setdefault(name, _Family(family.head, family.kind)), family)
        for number, text in workers.items():
            for name, family in _parsed(text).items():
                if name.startswith(_FROM_SUPERVISOR):
                    continue
                into = families.setdefault(name, _Family(family.head, family.kind))
                _add(into, _labelled(family, number) if name.startswith(_PER_PROCESS) else family)
        lines: list[str] = []
        for family in families.values():
            lines += family.head
            lines += [f"{sample} {value!r}" for sample, value in family.samples.items()]
        return ("\n".join(lines) + "\n").encode()


def _add(into: _Family, family: _Family) -> None:
    for sample, value in family.samples.items():
        into.samples[sample] = into.samples.get(sample, 0.0) + value


def _labelled(family: _Family, number: int) -> _Family:
    samples: dict[str, float] = {}
    for sample, value in family.samples.items():
        name, brace, labels = sample.partition("{")
        samples[f'{name}{{worker="{number}"' + (f",{labels}" if brace else "}")] = value
    return _Family(family.head, family.kind, samples)


def _parsed(text: bytes) -> dict[str, _Family]:
    """The families, in order. Reads what prometheus_client writes: HELP and TYPE before the samples, no timestamps."""
    families: dict[str, _Family] = {}
    family = _Family()
    for line in text.decode().split("\n"):  # not splitlines(): a group's name may contain U+2028
        if line.startswith("# HELP "):
            family = families.setdefault(line.split(" ", 3)[2], _Family())
            family.head.append(line)
        elif line.startswith("# TYPE "):
            family.head.append(line)
            family.kind = line.rsplit(" ", 1)[1]
        elif line:
            sample, _, value = line.rpartition(" ")
            family.samples[sample] = float(value)
    return families
