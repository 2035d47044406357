"""A start with deployments that need litellm: what is answered while it is still being imported."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import Daemon, config, eventually
from tests.e2e.test_rebinding import free_port
from tests.fakeup import FakeUpstream, json_reply

GATE = """
import importlib.abc, importlib.machinery, os, sys, time

def wait():
    open(os.environ["GATE"] + ".reached", "w").close()
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    if os.path.getsize(os.environ["GATE"]):
        raise ImportError("no litellm here")

class Gate(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "litellm":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (wait(), run(module))
        return spec

sys.meta_path.insert(0, Gate())
"""
"""`sitecustomize` of the daemon and its workers: the import of litellm waits for a file, and fails if there is text in
it."""

COHERE: dict[str, Any] = {
    "id": "c1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello from Cohere"}]},
    "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}},
}


class Gated(Daemon):
    """A daemon that is still importing litellm."""

    def __init__(self, folder: Path, *arguments: str, upstream: str = "http://127.0.0.1:9") -> None:
        (folder / "sitecustomize.py").write_text(GATE)
        self._gate = folder / "gate"
        self.url = f"http://127.0.0.1:{free_port()}"
        params = {"model": "cohere_chat/x", "api_key": "sk-co-0123456789", "api_base": f"{upstream}/v2/chat"}
        entry = f"  - {{model_name: cohere, litellm_params: {json.dumps(params)}}}\n"
        own = f"listen: {self.url.removeprefix('http://')}\nadmin: 127.0.0.1:0"
        file = folder / "gatewayd.yaml"
        file.write_text(config("local", own=own).replace("model_list:\n", f"model_list:\n{entry}"))
        path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
        super().__init__(file, *arguments, environ={"GATE": str(self._gate), "PYTHONPATH": path}, wait=False)

    async def reached(self) -> None:
        """Waits for the beginning of the import."""
        file = Path(f"{self._gate}.reached")
        await eventually(lambda: asyncio.to_thread(file.exists))

    def go_on(self, content: str = "") -> None:
        beside = self._gate.with_suffix(".new")
        beside.write_text(content)
        beside.rename(self._gate)

    async def get(self, path: str) -> int:
        """On a connection of its own."""
        async with aiohttp.ClientSession() as stranger, stranger.get(self.url + path) as response:
            return response.status


@pytest.fixture(params=[(), ("--workers", "2")], ids=["one-process", "workers"])
def processes(request: pytest.FixtureRequest) -> tuple[str, ...]:
    arguments: tuple[str, ...] = request.param
    return arguments


async def test_what_needs_no_litellm_is_answered_while_litellm_is_loaded(
    tmp_path: Path, processes: tuple[str, ...]
) -> None:
    """U-C11: `/livez` answers, `/readyz` says no, and calls that must be translated wait."""
    async with (
        FakeUpstream(json_reply(COHERE)) as upstream,
        Gated(tmp_path, *processes, upstream=upstream.base_url.removesuffix("/v1")) as daemon,
    ):
        await daemon.reached()
        daemon.data = f"{daemon.url}/v1"

        async def alive() -> bool:
            try:
                return await daemon.get("/livez") == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(alive)
        assert await daemon.get("/readyz") == 503
        assert await daemon.chat("local") == (200, "Hello from local")
        waiting = asyncio.create_task(daemon.chat("cohere"))
        assert not any("  models  " in line for line in daemon.log)
        daemon.go_on()
        assert await waiting == (200, "Hello from Cohere")
        await daemon.serving()
        assert await daemon.get("/readyz") == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_start_that_still_loads(
    number: signal.Signals, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    """U-C11"""
    async with Gated(tmp_path, *processes) as daemon:
        await daemon.reached()
        daemon.signal(number)
        assert await daemon.exit_code() == 0  # litellm is never there


async def test_a_start_without_litellm_fails(tmp_path: Path, processes: tuple[str, ...]) -> None:
    async with Gated(tmp_path, *processes) as daemon:
        daemon.go_on("broken")
        assert await daemon.exit_code() == 78
        assert any("litellm_unavailable" in line for line in daemon.log)


async def test_an_edit_that_needs_litellm_goes_live_when_it_is_loaded(tmp_path: Path) -> None:
    """U-C11: the configuration before it is served meanwhile."""
    async with Gated(tmp_path) as daemon:
        file = tmp_path / "gatewayd.yaml"
        whole = file.read_text()
        file.write_text("".join(line for line in whole.splitlines(keepends=True) if "cohere" not in line))
        await daemon.serving()
        edit = asyncio.create_task(daemon.edit(whole))
        await daemon.reached()
        assert await daemon.get("/readyz") == 200
        assert await daemon.chat("local") == (200, "Hello from local")
        assert (await daemon.chat("cohere"))[0] == 404
        daemon.go_on()
        assert (await edit)["result"] == "applied"
