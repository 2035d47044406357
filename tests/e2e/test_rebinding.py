"""Listeners follow the file: the new one is bound before the old one is drained (D7, E-24)."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.process import Daemon, config, eventually
from tests.e2e.test_signals import EVENTS, forwarded, streaming
from tests.fakeup import FakeUpstream, sse_reply


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


async def test_the_data_side_moves_and_its_streams_go_on(tmp_path: Path) -> None:
    """E-24, R3"""
    file, go, port = tmp_path / "gatewayd.yaml", asyncio.Event(), free_port()
    async with FakeUpstream(sse_reply([EVENTS[0], go, *EVENTS[1:]])) as up:
        file.write_text(forwarded(up.base_url))
        async with Daemon(file) as daemon, streaming(daemon) as response:
            received = await response.content.readexactly(len(EVENTS[0]))
            old = daemon.data
            outcome = await daemon.edit(forwarded(up.base_url, f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:0"))
            assert outcome["result"] == "applied"
            await daemon.logged("  ~ listen")
            daemon.data = f"http://127.0.0.1:{port}/v1"
            assert await daemon.chat("a") == (200, "Hello from a")
            async with aiohttp.ClientSession() as stranger:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await stranger.get(f"{old}/models")
            go.set()
            received += await response.content.read()
            assert received == b"".join(EVENTS)


async def test_a_port_in_use_refuses_the_edit(tmp_path: Path) -> None:
    """E-24"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for own in (
                f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:0",
                f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:{port}",
            ):
                outcome = await daemon.edit(config("b", own=own))
                assert [problem["code"] for problem in outcome["problems"]] == ["listen_failed"]
                assert str(port) in outcome["problems"][0]["message"]
                assert await daemon.chat("a") == (200, "Hello from a")


async def test_the_admin_side_goes_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.write_text(config("a"))
    async with Daemon(file) as daemon:
        file.write_text(config("a", "b", own="listen: 127.0.0.1:0\nadmin: off"))
        await daemon.answers("b")
        with pytest.raises(aiohttp.ClientConnectorError):
            async with aiohttp.ClientSession() as stranger:
                await stranger.get(f"{daemon.admin}/status")
        port = free_port()
        file.write_text(config("a", "c", own=f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:{port}"))
        await daemon.answers("c")
        daemon.admin = f"http://127.0.0.1:{port}"
        assert (await daemon.status())["reloads"]["applied"] == 2


async def test_opening_the_same_port_to_other_machines(tmp_path: Path) -> None:
    """The wildcard address overlaps the one that is listened on."""
    file, port = tmp_path / "gatewayd.yaml", free_port()
    key = "sk-master-0123456789abcdef"
    file.write_text(config("a", own=f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:0"))
    file.chmod(0o600)
    async with Daemon(file) as daemon:
        for host in ("0.0.0.0", "127.0.0.1"):
            outcome = await daemon.edit(
                config(
                    "a",
                    own=f"listen: {host}:{port}\nadmin: 127.0.0.1:0",
                    general_settings=f"{{master_key: {key}}}",
                )
            )
            assert outcome["result"] == "applied", outcome
            assert (await daemon.chat("a", key=key))[0] == 200


@pytest.mark.parametrize("processes", [(), ("--workers", "2")], ids=["one-process", "workers"])
async def test_the_data_and_the_admin_side_exchange_their_ports(processes: tuple[str, ...], tmp_path: Path) -> None:
    """U-F11"""
    file, one, other = tmp_path / "gatewayd.yaml", free_port(), free_port()
    file.write_text(config("a", own=f"listen: 127.0.0.1:{one}\nadmin: 127.0.0.1:{other}"))
    async with Daemon(file, *processes) as daemon:
        outcome = await daemon.edit(config("a", own=f"listen: 127.0.0.1:{other}\nadmin: 127.0.0.1:{one}"))
        assert outcome["result"] == "applied"
        await daemon.session.close()  # its connections to the old listeners
        async with aiohttp.ClientSession() as daemon.session:
            daemon.data, daemon.admin = f"http://127.0.0.1:{other}/v1", f"http://127.0.0.1:{one}"

            async def exchanged() -> bool:
                async with daemon.session.get(f"{daemon.admin}/status") as status:
                    return status.status == 200 and (await daemon.chat("a")) == (200, "Hello from a")

            await eventually(exchanged)


async def test_an_exchange_of_socket_files_is_refused_with_the_reason(tmp_path: Path) -> None:
    """U-F11: a socket file cannot be shared; the message does not blame another gatewayd."""
    file, place = tmp_path / "gatewayd.yaml", free_port()
    file.write_text(config("a", own=f"listen: [127.0.0.1:{place}, unix:one.sock]\nadmin: 127.0.0.1:0"))
    async with Daemon(file) as daemon:
        daemon.data = f"http://127.0.0.1:{place}/v1"
        outcome = await daemon.edit(config("a", own=f"listen: 127.0.0.1:{place}\nadmin: unix:one.sock"))
        (problem,) = outcome["problems"]
        assert problem["message"].endswith("one.sock: address already in use")
        assert problem["hint"].startswith("gatewayd itself listens there")
        assert await daemon.chat("a") == (200, "Hello from a")
