"""U-A12: what a fresh installation gets is what was tested.

`$GATEWAYD_FRESH_PYTHON` is an interpreter into whose environment `pip install .` has put the newest packages that
pyproject.toml allows, without a lock; without the variable it is this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tests.client.test_compat import CONFIG as HELPERS
from tests.e2e.process import PATIENCE, Daemon, environment
from tests.e2e.test_loading import COHERE
from tests.fakeup import FakeUpstream, json_reply

PYTHON = os.environ.get("GATEWAYD_FRESH_PYTHON") or sys.executable
KEY = "sk-of-the-daemon"
PRIVATE = """
import sys
from gatewayd import create_gateway
with create_gateway(api_keys={"cohere_chat": "sk-co-0123456789"}, api_bases={"cohere_chat": sys.argv[1]}) as gateway:
    print(gateway.generate("Hi", "cohere_chat/x"))
"""


async def printed(*arguments: str) -> str:
    """What a program prints in the fresh environment, without a warning."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-W", "error", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    async with asyncio.timeout(3 * PATIENCE):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_it_serves_translates_and_stops(tmp_path: Path) -> None:
    """U-A12"""
    file = tmp_path / "gatewayd.yaml"
    async with FakeUpstream(json_reply(COHERE)) as upstream:
        base = upstream.base_url.removesuffix("/v1") + "/v2/chat"
        params = {"model": "cohere_chat/x", "api_key": "sk-co-0123456789", "api_base": base}
        entry = f"- {{model_name: cohere, litellm_params: {json.dumps(params)}}}\n"
        own = "gatewayd: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}\n"
        file.write_text(HELPERS.replace("model_list:\n", f"model_list:\n{entry}") + own)
        async with Daemon(file, python=PYTHON) as daemon:
            assert await daemon.chat("cohere", key=KEY) == (200, "Hello from Cohere")
            assert await daemon.chat("demo", key=KEY) == (200, "Good day to you")
            assert not any("unknown litellm version" in line for line in daemon.log), "\n".join(daemon.log)
            daemon.signal(signal.SIGTERM)
            assert await daemon.exit_code() == 0


async def test_the_helpers_keep_their_promises(tmp_path: Path) -> None:
    """U-A12"""
    file = tmp_path / "gatewayd.yaml"
    file.write_text(f"{HELPERS}gatewayd: {{listen: '127.0.0.1:0', admin: 'off'}}\n")
    async with Daemon(file, python=PYTHON) as daemon:
        script = Path(__file__).parents[1] / "client" / "compat.py"
        assert (await printed(str(script), daemon.data, KEY)).endswith("all promises kept\n")


async def test_a_private_daemon_translates() -> None:
    """U-A12"""
    async with FakeUpstream(json_reply(COHERE)) as upstream:
        assert await printed("-c", PRIVATE, upstream.base_url.removesuffix("/v1") + "/v2/chat") == "Hello from Cohere\n"
