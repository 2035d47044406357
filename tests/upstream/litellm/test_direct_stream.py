"""A stream read without a task, however its bytes come, and when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.errors import UpstreamBadResponse
from gatewayd.upstream.litellm.direct_stream import Events, Translator
from gatewayd.upstream.litellm.push_iterator import PushIterator
from tests.fakeup import FakeUpstream, sse_reply
from tests.stand_ins import anthropic
from tests.upstream.doubles import SlowSink, call, eventually
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, translating

pytestmark = KNOWN_WARNINGS


class Chunk:
    """What litellm makes of an event, as far as it is looked at."""

    def __init__(self, text: str, reason: str | None) -> None:
        self.usage: Any = None
        self._text, self._reason = text, reason

    def model_dump(self, **_: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": {"content": self._text}, "finish_reason": self._reason}
        return {"id": "c", "created": 1, "choices": [choice]}


async def chunks(lines: AsyncIterator[str], closed: list[bool]) -> AsyncIterator[Chunk | None]:
    try:
        async for line in lines:
            text = line.removeprefix("data: ")
            if text == "boom":
                raise KeyError("boom")
            yield None
            yield Chunk("", "stop") if text == "end" else Chunk(text, None)
    finally:
        closed.append(True)


def translator() -> tuple[Translator, list[bool]]:
    closed: list[bool] = []
    feed = PushIterator({})
    events = Events("m", lambda *_, **__: None, is_text=True, with_usage=False)
    explain = lambda error, piece: UpstreamBadResponse(type(error).__name__)  # noqa: E731
    return Translator(feed, chunks(feed.aiter_lines(), closed), events, explain, None), closed


WIRE = "".join(f"event: x\r\ndata: {text}\r\n\r\n" for text in ("ü", "b", "\U0001f600", "end")).encode()


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(WIRE)), max_size=12))
def test_the_same_events_come_of_any_segments(cuts: list[int]) -> None:
    whole, _ = translator()
    expected = whole.feed(WIRE)
    expected += whole.end() or b""
    split, closed = translator()
    places = [0, *sorted(cuts), len(WIRE)]
    found = b"".join(split.feed(WIRE[a:b]) for a, b in pairwise(places))
    assert found + (split.end() or b"") == expected
    assert expected.endswith(b"data: [DONE]\n\n")
    assert closed == [True]


class Spent(Chunk):
    """A chunk that speaks of usage, as each of Gemini's does."""

    model = "m"

    def __init__(self, **usage: int | None) -> None:
        super().__init__("a", None)
        self.usage = SimpleNamespace(model_dump=lambda **_: {k: v for k, v in usage.items() if v is not None})


def test_only_the_last_word_on_usage_is_kept_to_be_added_up() -> None:
    added: list[list[Any]] = []

    def total(chunks: list[Any], *_: Any, **__: Any) -> Any:
        added.append(chunks)
        return SimpleNamespace(model_dump=lambda **_: {"prompt_tokens": 1})

    events = Events("m", total, is_text=False, with_usage=False)
    told = [
        {"p": 1},
        {"p": 1, "c": 0},
        {"p": 1, "c": 5},
        *[{"p": 1, "c": 6}] * 500,
        {"c": 7},
        {"c": 0},
        {"p": 2, "c": 8},
    ]
    chunks = [Spent(**usage) for usage in told]
    for chunk in chunks:
        events.of(chunk)
    events.end()
    assert added == [[chunks[0], chunks[-4], chunks[-3], chunks[-1]]]


def test_what_came_before_a_failure_is_kept() -> None:
    made, closed = translator()
    out = made.feed(b"data: a\n\ndata: boom\n\n")
    assert out.count(b"data: ") == 1
    assert made.over
    assert made.failure is not None
    assert made.failure.message == "KeyError"
    assert made.end() is None
    assert closed == [True]


@pytest.mark.parametrize(("fed", "asked"), [(b"data: a\n\n", True), (b"data: a", False), (b"", False)])
def test_leaving_unwinds_the_reader_if_it_was_ever_asked(fed: bytes, asked: bool) -> None:
    made, closed = translator()
    made.feed(fed)
    made.close()
    made.close()
    assert closed == [True] * asked


def test_bytes_that_are_no_text() -> None:
    made, _ = translator()
    assert made.feed(b"data: \xff\n\n") == b""
    assert made.failure is not None


async def test_a_slow_client_stops_the_upstream() -> None:
    """A-24, B-03."""
    texts = ["x" * 1000] * 3000
    async with FakeUpstream(sse_reply(anthropic.stream(*texts))) as up:
        reply = await translating(up).open(call(messages=MESSAGES, stream=True))
        sink = SlowSink(room=10_000)
        piping = asyncio.get_running_loop().create_task(reply.pipe(sink))
        await eventually(lambda: sink.full)
        seen = -1
        while seen != up.peers[0].sent:  # until the socket takes no more
            seen = up.peers[0].sent
            await asyncio.sleep(0.05)
        assert len(sink.data) < 1_000_000
        assert not piping.done()
        while not piping.done():
            sink.drain()
            await asyncio.sleep(0.001)
        await piping
        reply.close()
        assert sink.data.endswith(b"data: [DONE]\n\n")
        assert sink.data.count(b'"content":"x') == 3000
