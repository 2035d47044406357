"""E-30, R7: what a reload of a large file costs the event loop at a stretch.

Counted in calls of functions between two turns of the loop, which are the same on every machine. How long that takes,
and that the loop gets the processor when it wants it, is measured by `make bench`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from gatewayd.daemon import Daemon
from gatewayd.engine.reload import Applied
from gatewayd.tasks import spawn

MODELS = 1_000
FIRST, LATER = 45_000, 12_000
"""Calls at a stretch for a thousand models, of which there are some 150,000 in all. The first reload of a process also
compiles what it needs."""


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
async def stretches() -> AsyncIterator[list[int]]:
    """Calls of functions, ours and the interpreter's, between one turn of the loop and the next."""
    found = [0]

    def count(*_: object) -> None:
        found[-1] += 1

    async def look() -> None:
        while True:
            await asyncio.sleep(0)
            found.append(0)

    task = spawn(look(), name="stretches")
    sys.setprofile(count)
    try:
        yield found
    finally:
        sys.setprofile(None)
        task.cancel()


@pytest.mark.usefixtures("thawed")
def test_no_stretch_of_a_large_reload_is_long(tmp_path: Path) -> None:
    file = tmp_path / "gatewayd.yaml"
    file.touch(mode=0o600)
    file.write_text(text(1))

    async def edits() -> list[int]:
        daemon = Daemon(str(file))
        await daemon.start()
        gc.collect()
        gc.freeze()  # as `gatewayd run` does
        longest: list[int] = []
        try:
            # A request is under way, on the configuration of the start.
            with daemon.gateway.lease():
                for number in (2, 3):
                    file.write_text(text(number))  # every deployment changes
                    async with stretches() as found:
                        assert isinstance(await daemon.reloader.reload("test"), Applied)
                        while len(daemon.gateway._retiring) > 1:  # noqa: ASYNC110
                            await asyncio.sleep(0.01)
                    longest.append(max(found))
            return longest
        finally:
            await daemon.stop(0)

    first, later = uvloop.run(edits())
    assert first < FIRST
    assert later < LATER
