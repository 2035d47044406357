"""The calls behind the helper functions: what they say to the API and what they read out of its answers.

Each comes twice, for threads and for event loops. They know the `openai` package and nothing of daemons.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import openai

from gatewayd.client.stream import BrokenStream, TextStream, text_of
from gatewayd.float32 import unpack

Prompt = str | Sequence[Mapping[str, Any]]
"""A text, or a list of chat messages."""


def chat(client: openai.OpenAI, model: Any, prompt: Prompt, extra: Mapping[str, Any]) -> str:
    resource = client.chat.completions
    given = _arguments(resource.create, extra)
    raw = resource.with_raw_response.create(model=model, messages=_messages(prompt), **given)
    return _text(_parsed(raw), raw.http_response)


async def chat_async(client: openai.AsyncOpenAI, model: Any, prompt: Prompt, extra: Mapping[str, Any]) -> str:
    resource = client.chat.completions
    given = _arguments(resource.create, extra)
    raw = await resource.with_raw_response.create(model=model, messages=_messages(prompt), **given)
    return _text(_parsed(raw), raw.http_response)


def chat_stream(
    client: openai.OpenAI, model: Any, prompt: Prompt, extra: Mapping[str, Any]
) -> Generator[str, None, None]:
    """The request is sent when the first piece is asked for."""
    resource = client.chat.completions
    given = _arguments(resource.create, extra)
    create = resource.with_streaming_response.create
    with create(model=model, messages=_messages(prompt), stream=True, **given) as response:
        parser, chunks = TextStream(), response.iter_bytes()
        while not parser.done:
            try:
                chunk = next(chunks, None)
            except Exception as error:
                raise _lost(error, response.http_request) from error
            if chunk is None:
                if parser.end():
                    return
                raise _cut(response.http_request)
            try:
                yield from parser.feed(chunk)
            except BrokenStream as error:
                raise openai.APIError(error.message, response.http_request, body=error.body) from None
        with suppress(Exception):  # the answer is whole; reading to the end lets the connection be used again
            for _ in chunks:
                pass


async def chat_stream_async(
    client: openai.AsyncOpenAI, model: Any, prompt: Prompt, extra: Mapping[str, Any]
) -> AsyncGenerator[str, None]:
    """The request is sent when the first piece is asked for."""
    resource = client.chat.completions
    given = _arguments(resource.create, extra)
    create = resource.with_streaming_response.create
    async with create(model=model, messages=_messages(prompt), stream=True, **given) as response:
        parser, chunks = TextStream(), response.iter_bytes()
        while not parser.done:
            try:
                chunk = await anext(chunks, None)
            except Exception as error:
                raise _lost(error, response.http_request) from error
            if chunk is None:
                if parser.end():
                    return
                raise _cut(response.http_request)
            try:
                for piece in parser.feed(chunk):
                    yield piece
            except BrokenStream as error:
                raise openai.APIError(error.message, response.http_request, body=error.body) from None
        with suppress(Exception):
            async for _ in chunks:
                pass


def embed(client: openai.OpenAI, model: Any, text: str | Sequence[str], extra: Mapping[str, Any]) -> list[list[float]]:
    texts = _texts(text)
    if not texts:
        return []
    given = _arguments(client.embeddings.create, extra)
    raw = client.embeddings.with_raw_response.create(model=model, input=texts, **given)
    return _vectors(_parsed(raw), len(texts), raw.http_response)


async def embed_async(
    client: openai.AsyncOpenAI, model: Any, text: str | Sequence[str], extra: Mapping[str, Any]
) -> list[list[float]]:
    texts = _texts(text)
    if not texts:
        return []
    given = _arguments(client.embeddings.create, extra)
    raw = await client.embeddings.with_raw_response.create(model=model, input=texts, **given)
    return _vectors(_parsed(raw), len(texts), raw.http_response)


def _messages(prompt: Prompt) -> list[Any]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Mapping | bytes | bytearray) or not isinstance(prompt, Sequence):
        raise TypeError(f"a prompt is a text or a list of chat messages, not {type(prompt).__name__}")
    if any(isinstance(item, str) for item in prompt):  # other than mappings there are the SDK's own messages
        raise TypeError("a prompt is a text or a list of chat messages, not a list of texts (see batch_generate)")
    return list(prompt)


def _texts(text: str | Sequence[str]) -> list[str]:
    texts = [text] if isinstance(text, str) else list(text)
    for item in texts:
        if not isinstance(item, str):
            raise TypeError(f"generate_embeddings takes a text or a list of texts, not {type(item).__name__}")
    return texts


def _arguments(create: Callable[..., Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for a method of the SDK; what it has no parameter for goes into the request's body."""
    if extra.get("stream"):
        raise TypeError("stream=True: use stream_text or stream_text_async")
    known = _parameters(getattr(create, "__func__", create))
    given = {name: value for name, value in extra.items() if name in known and name != "stream"}
    if body := {name: value for name, value in extra.items() if name not in known}:
        given["extra_body"] = {**(given.get("extra_body") or {}), **body}
    return given


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _parsed(raw: Any) -> Any:
    """The answer as the SDK reads it. What it cannot read it meets with exceptions of all kinds (JSONDecodeError,
    ValueError, AttributeError)."""
    try:
        return raw.parse()
    except openai.APIError:
        raise
    except Exception as error:
        raise openai.APIResponseValidationError(
            raw.http_response, None, message="The answer does not fit this call and cannot be read."
        ) from error


def _text(completion: Any, response: Any) -> str:
    """The text of the first choice; "" if it has none (a tool call, say)."""
    try:
        content = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        raise openai.APIResponseValidationError(
            response, None, message="The answer is not a chat completion: it has no choice with a message."
        ) from None
    return text_of(content)


def _vectors(answer: Any, expected: int, response: Any) -> list[list[float]]:
    """The vectors in the order of the input."""
    try:
        found = [_vector(item.embedding) for item in sorted(answer.data, key=lambda item: item.index or 0)]
    except (AttributeError, TypeError, ValueError):
        found = []
    if len(found) != expected:
        raise openai.APIResponseValidationError(
            response, None, message=f"The answer has {len(found)} embeddings for {expected} texts."
        )
    return found


def _vector(embedding: Any) -> list[float]:
    """The SDK decodes base64 only where it asked for it itself, not where the caller did. Raises ValueError."""
    if isinstance(embedding, str):
        return unpack(embedding)
    if not isinstance(embedding, list):
        raise ValueError("no list of numbers")
    return embedding


def _cut(request: Any) -> openai.APIConnectionError:
    return openai.APIConnectionError(message="The stream was cut: it ended before [DONE].", request=request)


def _lost(error: Exception, request: Any) -> openai.APIError:
    """A failure while a stream was read: the SDK lets its HTTP library's own exceptions through."""
    if isinstance(error, openai.APIError):
        return error
    if "Timeout" in type(error).__name__:  # of httpx or of httpx2, depending on the SDK's version
        return openai.APITimeoutError(request=request)
    return openai.APIConnectionError(message="The connection broke in the middle of the stream.", request=request)
