"""A machine with little memory: it starts, and sheds load instead of dying."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.process import PATIENCE, Daemon, config

MEGABYTES = 256
OWN = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nlimits: {body_mb: 64, bodies_mb: 4096}"
BODY = 30 * 2**20


@contextlib.asynccontextmanager
async def upload(daemon: Daemon) -> AsyncIterator[int]:
    """All but the last byte of a large body; its status if it was refused, else 0."""
    host, port = daemon.data.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {BODY}\r\n\r\n".encode())
    answer = asyncio.get_running_loop().create_task(reader.read(4096))
    try:
        with contextlib.suppress(ConnectionError):
            for _ in range(BODY >> 20):
                writer.write(b"x" * (2**20 - 1))
                await writer.drain()
                if answer.done():
                    break
        await asyncio.wait([answer], timeout=0.3)
        yield int(answer.result().split(b" ")[1]) if answer.done() and answer.result() else 0
    finally:
        answer.cancel()
        writer.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_large_bodies_are_refused_before_the_memory_is_used_up(workers: int, tmp_path: Path) -> None:
    """F-08, G-10: twice the memory is sent; small requests are answered all the time, and afterwards all are."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a", own=OWN))
    arguments = ("--workers", str(workers)) if workers > 1 else ()
    async with Daemon(file, *arguments, memory_mb=MEGABYTES) as daemon:
        assert await daemon.chat("a") == (200, "Hello from a")
        async with contextlib.AsyncExitStack() as stack:
            statuses = [await stack.enter_async_context(upload(daemon)) for _ in range(2 * MEGABYTES // 30)]
            assert set(statuses) == {0, 503}
            assert statuses[0] == 0
            assert await daemon.chat("a") == (200, "Hello from a")
        async with asyncio.timeout(PATIENCE):
            while True:
                async with upload(daemon) as status:
                    if status == 0:
                        break
        assert await daemon.chat("a") == (200, "Hello from a")
        assert daemon.alive
        assert not any("are lost" in line for line in daemon.log)
        assert not json.dumps(daemon.log).count("MemoryError")
