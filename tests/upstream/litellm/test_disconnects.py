"""A client disconnects in the middle of a translated stream: the upstream is closed at once and nothing is logged."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import Any

import pytest

from gatewayd.tasks import spawn
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import HANG, FakeUpstream, Reply, chunk, head, raw_reply, sse_reply
from tests.stand_ins import anthropic, bedrock, cohere, gemini
from tests.upstream.doubles import call
from tests.upstream.litellm.direct_and_litellm import of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, WAYS
from tests.upstream.sinks import ListSink

pytestmark = KNOWN_WARNINGS

_BINARY = head(200, [("Content-Type", "application/vnd.amazon.eventstream"), ("Transfer-Encoding", "chunked")])
BEGUN: dict[str, Reply] = {
    "anthropic": sse_reply([*anthropic.stream()[:4], HANG], finish=False),
    "bedrock": raw_reply(_BINARY, chunk(b"".join(bedrock.stream()[:2])), HANG),
    "cohere_chat": sse_reply([*cohere.stream()[:3], HANG], finish=False),
    "gemini": sse_reply([gemini.chunk("a"), HANG], finish=False),
}


@WAYS
@pytest.mark.parametrize("piped", [True, False])
@pytest.mark.parametrize("family", BEGUN)
async def test_a_client_that_disconnects_is_no_error(
    family: str, piped: bool, direct: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """U-B16"""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    async with FakeUpstream(BEGUN[family]) as up:
        upstream = TranslateUpstream(of(family, up), direct=direct)
        reply = await upstream.open(call(messages=MESSAGES, stream=True))
        if piped:
            sink = ListSink()
            piping = spawn(reply.pipe(sink), name="pipe")
            while not sink.data:  # noqa: ASYNC110  # a sink has no event
                await asyncio.sleep(0)
            piping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await piping
            del piping
        reply.close()
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        del reply
        await upstream.aclose()
    gc.collect()
    while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # what collecting has started
        await asyncio.sleep(0)
    gc.collect()
    assert reported == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
