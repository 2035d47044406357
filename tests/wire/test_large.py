"""Large bodies in steps: the same judgement, and somebody else's turn in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidJson, InvalidRequest
from gatewayd.tasks import in_steps
from gatewayd.wire.large import LARGE, closes, holds
from gatewayd.wire.openai import peek, peek_in_steps

JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\{}[]ü\n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a"\\{}'), inner, max_size=4),
)


def done(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@given(st.dictionaries(st.text(alphabet='a"\\{}'), JSON, max_size=5), st.booleans())
def test_what_was_cut_does_not_close(value: dict[str, Any], ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii).encode()
    assert done(closes(body))
    for end in range(1, len(body)):
        assert not done(closes(body[:end]))


@given(st.integers(0, 3), st.integers(-20, 20))
def test_a_needle_is_found_wherever_it_is(steps: int, offset: int) -> None:
    at = max(0, steps * LARGE + offset)
    body = b"x" * at + b"needle" + b"x" * (3 * LARGE - at)
    assert done(holds(body, b"needle"))
    assert not done(holds(body, b"no needle"))


LONG = "x" * (2 * LARGE)
ODD = [
    {"model": "m", "messages": [{"content": LONG}]},
    {"model": "m", "messages": [{"content": "ü" * LARGE}], "stream": True},
    {"messages": [LONG]},
    {"model": 5, "messages": [LONG]},
    {"model": "m", "api_base": LONG},
    {"model": "m", "x": [{}] * LARGE},
    {f"f{number}": LONG[:2000] for number in range(1500)},
]
BROKEN = [
    json.dumps(ODD[0]).encode() + b"}",
    json.dumps(ODD[0]).encode()[:-1],
    b'{"model": "m", "model": "n", "x": "%b"}' % LONG.encode(),
    b'{"model": "m", "x": "%b\xff"}' % LONG.encode(),
    b'{"model": "m", "x": "%b\xc3"}' % LONG.encode(),
    b"[" * LARGE * 2,
]


@pytest.mark.parametrize("body", [*(json.dumps(value, ensure_ascii=False).encode() for value in ODD), *BROKEN])
def test_the_judgement_is_the_same(body: bytes) -> None:
    """U-F6"""
    told = []
    for look in (lambda: peek(body), lambda: done(peek_in_steps(body))):
        try:
            intent = look()
            told.append((intent.model, intent.stream, intent.fields, intent.body))
        except (InvalidJson, InvalidRequest) as error:
            told.append((type(error), error.code, error.param, error.message))
    assert told[0] == told[1]


@pytest.mark.parametrize("text", ["x", "ü"])
async def test_others_have_their_turn(text: str) -> None:
    """U-F6: no step does all of the work."""
    body = json.dumps({"model": "m", "messages": [{"content": text * 31_000_000}]}, ensure_ascii=False).encode()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    await in_steps(peek_in_steps(body))
    assert turns >= (2 if text == "x" else 20)
    turns = 0
    assert await in_steps(closes(body))
    assert turns >= 0
    other.cancel()
