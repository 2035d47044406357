"""Vectors come in the form that the client asked for, whatever the upstream gives."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from typing import Any

import pytest

from gatewayd.upstream.vectors import packed
from tests.fakeup import json_reply
from tests.upstream.doubles import call
from tests.upstream.forwarding import forwarding

VECTOR = [0.5, -0.25, 1]


def answer(*vectors: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 4, "total_tokens": 4}}


def numbers(body: bytes) -> list[list[float]]:
    texts = [b64decode(item["embedding"]) for item in json.loads(body)["data"]]
    return [list(struct.unpack(f"<{len(text) // 4}f", text)) for text in texts]


async def test_lists_become_base64_if_that_was_asked_for() -> None:
    """As the SDKs ask; the one for JavaScript makes vectors without elements of lists."""
    async with forwarding(json_reply(answer(VECTOR, VECTOR))) as (_, forward):
        reply = await forward.open(call(endpoint="embeddings", input="a", encoding_format="base64"))
        assert reply.body is not None
        assert numbers(reply.body) == [VECTOR, VECTOR]
        assert {**json.loads(reply.body), "data": []} == {**answer(), "data": []}
        assert reply.usage is not None
        assert reply.usage.prompt_tokens == 4


@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}, {"encoding_format": None}])
async def test_what_was_not_asked_for_in_base64_goes_through_as_it_is(asked: dict[str, Any]) -> None:
    said = json_reply(answer(VECTOR))
    async with forwarding(said) as (_, forward):
        reply = await forward.open(call(endpoint="embeddings", input="a", **asked))
        assert reply.body == json.dumps(answer(VECTOR), separators=(",", ":")).encode()


@pytest.mark.parametrize("body", [answer("AAAAPw=="), {"choices": [{"embedding": [1]}]}])
async def test_other_answers_go_through_as_they_are(body: Any) -> None:
    async with forwarding(json_reply(body)) as (_, forward):
        reply = await forward.open(call(endpoint="embeddings", input="a", encoding_format="base64"))
        assert reply.body == json.dumps(body, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"data": null}',
        b'{"data": [{"\xff": 1, "embedding": [1]}]}',
        b'{"data": [5]}',
        b'{"data": [{"embedding": [[0.5]]}]}',
        b'{"data": [{"embedding": ["a"]}]}',
        b'{"data": [{"embedding": [null]}]}',
        b'{"data": [{"vector": [1]}]}',
        b'{"data": [{"embedding": [1' + b"0" * 400 + b"]}]}",
    ],
)
def test_what_is_no_list_of_numbers_stays(body: bytes) -> None:
    assert packed(body) == body


def test_a_mixture_becomes_one_form() -> None:
    assert numbers(packed(json.dumps(answer(VECTOR, "AAAAPw==")).encode())) == [VECTOR, [0.5]]
