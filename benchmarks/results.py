"""What a run found: samples by case, gateway and figure, with what is needed to read them later."""

from __future__ import annotations

import json
import os
import platform
import sysconfig
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from benchmarks.measure import Spread

DIRECT = "no gateway"
"""The load generator talking to the mock upstream itself: what added latency is counted from."""


@dataclass(slots=True)
class Results:
    mode: str
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    machine: dict[str, str] = field(default_factory=lambda: _machine())
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be measured, gateway or "gateway: case", and why."""
    samples: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, case: str, gateway: str, **figures: float) -> None:
        found = self.samples.setdefault(case, {}).setdefault(gateway, {})
        for name, value in figures.items():
            found.setdefault(name, []).append(value)

    def spread(self, case: str, gateway: str, figure: str) -> Spread | None:
        """None if it was not measured."""
        samples = self.samples.get(case, {}).get(gateway, {}).get(figure)
        return Spread.of(samples) if samples else None

    def median(self, case: str, gateway: str, figure: str) -> float | None:
        """None if it was not measured."""
        spread = self.spread(case, gateway, figure)
        return spread.median if spread else None

    def gateways(self, case: str) -> list[str]:
        """Measured in this case, in the order of the run."""
        return [name for name in self.samples.get(case, {}) if name != DIRECT]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def _rounded(value: object) -> object:
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {name: _rounded(member) for name, member in value.items()}
        case list():
            return [_rounded(member) for member in value]
        case _:
            return value


def _python() -> str:
    """Version and build: an interpreter built without profile-guided optimisation costs several percent more."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    build = "optimised" if "--enable-optimizations" in arguments else "not optimised"
    return f"{platform.python_version()} ({platform.python_compiler()}, {build} build)"


def _machine() -> dict[str, str]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": _python(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }
