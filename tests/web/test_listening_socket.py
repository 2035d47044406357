"""Sockets and socket files."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from gatewayd.config.snapshot import Address
from gatewayd.web.listening_socket import ListeningSocket, open_sockets
from tests.web.support import CHAT, LOCAL, RawClient, free_port, serving


async def test_a_unix_socket_is_served_guarded_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    listening = Address(path=str(path))
    async with serving(listening=[listening, LOCAL]) as site:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(str(path))
        client = RawClient(reader, writer)
        client.post("/v1/chat/completions", CHAT)
        assert (await client.answer()).status == 200
        assert (await site.record())["peer"] == "unix"
        with pytest.raises(OSError, match="in use"):  # a living socket is not taken over
            async with serving(listening=[listening]):
                pass
        client.get("/livez")
        assert (await client.answer()).status == 200
        writer.close()
        await writer.wait_closed()
    assert not path.exists()


async def test_a_dead_socket_file_is_replaced_and_any_other_file_is_not(tmp_path: Path) -> None:
    """F-04"""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(listening=[Address(path=str(path))]):
        assert path.is_socket()
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        async with serving(listening=[Address(path=str(path))]):
            pass
    assert path.read_text() == "precious"


async def test_a_successors_socket_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(listening=[Address(path=str(path))]):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
    assert path.is_socket()


async def test_localhost_is_every_address_of_that_name() -> None:
    async with serving(listening=[Address("localhost", free_port())]) as site, RawClient.to(site.port) as client:
        client.get("/livez")
        assert (await client.answer()).status == 200


def test_a_door_that_cannot_open_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ListeningSocket(Address(path=str(tmp_path / "missing" / "api.sock")))
    first = ListeningSocket(LOCAL)
    with pytest.raises(OSError, match="in use"):
        ListeningSocket(Address("127.0.0.1", first.port))
    first.close()


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    listening = ListeningSocket(Address(path=str(tmp_path / "api.sock")))
    assert listening.port == 0
    listening.close()
    listening.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_each_of_several_processes_has_a_queue_of_its_own(host: str) -> None:
    """Connections are spread, and the port is still refused to everybody else."""
    listening = ListeningSocket(Address(host, free_port()), copies=2)
    clients = [socket.create_connection(("127.0.0.1", listening.port)) for _ in range(200)]
    accepted = [
        ListeningSocket.of(listening.address, listening.share(number), inherited=False).accept_waiting()
        for number in range(2)
    ]
    assert sum(map(len, accepted)) == 200
    assert min(map(len, accepted)) > 20
    with pytest.raises(OSError, match="in use"):
        ListeningSocket(Address("127.0.0.1", listening.port), copies=2)
    with pytest.raises(OSError, match="in use"):
        ListeningSocket(Address("0.0.0.0", listening.port))
    wider = open_sockets([Address("0.0.0.0", listening.port)], [listening], copies=2)
    for sock in (*clients, *accepted[0], *accepted[1]):
        sock.close()
    for one in (listening, *wider.values()):
        one.close()


def test_a_unix_socket_is_shared(tmp_path: Path) -> None:
    listening = ListeningSocket(Address(path=str(tmp_path / "api.sock")), copies=2)
    assert listening.share(0) == listening.share(1) == listening.sockets
    listening.close()


def test_of_several_doors_all_open_or_none(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(FileNotFoundError):
        open_sockets([Address("127.0.0.1", port), Address(path=str(tmp_path / "missing" / "api.sock"))], [])
    ListeningSocket(Address("127.0.0.1", port)).close()
