"""What systemd is told, on a socket of the test's."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import PATIENCE, Daemon, config
from tests.e2e.test_signals import EVENTS, forwarded, streaming
from tests.fakeup import FakeUpstream, sse_reply


class Supervisor:
    """Receives datagrams as fields, in order."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self.environ = {"NOTIFY_SOCKET": str(path)}

    def close(self) -> None:
        self._socket.close()

    async def told(self, name: str) -> dict[str, str]:
        """The next datagram with a field of that name; the ones before it are dropped."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while True:
                data = await loop.sock_recv(self._socket, 65_536)
                fields = dict(line.split("=", 1) for line in data.decode().splitlines())
                if name in fields:
                    return fields


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()


async def test_a_life_as_systemd_sees_it(supervisor: Supervisor, tmp_path: Path) -> None:
    """R13, S1, S3, S8"""
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    environ = {**supervisor.environ, "WATCHDOG_USEC": "200000"}
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up:
        file.write_text(forwarded(up.base_url))
        async with Daemon(file, environ=environ, wait=False) as daemon:
            ready = await supervisor.told("READY")
            assert ready["STATUS"].startswith("serving revision ")
            await daemon.serving()
            assert await daemon.chat("a") == (200, "Hello from a")
            for _ in range(3):
                await supervisor.told("WATCHDOG")

            file.write_text(config("a", "b"))
            reloading = await supervisor.told("RELOADING")
            assert int(reloading["MONOTONIC_USEC"]) > 0
            status = (await supervisor.told("READY"))["STATUS"]
            assert status.startswith("serving revision ")
            assert status != ready["STATUS"]

            file.write_text("broken: [")
            await supervisor.told("RELOADING")
            assert "rejected" in (await supervisor.told("READY"))["STATUS"]

            file.write_text(forwarded(up.base_url))
            await supervisor.told("READY")
            async with streaming(daemon) as response:
                await response.content.readexactly(len(EVENTS[0]))
                daemon.signal(signal.SIGTERM)
                assert (await supervisor.told("STOPPING"))["STATUS"] == "draining"
                assert int((await supervisor.told("EXTEND_TIMEOUT_USEC"))["EXTEND_TIMEOUT_USEC"]) > 1_000_000
                await supervisor.told("WATCHDOG")
                go.set()
                await response.content.read()
            assert await daemon.exit_code() == 0


async def test_not_ready_when_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    """E-25, E-33"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text("model_list: 5\n")
    async with Daemon(file, environ=supervisor.environ, wait=False) as daemon:
        assert await daemon.exit_code() == 78
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await supervisor.told("READY")
