"""Sockets that the service manager opens and keeps: a restart drops nobody (F-11)."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.process import PATIENCE, Daemon, config
from tests.e2e.test_signals import EVENTS, forwarded, streaming
from tests.fakeup import FakeUpstream, sse_reply

RESTARTS = 4
CLIENTS = 8


@pytest.fixture
def data() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        yield sock


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "admin.sock"))
        sock.listen()
        yield sock


def place(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


async def test_sockets_handed_over_are_used_and_a_restart_drops_nobody(
    data: socket.socket, admin: socket.socket, tmp_path: Path
) -> None:
    """F-11: who knocks while no gateway runs is answered by the next one."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own=f"listen: {place(data)}\nadmin: unix:admin.sock"))
    body = {"model": "a", "messages": [{"role": "user", "content": "Hello"}]}
    answered, stopping = 0, asyncio.Event()

    async def load() -> None:
        nonlocal answered
        while not stopping.is_set():
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session,  # a new connection
                session.post(f"http://{place(data)}/v1/chat/completions", json=body) as response,
            ):
                assert response.status == 200, await response.text()
                answered += 1

    async with asyncio.TaskGroup() as clients:
        tasks = [clients.create_task(load()) for _ in range(CLIENTS)]
        for _ in range(RESTARTS):
            async with Daemon(file, sockets=[data, admin]) as daemon:
                goal = answered + 20 * CLIENTS
                async with asyncio.timeout(PATIENCE):
                    while answered < goal:  # noqa: ASYNC110
                        await asyncio.sleep(0.005)
                assert not any("handed over" in line for line in daemon.log)
                daemon.signal(signal.SIGTERM)
                assert await daemon.exit_code() == 0
        async with Daemon(file, sockets=[data, admin]):
            stopping.set()
            await asyncio.wait(tasks)
    assert (tmp_path / "admin.sock").exists()


async def test_streams_end_while_the_next_one_serves(data: socket.socket, tmp_path: Path) -> None:
    """F-11, F-01"""
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up:
        file.write_text(forwarded(up.base_url, f"listen: {place(data)}\nadmin: 127.0.0.1:0"))
        async with Daemon(file, sockets=[data]) as old, streaming(old) as response:
            received = await response.content.readexactly(len(EVENTS[0]))
            old.signal(signal.SIGTERM)
            await old.logged("stopping; waiting for requests in flight")
            async with Daemon(file, sockets=[data]) as new:
                assert await new.chat("a") == (200, "Hello from a")
                go.set()
                received += await response.content.read()
                assert received == b"".join(EVENTS)
                assert await old.exit_code() == 0


async def test_the_configuration_says_where_to_listen_and_what_it_does_not_name_is_told(
    data: socket.socket, tmp_path: Path
) -> None:
    """F-11: an edit away from the socket and back."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as strange:
        async with Daemon(file, sockets=[data, strange]) as daemon:
            line = await daemon.logged("inherited sockets that match no address in the configuration")
            assert place(data) in line
            assert "descriptor 4" in line
            for own, there in ((f"listen: {place(data)}", True), ("listen: 127.0.0.1:0", False)) * 2:
                outcome = await daemon.edit(config("a", own=f"{own}\nadmin: 127.0.0.1:0"))
                assert outcome["result"] == "applied"
                assert (place(data) in str((await daemon.status())["listen"])) is there
                if there:
                    daemon.data = f"http://{place(data)}/v1"
                    assert await daemon.chat("a") == (200, "Hello from a")


async def test_sockets_meant_for_another_process_are_left_alone(data: socket.socket, tmp_path: Path) -> None:
    """F-11, E-25: `$LISTEN_PID` is somebody else's."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own=f"listen: {place(data)}\nadmin: 127.0.0.1:0"))
    async with Daemon(file, sockets=[data], environ={"LISTEN_PID": "1"}, wait=False) as daemon:
        assert await daemon.exit_code() == 1
        assert any("address already in use" in line for line in daemon.log)


async def test_a_socket_at_nearly_the_same_address_is_named_as_what_is_in_the_way(tmp_path: Path) -> None:
    """F-11, E-25: `ListenStream=4000` is [::]:4000, and takes IPv4 too."""
    file = tmp_path / "gatewayd.yaml"
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        port = both.getsockname()[1]
        file.write_text(config("a", own=f"listen: 127.0.0.1:{port}\nadmin: off"))
        async with Daemon(file, sockets=[both], wait=False) as daemon:
            assert await daemon.exit_code() == 1
            assert f"127.0.0.1:{port}: address already in use" in daemon.log[0]
            assert f"[::]:{port} was handed over" in daemon.log[1]
