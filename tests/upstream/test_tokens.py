"""Embeddings of token arrays, for providers that take texts only."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.secret import Secret
from gatewayd.upstream.litellm.translate import TranslateUpstream
from gatewayd.upstream.tokens import has_tokens, with_texts
from gatewayd.wire.openai import Intent, encode, peek
from tests.fakeup import FakeUpstream, json_reply
from tests.stand_ins import cohere
from tests.upstream.doubles import call, deployment
from tests.upstream.forwarding import forwarding
from tests.upstream.litellm.translating import KNOWN_WARNINGS

TEXTS = ["hello world", "Grüße, 你好 👋", "x"]
HELLO = [15339, 1917]
VECTORS = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}


def asking(value: Any) -> Intent:
    return peek(b'{"input": %b, "model":"e","dimensions":3}' % encode(value))


async def test_tokens_become_the_texts_that_they_were_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    files = Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(files))
    arrays = tiktoken.get_encoding("cl100k_base").encode_batch(TEXTS)
    assert arrays[0] == HELLO
    for given, expected in (
        (arrays, TEXTS), (arrays[1], TEXTS[1]), ([arrays[0], "as it is", []], [TEXTS[0], "as it is", ""])
    ):  # fmt: skip
        assert has_tokens(asking(given))
        intent = await with_texts(asking(given), "groq")
        assert intent.value("input") == expected
        assert peek(intent.body) == Intent("e", False, intent.fields, intent.body)
        assert intent.value("dimensions") == 3


@pytest.mark.parametrize("value", ["1", ["1", "[2"], [], {}, None, [[]], [["1"]]])
def test_what_begins_with_no_token_stays(value: Any) -> None:
    assert not has_tokens(asking(value))
    assert not has_tokens(peek(b'{"model":"e"}'))


@pytest.mark.parametrize("value", [[100_000_000], [HELLO, 5], [1.5], [[1, "a"]], [1, None], [HELLO, {"a": 1}]])
async def test_what_is_no_token_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="groq takes no token arrays") as caught:
        await with_texts(asking(value), "groq")
    assert (caught.value.param, caught.value.verdict) == ("input", Verdict.ELSEWHERE)


@pytest.mark.parametrize(("provider", "sent"), [("openai", HELLO), ("hosted_vllm", HELLO), ("ollama", TEXTS[0])])
async def test_a_forwarded_request_has_what_the_provider_takes(provider: str, sent: Any) -> None:
    async with forwarding(json_reply(VECTORS), provider=provider) as (up, forward):
        for _ in range(2):
            await forward.open(call(endpoint="embeddings", input=HELLO))
        assert [request.json()["input"] for request in up.requests] == [sent] * 2


class TestTranslated:
    pytestmark = KNOWN_WARNINGS

    async def test_a_translated_request_has_texts(self) -> None:
        async with FakeUpstream(cohere.answer) as up:
            values: dict[str, Any] = {"kind": "translate", "provider": "cohere", "model": "embed-v4.0"}
            upstream = TranslateUpstream(deployment(cohere.embed_url(up), api_key=Secret("k"), **values))
            await upstream.open(call(endpoint="embeddings", input=[HELLO]))
            await upstream.aclose()
            assert up.requests[0].json()["texts"] == TEXTS[:1]
