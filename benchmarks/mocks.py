"""The mock upstreams of a run, on the load core: nginx for small unary answers, our own for streams and large bodies.

nginx answers a request before it has read the whole of a large body, which would let gateways off lightly; our own
reads it first. It also writes while its gateway sleeps, so each gateway has one of its own that sleeps with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import install, nginx
from benchmarks.process import Daemon, free_port

PROBE_INTERVAL = 0.002


@dataclass(frozen=True, slots=True)
class Mocks:
    """Ports of the loopback address."""

    unary: int
    probing: int
    """Streams with a chunk every two milliseconds."""
    core: int
    folder: Path

    @contextmanager
    def streaming(self) -> Iterator[tuple[int, Daemon]]:
        """Start one more that streams, in OpenAI's and in Anthropic's API; its port and its process.

        Raises:
            Failed: it did not start.
        """
        port = free_port()
        with _started([*_OWN, str(port)], port, self.core, self.folder) as daemon:
            yield port, daemon


_OWN = (sys.executable, "-m", "benchmarks.upstream", "--port")


@contextmanager
def running(core: int, folder: Path) -> Iterator[Mocks]:
    """Start the mock upstreams that all gateways share, and end them.

    Raises:
        Failed: one did not start.
    """
    mocks = Mocks(free_port(), free_port(), core, folder)
    files = nginx.write(folder / "mock-unary", nginx.mock(folder / "mock-unary", mocks.unary))
    probing = [*_OWN, str(mocks.probing), "--interval", str(PROBE_INTERVAL)]
    with (
        _started([str(install.system("nginx")), *files], mocks.unary, core, folder),
        _started(probing, mocks.probing, core, folder),
    ):
        yield mocks


@contextmanager
def _started(command: Sequence[str], port: int, core: int, folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(command, core=core, folder=folder / f"mock-{port}")
    try:
        daemon.listening(port)
        yield daemon
    finally:
        daemon.stop()
