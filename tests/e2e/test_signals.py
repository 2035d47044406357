"""Signals at any moment: SIGHUP never kills, SIGTERM lets answers end."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.process import PATIENCE, Daemon, config, eventually
from tests.fakeup import FakeUpstream, sse_reply
from tests.replies import chat_events

EVENTS = chat_events("one ", "two ", "three")


def forwarded(base_url: str, own: str = "") -> str:
    """A configuration whose model `up` is forwarded to an upstream, and `a` is answered here."""
    entry = f"  - model_name: up\n    litellm_params: {{model: openai/up, api_base: '{base_url}', api_key: sk-fake}}\n"
    own = own or "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0"
    return config("a", own=own).replace("model_list:\n", "model_list:\n" + entry)


@asynccontextmanager
async def streaming(daemon: Daemon, model: str = "up") -> AsyncIterator[aiohttp.ClientResponse]:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    async with daemon.session.post(f"{daemon.data}/chat/completions", json=body) as response:
        yield response


async def test_sighup_reloads(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        daemon.signal(signal.SIGHUP)
        await daemon.logged("configuration unchanged")


async def test_sighup_before_ready_never_kills_and_is_remembered(tmp_path: Path) -> None:
    """E-20, R14: however early, as long as Python itself has started."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, wait=False, cold=True) as daemon:
        handled = Path(f"/proc/{daemon.pid}/status")
        await eventually(lambda: asyncio.to_thread(_catches_sighup, handled))
        for _ in range(50):
            daemon.signal(signal.SIGHUP)
            await asyncio.sleep(0.005)
        await daemon.serving()
        await daemon.logged("configuration unchanged")
        assert await daemon.chat("a") == (200, "Hello from a")


def _catches_sighup(status: Path) -> bool:
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1)


async def test_a_thousand_sighups(tmp_path: Path) -> None:
    """E-19, E-20"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        for _ in range(1000):
            daemon.signal(signal.SIGHUP)
        assert (await daemon.reload())["result"] == "unchanged"
        assert (await daemon.status())["reloads"]["unchanged"] <= 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_clean_stop(number: signal.Signals, tmp_path: Path) -> None:
    """S7"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        await daemon.chat("a")  # leaves an idle connection behind, which must not hold the daemon
        daemon.signal(number)
        assert await daemon.exit_code() == 0
        assert "stopped; interrupted requests: 0" in daemon.log[-2]


async def test_sigterm_lets_an_open_stream_end(tmp_path: Path) -> None:
    """F-01, S1, S2: to its last byte; nobody new is let in meanwhile."""
    file, go = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up:
        file.write_text(forwarded(up.base_url))
        async with Daemon(file) as daemon, streaming(daemon) as response:
            received = await response.content.readexactly(len(EVENTS[0]))
            daemon.signal(signal.SIGTERM)
            await daemon.logged("stopping; waiting for requests in flight")
            await eventually(lambda: _closed(daemon.data))
            daemon.signal(signal.SIGHUP)  # E-20: while draining it is ignored
            assert daemon.alive
            go.set()
            received += await response.content.read()
            assert received == b"".join(EVENTS)
            assert await daemon.exit_code() == 0


async def test_a_stream_that_outlasts_the_drain_gets_an_error_of_its_own(tmp_path: Path) -> None:
    """F-02, S4, S5"""
    file, never = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], never])) as up:
        file.write_text(forwarded(up.base_url, "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: 0.2"))
        async with Daemon(file) as daemon, streaming(daemon) as response:
            await response.content.readexactly(len(EVENTS[0]))
            daemon.signal(signal.SIGTERM)
            await _ends_with_shutdown_error(response)
            assert await daemon.exit_code() == 0
            assert any("interrupted requests: 1" in line for line in daemon.log)
        async with asyncio.timeout(PATIENCE):
            await up.peers[0].gone.wait()


async def test_a_second_signal_stops_now(tmp_path: Path) -> None:
    """F-03"""
    file, never = tmp_path / "gatewayd.yaml", asyncio.Event()
    async with FakeUpstream(sse_reply([EVENTS[0], never])) as up:
        file.write_text(forwarded(up.base_url, "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: 3600"))
        async with Daemon(file) as daemon, streaming(daemon) as response:
            await response.content.readexactly(len(EVENTS[0]))
            daemon.signal(signal.SIGTERM)
            await daemon.logged("stopping; waiting for requests in flight")
            daemon.signal(signal.SIGINT)
            await _ends_with_shutdown_error(response)
            assert await daemon.exit_code() == 0


async def _closed(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as stranger, stranger.get(f"{url}/models"):
            return False
    except aiohttp.ClientConnectorError:
        return True


async def _ends_with_shutdown_error(response: aiohttp.ClientResponse) -> None:
    """One error event, a clean end, and no end mark that could be taken for success."""
    rest = await response.content.read()
    (event,) = [line for line in rest.splitlines() if line]
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "server_shutting_down"
