"""Token arrays as texts, for embeddings of providers whose APIs take texts only.

LangChain sends arrays of tokens by default. They are those of OpenAI's encoding cl100k_base, whatever the model: it is
what LangChain uses for models that it does not know. The encoding is one of litellm's data files, read without
importing it.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from typing import Any, Final

import msgspec

from gatewayd.config.providers import data_file
from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.tasks import OnceInThread
from gatewayd.wire.openai import Intent, encode

TAKES_TOKENS: Final = frozenset(
    {
        "openai", "text-completion-openai", "azure", "hosted_vllm", "vllm", "nebius", "litellm_proxy", "custom_openai",
        "openai_like", "lm_studio", "xinference", "llamafile",
    }
)  # fmt: skip
"""Providers that take arrays of tokens, and servers of which it is not known: there they pass as they are."""

_FILE: Final = "litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""cl100k_base, under the name that tiktoken's cache gives it: the SHA-1 of its URL."""
_TOKENS: Final = re.compile(rb"\[\s*(?:\[\s*)?\d")
_input: Final = msgspec.json.Decoder(list[Any])


def has_tokens(intent: Intent) -> bool:
    """Whether the `input` of a request for embeddings begins with an array of tokens."""
    raw = intent.fields.get("input")
    return raw is not None and _TOKENS.match(memoryview(raw)) is not None


async def with_texts(intent: Intent, provider: str) -> Intent:
    """The same request with texts in the place of its token arrays. Raises InvalidRequest if that cannot be done."""
    return await asyncio.to_thread(_with_texts, intent, provider, await _table())


def _load() -> dict[int, bytes]:
    lines = (line.split(b" ") for line in data_file(_FILE).splitlines())
    return {int(rank): b64decode(token) for token, rank in lines}


_table: Final = OnceInThread(_load, name="load an encoding")


def _with_texts(intent: Intent, provider: str, table: dict[int, bytes]) -> Intent:
    try:
        given = _input.decode(intent.fields["input"])
        if isinstance(given[0], int):
            texts: str | list[str] = _text(given, table)
        else:
            texts = [one if isinstance(one, str) else _text(one, table) for one in given]
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError):
        error = InvalidRequest(
            f"The field 'input' must be a text or an array of texts: {provider} takes no token arrays, and these are "
            "not in OpenAI's encoding cl100k_base.",
            param="input",
        )
        error.verdict = Verdict.ELSEWHERE  # another provider may take them
        raise error from None
    fields = {**intent.fields, "input": msgspec.Raw(encode(texts))}
    return Intent(intent.model, intent.stream, fields, encode(fields))


def _text(tokens: Any, table: dict[int, bytes]) -> str:
    """Raises LookupError for tokens that do not exist, and TypeError for what is none."""
    return b"".join([table[token] for token in tokens]).decode(errors="replace")
