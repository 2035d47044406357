import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.observe.sdnotify import Notifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@gatewayd-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(5)
        yield name, sock


def test_one_datagram_with_all_fields(supervisor: tuple[str, socket.socket]) -> None:
    name, sock = supervisor
    Notifier({"NOTIFY_SOCKET": name}).send(READY=1, STATUS="serving\n3 groups")
    assert sock.recv(4096) == b"READY=1\nSTATUS=serving 3 groups"


def test_reloading_carries_the_monotonic_time(supervisor: tuple[str, socket.socket]) -> None:
    name, sock = supervisor
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    first, second = sock.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@gatewayd-nobody-listens", "/" + "x" * 200])
def test_no_supervisor_is_no_error(address: str) -> None:
    """F-10"""
    Notifier({"NOTIFY_SOCKET": address} if address else {}).send(READY=1)


def test_a_full_queue_does_not_block(supervisor: tuple[str, socket.socket]) -> None:
    """F-10"""
    notifier = Notifier({"NOTIFY_SOCKET": supervisor[0]})
    for _ in range(2000):
        notifier.send(STATUS="x" * 100)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog == seconds
