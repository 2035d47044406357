"""The numbers of several processes as one page of Prometheus' text format.

Counters, histograms and gauges of requests are summed. What a worker that is gone had counted stays in the sums, or
every crash would look like a burst of requests to whoever takes rates. What is about one process (`process_...`) is
shown for each, with a `worker` label; what is about the configuration comes from the supervisor alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_DECIDED = ("gatewayd_config_", "gatewayd_build_info")
_EACH = "process_"
_LASTING = ("counter", "histogram")


@dataclass(slots=True)
class _Family:
    head: list[str] = field(default_factory=list)
    kind: str = ""
    samples: dict[str, float] = field(default_factory=dict)
    """By the sample's name and labels, as written."""


class Merged:
    """Keeps what has been counted by workers that are gone."""

    def __init__(self) -> None:
        self._past: dict[str, _Family] = {}

    def retire(self, text: bytes) -> None:
        """A worker is gone; `text` is what it told last."""
        for name, family in _parsed(text).items():
            if family.kind in _LASTING and not name.startswith((*_DECIDED, _EACH)):
                _add(self._past.setdefault(name, _Family(family.head, family.kind)), family)

    def render(self, own: bytes, workers: Mapping[int, bytes]) -> bytes:
        """`own`: the supervisor's page. `workers`: theirs, by number."""
        families = _parsed(own)
        for name, family in self._past.items():
            _add(families.setdefault(name, _Family(family.head, family.kind)), family)
        for number, text in workers.items():
            for name, family in _parsed(text).items():
                if name.startswith(_DECIDED):
                    continue
                into = families.setdefault(name, _Family(family.head, family.kind))
                _add(into, _labelled(family, number) if name.startswith(_EACH) else family)
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
    """By family, in order. Reads what prometheus_client writes: HELP and TYPE before the samples, no time stamps."""
    families: dict[str, _Family] = {}
    family = _Family()
    for line in text.decode().split("\n"):  # no other line end is one: U+2028 in a group's name is not
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
