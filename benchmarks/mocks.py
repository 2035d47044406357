"""The mock upstreams of a run, on the load core: nginx for small unary answers, our own for streams and large bodies.

nginx answers a request before it has read the whole of a large body, which would let gateways off lightly; our own
reads it first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import install, nginx
from benchmarks.process import Daemon, free_port

PROBE_INTERVAL = 0.002


@dataclass(frozen=True, slots=True)
class Mocks:
    """Ports of the loopback address."""

    unary: int
    streaming: int
    """Also Anthropic's wire."""
    probing: int
    """Streams with a chunk every two milliseconds."""


@contextmanager
def running(core: int, folder: Path) -> Iterator[Mocks]:
    """Start the mock upstreams, and end them.

    Raises:
        Failed: one did not start.
    """
    mocks = Mocks(free_port(), free_port(), free_port())
    own = [sys.executable, "-m", "benchmarks.upstream", "--port"]
    files = nginx.write(folder / "mock-unary", nginx.mock(folder / "mock-unary", mocks.unary))
    commands = {
        mocks.unary: [str(install.system("nginx")), *files],
        mocks.streaming: [*own, str(mocks.streaming)],
        mocks.probing: [*own, str(mocks.probing), "--interval", str(PROBE_INTERVAL)],
    }
    with ExitStack() as stack:
        for port, command in commands.items():
            daemon = Daemon(command, core=core, folder=folder / f"mock-{port}")
            stack.callback(daemon.stop)
            daemon.listening(port)
        yield mocks
