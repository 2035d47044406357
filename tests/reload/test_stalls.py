"""E-30, R7: what a reload of a large file costs the event loop at a stretch.

Counted in processor time of the loop's thread, which does not depend on what else the machine does. That the loop gets
the processor when it wants it, also from the process that reads the file, is measured by `make bench`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from gatewayd.daemon import Daemon
from gatewayd.engine.reload import Applied
from gatewayd.tasks import spawn

MODELS = 1_000
LIMIT = 0.020
"""Seconds: the promise for a thousand models."""


def text(timeout: int) -> str:
    entries = "".join(
        f"  - model_name: model-{number}\n    litellm_params: {{model: openai/model-{number}, timeout: {timeout}, "
        f"api_base: 'http://127.0.0.1:9/v1', api_key: sk-upstream-{number:04}-{timeout}}}\n"
        for number in range(MODELS)
    )
    return f"model_list:\n{entries}gatewayd: {{listen: '127.0.0.1:0', admin: 'off'}}\n"


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@asynccontextmanager
async def stretches() -> AsyncIterator[list[float]]:
    """Processor time of this thread between one turn of the loop and the next."""
    found: list[float] = []

    async def look() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            found.append(now - last)
            last = now

    task = spawn(look(), name="stretches")
    try:
        yield found
    finally:
        task.cancel()


@pytest.mark.usefixtures("thawed")
def test_no_stretch_of_a_large_reload_is_long(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.touch(mode=0o600)
    file.write_text(text(1))

    async def edits() -> list[float]:
        daemon = Daemon(str(file))
        await daemon.start()
        gc.collect()
        gc.freeze()  # as `gatewayd run` does
        try:
            # A request is under way, on the configuration of the start.
            with daemon.gateway.lease():
                async with stretches() as found:
                    for number in (2, 3):
                        file.write_text(text(number))  # every deployment changes
                        assert isinstance(await daemon.reloader.reload("test"), Applied)
                        while len(daemon.gateway._retiring) > 1:  # noqa: ASYNC110
                            await asyncio.sleep(0.01)
            return found
        finally:
            await daemon.stop(0)

    found = sorted(uvloop.run(edits()))
    assert found[-1] < LIMIT, [round(seconds * 1e3, 1) for seconds in found[-5:]]
