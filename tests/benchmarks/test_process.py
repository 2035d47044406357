"""Starting and ending processes."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from benchmarks.client import Target
from benchmarks.process import Daemon, Failed, free_port

CORE = min(os.sched_getaffinity(0))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it is ending this very moment
        return False
    return True


def test_the_reason_why_a_process_ended_is_told(tmp_path: Path) -> None:
    daemon = Daemon([sys.executable, "-c", "import sys; sys.exit('no such luck')"], core=CORE, folder=tmp_path)
    try:
        with pytest.raises(Failed, match="exit code 1: no such luck"):
            daemon.ready(Target(f"http://127.0.0.1:{free_port()}/x", {}), b"{}", timeout=30)
    finally:
        daemon.stop()


def test_ready_with_the_first_good_answer_and_ended_with_its_children(tmp_path: Path) -> None:
    port = free_port()
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", "--port", "{port}"])
child.wait()
"""
    daemon = Daemon([sys.executable, "-c", code], core=CORE, folder=tmp_path)
    try:
        started = daemon.ready(Target(f"http://127.0.0.1:{port}/v1/chat/completions", {}), b"{}", timeout=30)
        assert started.cpu > 0
        assert 0 < started.wall < 30
    finally:
        daemon.stop()
    deadline = time.monotonic() + 30
    while _listens(port):
        assert time.monotonic() < deadline


def test_nobody_listens(tmp_path: Path) -> None:
    daemon = Daemon([sys.executable, "-c", "input()"], core=CORE, folder=tmp_path)  # ends at once: stdin is empty
    try:
        with pytest.raises(Failed, match=r"ended with exit code 1: .*EOFError"):
            daemon.listening(free_port(), timeout=30)
    finally:
        daemon.stop()
