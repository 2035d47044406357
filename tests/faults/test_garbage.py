"""H-01, H-02: what a request leaves behind goes by counting references; the garbage collector finds nothing of ours.

It matters because a large configuration, and whatever is under way when it goes live, is kept from the collector
(`gatewayd.gc_tuning`): a cycle there would stay for ever, and an old configuration with it.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gatewayd.engine.build import build
from tests.fakeup import HANG, RST, FakeUpstream, Reply, error_reply, json_reply, raw_reply, sse_reply
from tests.faults.request_path import BODY, RequestPath, staged
from tests.replies import chat_events
from tests.web.support import RawClient, until

EVENTS = chat_events("one ", "two ", "three")
WHOLE = json_reply({"object": "chat.completion", "choices": [{}]})

LEAVING = ("client left", "never answered")
ENDINGS: dict[str, Sequence[Reply]] = {
    "complete": [sse_reply([EVENTS[0], 0.05, *EVENTS[1:]])],
    "client left": [sse_reply([EVENTS[0], HANG])],
    "reset": [sse_reply([EVENTS[0], 0.05, RST])],
    "cut": [sse_reply([EVENTS[0], 0.05])],
    "refused": [error_reply(400)],
    "all failed": [error_reply(500)],
    "never answered": [raw_reply(HANG)],
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_a_request_leaves_no_cycle(name: str) -> None:
    """Nor does the configuration it ran on, which was replaced meanwhile."""
    async with FakeUpstream() as primary, FakeUpstream(error_reply(503)) as spare, staged(primary, spare) as path:
        await _one(path, name)  # what is made once and kept is no garbage
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await _one(path, name)
            gc.collect()
            ours = Counter(type(thing).__qualname__ for thing in gc.garbage if _is_ours(thing))
        finally:
            gc.set_debug(0)
            gc.enable()
            gc.garbage.clear()
    assert ours == Counter()


async def _one(path: RequestPath, name: str) -> None:
    """One streamed request, and a new configuration while it is under way."""
    path.primary.then(*ENDINGS[name])
    asked = len(path.primary.requests)
    body = BODY % (b"chat", b"true")
    async with RawClient.to(path.port) as client:
        client.post("/v1/chat/completions", body, "connection: close")
        await until(lambda: len(path.primary.requests) > asked)
        snapshot = path.gateway.current.snapshot
        path.gateway.swap(await build(replace(snapshot, revision=snapshot.revision + "'"), path.gateway))
        if name in LEAVING:
            await asyncio.sleep(0.01)
            client.close()
        else:
            await client.ended()
    await until(lambda: path.gateway.in_flight == 0 and not path.app.requests.live)
    await path.at_rest(len(path.records.fields))
    await asyncio.sleep(0.01)  # the last callbacks of sockets that have closed


def _is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith("gatewayd.")
