"""A forwarder in front of a scripted upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatewayd.errors import GatewayError
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.wire.openai import Usage
from tests.fakeup import HANG, FakeUpstream, Reply, chat_events
from tests.upstream.doubles import LONG, SHORT, SlowSink, call, deployment, eventually

COUNTS = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{}], "usage": COUNTS}
CHAT = chat_events("Hello", "world", usage=COUNTS)


@asynccontextmanager
async def forwarding(*replies: Reply, **config: Any) -> AsyncIterator[tuple[FakeUpstream, ForwardUpstream]]:
    """An upstream and its forwarder; at the end no connection may be left."""
    async with FakeUpstream(*replies) as up:
        forward = ForwardUpstream(deployment(up.base_url, **config))
        yield up, forward
        await forward.aclose()
        await eventually(lambda: up.open_count == 0)


async def refusal(*replies: Reply, stream: bool = False, **config: Any) -> GatewayError:
    silent = any(HANG in reply.steps for reply in replies)  # what does come has all the time it needs
    async with forwarding(*replies, **config) as (_, forward):
        with pytest.raises(GatewayError) as caught:
            await forward.open(call(stream=stream, timeouts=SHORT if silent else LONG))
    return caught.value


async def streamed(forward: ForwardUpstream, sink: SlowSink | None = None, **fields: Any) -> tuple[bytes, Usage | None]:
    sink = sink or SlowSink()
    reply = await forward.open(call(stream=True, **fields))
    try:
        assert reply.body is None
        await reply.pipe(sink)
    finally:
        reply.close()
    return bytes(sink.data), reply.usage
