"""The data plane when memory runs short. tests/web/test_listener.py tests its sockets and its drain."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from gatewayd.admin.views import health_view
from gatewayd.config.snapshot import Snapshot
from gatewayd.engine.runtime import Gateway
from gatewayd.observe.memory import Memory
from gatewayd.observe.metrics import Metrics
from gatewayd.web.connection import MOST_ASKING
from gatewayd.web.data_plane import DataPlane
from tests.engine.fakes import NO_RETRIES, runtime_of
from tests.web.support import LOCAL, OPEN, RawClient, Teller, until


class Tank(Memory):
    """As full as the test says."""

    level = 0.5

    @property
    def limited(self) -> bool:
        return True

    def __init__(self) -> None:
        super().__init__("/nowhere")

    def fullness(self) -> float:
        return self.level

    def free(self) -> int:
        return 10_000_000


async def test_load_is_shed_while_memory_is_nearly_used_up(caplog: pytest.LogCaptureFixture) -> None:
    """F-08: who is in goes on; new connections and large bodies are told to come again; told in the log once each."""
    tank, gateway = Tank(), Gateway()
    gateway.swap(runtime_of(gateway, {"chat": {"d1": Teller()}}, server=OPEN, routing=NO_RETRIES))
    side = DataPlane(gateway, Metrics(), memory=tank)
    (await side.stage(Snapshot("r", (), server=OPEN), [LOCAL])).commit()
    watching = asyncio.get_running_loop().create_task(side.watch_memory())
    port = side.addresses[0].port

    async def status(client: RawClient, body: bytes | None = None) -> int:
        client.post("/v1/chat/completions") if body is None else client.post("/v1/chat/completions", body)
        return (await client.answer()).status

    async def large() -> int:
        """A body of 5 MB, of which 10 MB are free at the start: 4 are for bodies."""
        async with RawClient.to(port) as client:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            client.send(head + b"content-length: 5000000\r\n\r\n")
            await asyncio.sleep(0.01)
            client.send(b"x" * 3_000_000)
            await asyncio.sleep(0.01)
            client.send(b"x" * 1_999_000)
            return (await client.answer()).status

    async with RawClient.to(port) as known:
        assert await status(known) == 200
        assert await large() == 503
        tank.level = 0.86
        await until(lambda: gateway.overloaded)
        async with RawClient.to(port) as stranger:
            stranger.post("/v1/chat/completions")
            answer = await stranger.answer()
            assert (answer.error["code"], answer.headers["connection"]) == ("server_busy", "close")
        for path, told in (("/livez", 200), ("/readyz", 503)):
            async with RawClient.to(port) as stranger:
                stranger.get(path)
                assert (await stranger.answer()).status == told
        assert json.loads(health_view(gateway, 0.0, 0.0))["overloaded"] is True
        async with AsyncExitStack() as stack:
            asking, *_ = [await stack.enter_async_context(RawClient.to(port)) for _ in range(MOST_ASKING)]
            async with RawClient.to(port) as stranger:  # one too many: it is not waited for
                assert (await stranger.answer()).error["code"] == "server_busy"
            asking.get("/livez")
            assert (await asking.answer()).status == 200
        assert await status(known) == 200
        tank.level = 0.8
        await asyncio.sleep(0.6)
        assert gateway.overloaded
        tank.level = 0.7
        await until(lambda: not gateway.overloaded)
        async with RawClient.to(port) as stranger:
            assert await status(stranger) == 200
    assert [message.split(":")[0] for message in caplog.messages if message.startswith("memory")] == [
        "memory is 86 % used",
        "memory is 70 % used",
    ]
    watching.cancel()
    await side.drain(0)
    await gateway.close()


async def test_with_nothing_open_nothing_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """U-F1: what is used although no client is connected does not come back by refusing, so it is no reason to."""
    tank, gateway = Tank(), Gateway()
    gateway.swap(runtime_of(gateway, {"chat": {"d1": Teller()}}, server=OPEN, routing=NO_RETRIES))
    side = DataPlane(gateway, Metrics(), memory=tank)
    changes: list[bool] = []
    side.overload_changed = lambda: changes.append(gateway.overloaded)
    (await side.stage(Snapshot("r", (), server=OPEN), [LOCAL])).commit()
    watching = asyncio.get_running_loop().create_task(side.watch_memory())
    port = side.addresses[0].port
    async with RawClient.to(port):
        tank.level = 0.9
        await until(lambda: gateway.overloaded)
    await until(lambda: not gateway.overloaded)
    async with RawClient.to(port) as client:
        for _ in range(20):
            client.post("/v1/chat/completions")
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.05)  # four looks at the memory in all
        tank.level = 0.99
        await until(lambda: gateway.overloaded)
    await until(lambda: not gateway.overloaded)
    assert changes == [True, False, True, False]
    watching.cancel()
    await side.drain(0)
    await gateway.close()


async def test_without_a_limit_nothing_is_watched() -> None:
    async with asyncio.timeout(10):
        await DataPlane(Gateway(), Metrics(), memory=Memory("/nowhere")).watch_memory()
