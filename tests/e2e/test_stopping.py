"""The end of a daemon under load, as signals ask for it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import PATIENCE, Daemon
from tests.e2e.test_signals import EVENTS, forwarded
from tests.fakeup import FakeUpstream, Received, Reply, raw_reply, sse_reply

STREAMS = 1000
DRAIN = 0.5
SLOW = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: "


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "up", "messages": [{"role": "user", "content": "Hello"}], **fields}


async def test_a_thousand_streams_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """F-01, S2, S3: each to its last byte, `[DONE]` included; exit 0, nothing cut short."""
    file, go, open_streams = tmp_path / "gatewayd.yaml", asyncio.Event(), asyncio.Semaphore(0)
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up:
        file.write_text(forwarded(up.base_url))
        async with Daemon(file) as daemon:

            async def stream() -> None:
                async with daemon.session.post(f"{daemon.data}/chat/completions", json=body(stream=True)) as response:
                    received = await response.content.readexactly(len(EVENTS[0]))
                    open_streams.release()
                    received += await response.content.read()
                    assert received == b"".join(EVENTS)

            async with asyncio.TaskGroup() as clients:
                for _ in range(STREAMS):
                    clients.create_task(stream())
                for _ in range(STREAMS):
                    await open_streams.acquire()
                daemon.signal(signal.SIGTERM)
                await daemon.logged("stopping; waiting for requests in flight")
                go.set()
            assert await daemon.exit_code() == 0
            assert any("stopped; interrupted requests: 0" in line for line in daemon.log)


@pytest.mark.parametrize("how", ["deadline", signal.SIGTERM, signal.SIGINT])
async def test_what_is_left_at_the_deadline_is_told_and_the_process_is_gone(
    how: str | signal.Signals, tmp_path: Path
) -> None:
    """F-02, F-03, S4, S5: streams by one event and a clean end, calls by a 503; upstreams are dropped. The deadline is
    the configured one, or the second signal, whichever it is."""
    file, never, asked = tmp_path / "gatewayd.yaml", asyncio.Event(), asyncio.Semaphore(0)
    streams, calls = 50, 10

    def script(request: Received) -> Reply:
        asked.release()
        return sse_reply([EVENTS[0], never]) if request.json().get("stream") else raw_reply(never)

    async with FakeUpstream(script) as up:
        file.write_text(forwarded(up.base_url, f"{SLOW}{DRAIN if how == 'deadline' else 3600}"))
        async with Daemon(file) as daemon:

            async def stream() -> None:
                async with daemon.session.post(f"{daemon.data}/chat/completions", json=body(stream=True)) as response:
                    assert await response.content.readexactly(len(EVENTS[0])) == EVENTS[0]
                    (event,) = [line for line in (await response.content.read()).splitlines() if line]
                    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "server_shutting_down"

            async def call() -> None:
                async with daemon.session.post(f"{daemon.data}/chat/completions", json=body()) as response:
                    assert response.status == 503
                    assert response.headers["connection"] == "close"
                    assert (await response.json())["error"]["code"] == "server_shutting_down"

            async with asyncio.TaskGroup() as clients:
                for _ in range(streams):
                    clients.create_task(stream())
                for _ in range(calls):
                    clients.create_task(call())
                for _ in range(streams + calls):
                    await asked.acquire()
                await asyncio.sleep(0.2)  # the first events of the last streams are on their way
                daemon.signal(signal.SIGTERM)
                if isinstance(how, signal.Signals):
                    await daemon.logged("stopping; waiting for requests in flight")
                    daemon.signal(how)
            assert await daemon.exit_code() == 0
            assert any(f"interrupted requests: {streams + calls}" in line for line in daemon.log)
        async with asyncio.timeout(PATIENCE):
            for peer in up.peers:
                await peer.gone.wait()


async def test_a_client_that_takes_nothing_cannot_hold_up_the_end(tmp_path: Path) -> None:
    """S5, F-02: its buffers are full, so that nothing can be told it."""
    file, asked = tmp_path / "gatewayd.yaml", asyncio.Event()

    def script(request: Received) -> Reply:
        asked.set()
        return sse_reply([EVENTS[0]] * 200_000)

    async with FakeUpstream(script) as up:
        file.write_text(forwarded(up.base_url, f"{SLOW}{DRAIN}"))
        async with Daemon(file) as daemon:
            host, port = daemon.data.removeprefix("http://").removesuffix("/v1").split(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            text = json.dumps(body(stream=True))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(text)}\r\n\r\n{text}".encode())
            await asked.wait()
            await asyncio.sleep(0.3)  # as long as it takes to fill them
            daemon.signal(signal.SIGTERM)
            assert await daemon.exit_code() == 0
            writer.close()
            del reader


async def test_readiness_goes_first(tmp_path: Path) -> None:
    """S1: at once, long before the last request ends; the admin side answers to the end."""
    file, never = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], never])) as up:
        file.write_text(forwarded(up.base_url, f"{SLOW}3600"))
        async with Daemon(file) as daemon:
            async with daemon.session.post(f"{daemon.data}/chat/completions", json=body(stream=True)) as response:
                await response.content.readexactly(len(EVENTS[0]))
                status = await daemon.status()
                assert status["ready"]
                daemon.signal(signal.SIGTERM)
                await daemon.logged("stopping; waiting for requests in flight")
                assert not (await daemon.status())["ready"]
                daemon.signal(signal.SIGTERM)
            assert await daemon.exit_code() == 0
