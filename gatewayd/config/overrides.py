"""What the command line says instead of the file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.config.secrets import MASTER_KEY_VARIABLE
from gatewayd.config.snapshot import Address


@dataclass(frozen=True, slots=True)
class Overrides:
    """Holds for as long as the daemon lives."""

    host: str | None = None
    port: int | None = None
    serves: bool = True
    """Whether a daemon listens where the file says. A gateway inside a program has a free port of its own."""

    def listen(self, file: tuple[Address, ...]) -> tuple[Address, ...]:
        """The data listeners, given those of the file."""
        if self.host is None and self.port is None:
            return file
        first = next((address for address in file if not address.path), Address("127.0.0.1", 4000))
        return (Address(self.host or first.host, first.port if self.port is None else self.port),)

    def apply(self, result: Result) -> Result:
        """Puts host and port in place of the file's data listeners; the rule about keys holds for them too (D-07)."""
        snapshot = result.snapshot
        if snapshot is None or (self.host is None and self.port is None):
            return result
        (address,) = self.listen(snapshot.server.listen)
        if not address.is_loopback and snapshot.server.master_key is None:
            problem = Problem(
                "exposed_without_key",
                f"{address} can be reached from other machines, and there is no general_settings.master_key",
                path="--host",
                hint=f"set {MASTER_KEY_VARIABLE}, add `master_key: os.environ/NAME`, or listen on 127.0.0.1",
            )
            return replace(result, snapshot=None, problems=(*result.problems, problem))
        return replace(result, snapshot=replace(snapshot, server=replace(snapshot.server, listen=(address,))))
