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

from benchmarks import certificate, install, nginx
from benchmarks.certificate import Certificate
from benchmarks.process import Daemon, free_port

PROBE_INTERVAL = 0.002


@dataclass(frozen=True, slots=True)
class Mocks:
    """Ports of the loopback address."""

    unary: int
    unary_tls: int
    probing: int
    """Streams with a chunk every two milliseconds."""
    core: int
    folder: Path
    certificate: Certificate

    @contextmanager
    def streaming(self, *, tls: bool = False) -> Iterator[tuple[int, Daemon]]:
        """Start one more that streams, in OpenAI's and in Anthropic's API; its port and its process.

        Raises:
            Failed: it did not start.
        """
        port = free_port()
        command = [*_OWN, str(port)]
        if tls:
            command += ["--certificate", str(self.certificate.chain), str(self.certificate.key)]
        with _started(command, port, self.core, self.folder) as daemon:
            yield port, daemon


_OWN = (sys.executable, "-m", "benchmarks.upstream", "--port")


@contextmanager
def running(core: int, folder: Path) -> Iterator[Mocks]:
    """Start the mock upstreams that all gateways share, and end them.

    Raises:
        Failed: one did not start.
    """
    mocks = Mocks(free_port(), free_port(), free_port(), core, folder, certificate.make(folder))
    probing = [*_OWN, str(mocks.probing), "--interval", str(PROBE_INTERVAL)]
    with (
        _started(_nginx(folder / "mock-unary", mocks.unary, None), mocks.unary, core, folder),
        _started(_nginx(folder / "mock-tls", mocks.unary_tls, mocks.certificate), mocks.unary_tls, core, folder),
        _started(probing, mocks.probing, core, folder),
    ):
        yield mocks


def _nginx(folder: Path, port: int, tls: Certificate | None) -> list[str]:
    return [str(install.system("nginx")), *nginx.write(folder, nginx.mock(folder, port, tls))]


@contextmanager
def _started(command: Sequence[str], port: int, core: int, folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(command, core=core, folder=folder / f"mock-{port}")
    try:
        daemon.listening(port)
        yield daemon
    finally:
        daemon.stop()
