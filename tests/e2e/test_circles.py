"""A gateway whose upstream is itself: refused at the start where that shows, stopped at once where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.process import Daemon, command, eventually
from tests.e2e.test_rebinding import free_port

MODEL = """
model_list:
- model_name: a
  litellm_params: {{model: openai/a, api_base: "http://127.0.0.1:{port}/v1", api_key: sk-0123456789abcdef}}
router_settings: {{num_retries: 3, cooldown_time: 60}}
gatewayd: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
"""


class Proxy:
    """Another process's port: bytes go to `target`, a port on loopback; connections are counted."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self.connections = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy()
    server = await asyncio.start_server(made.relay, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_circle_through_a_proxy_is_answered_at_once(workers: str, tmp_path: Path) -> None:
    """U-A1: one call was thousands of requests. All workers of a daemon are one gateway."""
    file = tmp_path / "gatewayd.yaml"
    async with proxy() as between:
        file.write_text(MODEL.format(port=between.port))
        async with Daemon(file, "--workers", workers) as daemon:
            between.target = int(daemon.data.rpartition(":")[2].removesuffix("/v1"))
            for _ in range(8):  # whichever worker takes it
                for stream in (False, True):
                    status, answer = await daemon.chat("a", stream=stream)
                    assert (status, answer["error"]["code"]) == (508, "loop_detected")
            assert between.connections <= 16


async def test_an_address_that_leads_back_is_refused_at_the_start_and_on_reload(tmp_path: Path) -> None:
    """U-A1: at the port that it really has."""
    file, port = tmp_path / "gatewayd.yaml", free_port()
    file.write_text(MODEL.format(port=port))
    code, out, _ = await command("check", str(file))
    assert (code, "upstream_is_gatewayd" in out) == (0, False)  # it listens elsewhere
    code, _, err = await command("run", "-c", str(file), "--port", str(port))
    assert code == 78
    assert "upstream_is_gatewayd" in err
    async with Daemon(file, "--port", "0") as daemon:
        revision = (await daemon.status())["revision"]
        taken = int(daemon.data.rpartition(":")[2].removesuffix("/v1"))
        file.write_text(MODEL.format(port=taken))

        async def is_refused() -> bool:
            last = (await daemon.status())["last_reload"]
            return last is not None and last["result"] == "rejected" and "upstream_is_gatewayd" in str(last)

        await eventually(is_refused)
        assert (await daemon.status())["revision"] == revision


async def test_without_a_file_the_environments_addresses_are_checked_and_shown(tmp_path: Path) -> None:
    """U-A1: `OPENAI_BASE_URL` is meant for clients as often as for the gateway."""
    port = free_port()
    environ = {"OPENAI_API_KEY": "sk-0123456789abcdef", "OPENAI_BASE_URL": f"http://localhost:{port}/v1?key=canary"}
    places = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    code, _, err = await command("run", "--port", str(port), environ=environ | places, cwd=tmp_path)
    assert code == 78
    assert "unset OPENAI_BASE_URL" in err
    async with Daemon(None, "--port", "0", environ=environ | places, cwd=tmp_path) as daemon:
        shown = [line for line in daemon.log if "OPENAI_BASE_URL" in line]
        assert shown == [f"  address http://localhost:{port}/v1 of OPENAI_BASE_URL, from the environment"]
