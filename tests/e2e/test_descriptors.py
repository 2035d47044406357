"""File descriptors run short: connections beyond the cap, and a cap that is too high for the system.

On both event loops: the daemon takes uvloop where it can be imported, so a stub keeps it from that.
"""

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.process import PATIENCE, Daemon, eventually
from tests.fakeup import FakeUpstream, json_reply

ROOT = Path(__file__).parents[2]
HELLO = json_reply({"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "Hello"}}]})


@pytest.fixture(params=["uvloop", "asyncio"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    if request.param == "uvloop":
        return {}
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "uvloop.py").write_text("raise ImportError\n")
    return {"PYTHONPATH": f"{tmp_path / 'stub'}:{ROOT}"}


def config(folder: Path, up: FakeUpstream, limits: str) -> Path:
    entry = {"model": "openai/m", "api_base": up.base_url, "api_key": "sk-upstream"}
    path = folder / "gateway.yaml"
    path.write_text(
        f"model_list: [{{model_name: chat, litellm_params: {json.dumps(entry)}}}]\n"
        f"gatewayd: {{listen: '127.0.0.1:0', admin: '127.0.0.1:0', limits: {limits}}}\n"
    )
    return path


def few(daemon: Daemon, files: int) -> None:
    """The daemon may have so many files open from now on."""
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (files, files))


def open_files(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


@contextlib.contextmanager
def knocks(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    """So many connections on which nothing is sent."""
    port = int(daemon.data.removesuffix("/v1").rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", port))
            made.append(sock)
        yield made


async def heard(sock: socket.socket) -> bytes:
    """What came on a connection so far; an end counts as nothing."""
    try:
        return sock.recv(4096)
    except (BlockingIOError, ConnectionError):
        return b""


def once_a_second(lines: list[str]) -> bool:
    """Whether each was written a second after the one before, by the times that stand in them."""
    written = [datetime.fromisoformat(line.split()[0]) for line in lines]
    return all(later - earlier >= timedelta(seconds=0.99) for earlier, later in pairwise(written))


async def test_the_cap_follows_the_limit_of_files_and_leaves_room_for_upstreams(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    """B-24: the ones too many get a 503, those that are in are served, the log tells it once a second."""
    async with FakeUpstream(HELLO) as up, Daemon(config(tmp_path, up, "{}"), environ=environ) as daemon:
        few(daemon, 192)  # of which 128 are kept for other things: 32 connections, 32 upstream
        assert (await daemon.chat("chat"))[0] == 200
        with knocks(daemon, 500) as socks:

            async def refused() -> bool:
                return sum([b"server_busy" in await heard(sock) for sock in socks]) > 0

            async def files_are_left() -> bool:  # asyncio accepts hundreds before it closes the first of them
                return open_files(daemon) < 160

            await daemon.logged("which is the limit")
            await eventually(refused)
            await eventually(files_are_left)
            assert (await daemon.chat("chat"))[0] == 200  # on the connection from before

        async def lets_in() -> bool:
            with knocks(daemon, 1) as (sock,):
                await asyncio.sleep(0.1)
                return not await heard(sock)

        await eventually(lets_in)
        assert once_a_second([line for line in daemon.log if "which is the limit" in line])
        assert once_a_second([line for line in daemon.log if "out of system resource" in line])


async def test_the_open_files_that_the_system_would_give_are_taken(tmp_path: Path) -> None:
    """B-24: 1,024 are the usual soft limit, of which 448 clients could be served; by the workers too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with FakeUpstream(HELLO) as up:
        daemon = Daemon(config(tmp_path, up, "{}"), "--workers", "2")
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        try:
            await daemon.__aenter__()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        try:
            for pid in (daemon.pid, *(worker["pid"] for worker in (await daemon.status())["workers"])):
                assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (min(65_536, hard), hard)
        finally:
            await daemon.__aexit__()


async def test_without_any_files_left_what_is_open_is_served_and_it_recovers(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    """B-25: a cap that promises too much; thousands of failed accepts are a few lines in the log."""
    async with (
        FakeUpstream(HELLO) as up,
        Daemon(config(tmp_path, up, "{connections: 100000}"), environ=environ) as daemon,
    ):
        assert (await daemon.chat("chat"))[0] == 200
        files = open_files(daemon) + 40
        few(daemon, files)
        lines = len(daemon.log)
        with knocks(daemon, 300):

            async def full() -> bool:
                return open_files(daemon) >= files - 2

            await eventually(full)
            await asyncio.sleep(2)  # as long as it is without, it must not fill the log
            for _ in range(5):
                assert (await daemon.chat("chat"))[0] == 200
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", _port(daemon))
                    writer.write(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                    if b"200 OK" in answer:
                        break
                await asyncio.sleep(0.05)
        # What else cannot be opened meanwhile (the configuration, to look at it) is told by itself.
        for logger in (" ERROR   gatewayd.loop: ", " gatewayd.web: "):
            told = [line for line in daemon.log[lines:] if logger in line]
            assert once_a_second(told), told


def _port(daemon: Daemon) -> int:
    return int(daemon.data.removesuffix("/v1").rpartition(":")[2])
