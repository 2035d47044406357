"""What can happen to a process and around it: killed, stuck, without streams, a full disk for its log, odd proxies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.process import PATIENCE, Daemon, config, environment, eventually
from tests.e2e.test_rebinding import free_port
from tests.e2e.test_signals import forwarded
from tests.fakeup import FakeUpstream, json_reply

CHAT = {"model": "up", "messages": [{"role": "user", "content": "Hello"}]}
ANSWER = json_reply({"object": "chat.completion", "choices": [{"message": {"content": "from upstream"}}]})


async def test_killed_under_load_it_starts_again_at_the_same_places(tmp_path: Path) -> None:
    """F-04: no socket, socket file or process of the dead one is in the way of the next."""
    file, port = tmp_path / "gatewayd.yaml", free_port()
    own = f"listen: ['127.0.0.1:{port}', 'unix:{tmp_path}/data.sock']\nadmin: unix:{tmp_path}/admin.sock"
    async with FakeUpstream(ANSWER) as up, aiohttp.ClientSession() as session:
        file.write_text(forwarded(up.base_url, own))
        for _ in range(3):
            async with Daemon(file) as daemon:
                loaded = asyncio.Semaphore(0)

                async def load(loaded: asyncio.Semaphore = loaded) -> None:
                    while True:
                        async with session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=CHAT) as response:
                            assert response.status == 200
                            await response.read()
                        loaded.release()

                clients = [asyncio.get_running_loop().create_task(load()) for _ in range(20)]
                for _ in range(100):
                    await loaded.acquire()
                daemon.signal(signal.SIGKILL)
                assert await daemon.exit_code() == -signal.SIGKILL
                for ended in await asyncio.gather(*clients, return_exceptions=True):
                    assert isinstance(ended, aiohttp.ClientError), ended
            assert (tmp_path / "data.sock").exists()
            await _nobody_listens(port)


async def _nobody_listens(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_the_watchdogs_signal_shows_where_it_was_stuck(tmp_path: Path) -> None:
    """F-06: systemd sends SIGABRT when the signs of life stop."""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        daemon.signal(signal.SIGABRT)
        assert await daemon.exit_code() == -signal.SIGABRT
        text = "\n".join(daemon.log)
        assert "Fatal Python error: Aborted" in text
        assert "cli/run.py" in text


@contextmanager
def started(file: Path, redirections: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon started by a shell that redirects its standard streams."""
    command = ["sh", "-c", f'exec "$0" -m gatewayd run -c "$1" {redirections}', sys.executable, str(file)]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize(
    "redirections",
    ["<&- >&- 2>&-", "2>&-", "2>/dev/full", "<&- >&-"],  # the last one's stderr is a pipe that nobody reads
)
async def test_it_serves_and_ends_well_whatever_its_standard_streams_are(redirections: str, tmp_path: Path) -> None:
    """F-09, G-01: from the first moment on; no socket takes the place of a closed stream."""
    file, port = tmp_path / "gatewayd.yaml", free_port()
    own = f"listen: 127.0.0.1:{port}\nadmin: unix:{tmp_path}/admin.sock\nlog: {{level: debug}}"
    file.write_text(config("a", own=own))
    with started(file, redirections) as process:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/v1/chat/completions"

            async def answers() -> bool:
                assert process.poll() is None
                try:
                    async with session.post(url, json={**CHAT, "model": "a"}) as response:
                        return response.status == 200
                except aiohttp.ClientConnectorError:
                    return False

            await eventually(answers)
            for _ in range(300):
                assert await answers()
            if redirections == "2>/dev/full":
                await eventually(lambda: _lost_at_least(300, f"{tmp_path}/admin.sock"))
            for number in range(3):
                assert not os.readlink(f"/proc/{process.pid}/fd/{number}").startswith("socket:")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 0


async def _lost_at_least(lines: int, admin: str) -> bool:
    """Asks the metrics: lines of requests are written in batches."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(admin)) as session,
        session.get("http://x/metrics") as page,
    ):
        text = await page.text()
    (told,) = [line for line in text.splitlines() if line.startswith("gatewayd_log_lines_lost_total ")]
    return float(told.split()[1]) >= lines


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full"])
async def test_it_refuses_with_the_right_code_without_a_stderr(redirections: str, tmp_path: Path) -> None:
    """F-09, S7"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text("model_list: 5\n")
    with started(file, redirections) as process:
        assert await asyncio.to_thread(process.wait, PATIENCE) == 78


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@gatewayd-nobody-listens", "not/absolute", "/" + "x" * 200])
async def test_a_notification_socket_that_is_none(address: str, tmp_path: Path) -> None:
    """F-10"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file, environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}) as daemon:
        assert (await daemon.reload())["result"] == "unchanged"
        assert await daemon.chat("a") == (200, "Hello from a")
        daemon.signal(signal.SIGTERM)
        assert await daemon.exit_code() == 0


async def test_proxies_and_netrc_of_the_surroundings_are_nobodys_business(tmp_path: Path) -> None:
    """G-12, G-13: neither prompts nor keys go to a proxy, nor does a password of the user's go to an upstream."""
    file, home = tmp_path / "gatewayd.yaml", tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("default login canary password canary\n")
    (home / ".netrc").chmod(0o600)
    async with FakeUpstream(ANSWER) as up, FakeUpstream(ANSWER) as proxy:
        address = proxy.base_url.removesuffix("/v1")
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environ = {**dict.fromkeys(names, address), "NO_PROXY": "", "no_proxy": "", "HOME": str(home)}
        environ["NETRC"] = str(home / ".netrc")
        translated = (
            "  - model_name: translated\n"
            f"    litellm_params: {{model: cohere_chat/command-r, api_base: '{up.base_url}', api_key: sk-fake}}\n"
        )
        file.write_text(forwarded(up.base_url).replace("model_list:\n", "model_list:\n" + translated))
        async with Daemon(file, environ=environ) as daemon:
            assert await daemon.chat("up") == (200, "from upstream")
            await daemon.chat("translated")  # whatever comes of this answer
            assert (await daemon.reload())["result"] == "unchanged"
        assert len(up.requests) >= 2
        assert proxy.connection_count == 0
        for request in up.requests:
            assert request.headers["authorization"].lower() == "bearer sk-fake"
            assert b"canary" not in request.head
            assert request.path.startswith("/")  # to a proxy it would be a whole URL
