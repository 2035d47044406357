"""A program of a user, for the type checker alone: what the functions return is known precisely.

`make check` runs mypy --strict over it. A wrong call must be an error, which is what the ignores are for: strict mode
complains of one that is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import assert_type

import openai
from openai.types.chat import ChatCompletionMessageParam

from gatewayd import (
    ConfigurationError,
    ConfigValidator,
    GatewayConfig,
    LiteLLMGateway,
    batch_generate,
    batch_generate_async,
    configure_gateway,
    create_gateway,
    generate_embeddings,
    generate_embeddings_async,
    generate_text,
    generate_text_async,
    stream_text,
    stream_text_async,
)


def with_threads() -> None:
    gateway = create_gateway(
        providers=["openai", "anthropic"], default_model="gpt-4", api_keys={"openai": "key"}, fallbacks=["gpt-4o"]
    )
    assert_type(gateway, LiteLLMGateway)
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
    assert_type(generate_text(gateway, "Hi", temperature=0.5), str)
    assert_type(generate_text(gateway, messages), str)
    assert_type(generate_text(gateway, [{"role": "user", "content": "Hi"}]), str)
    assert_type(stream_text(gateway, "Hi"), Generator[str, None, None])
    assert_type(generate_embeddings(gateway, ["a", "b"]), list[list[float]])
    assert_type(batch_generate(gateway, ["a", "b"]), list[str])
    assert_type(batch_generate(gateway, (p for p in ("a", "b")), return_exceptions=True), list[str | Exception])
    whether = bool(gateway.default_model)
    assert_type(batch_generate(gateway, ["a"], return_exceptions=whether), list[str | Exception])
    assert_type(gateway.openai, openai.OpenAI)
    assert_type(gateway.batch(["a"]), list[str])
    assert_type(gateway.base_url, str)
    with gateway as same:
        assert_type(same, LiteLLMGateway)
    if gateway.health():
        gateway.close()


async def with_coroutines(gateway: LiteLLMGateway) -> None:
    assert_type(await generate_text_async(gateway, "Hi"), str)
    assert_type(stream_text_async(gateway, "Hi"), AsyncGenerator[str, None])
    assert_type(await generate_embeddings_async(gateway, "a"), list[list[float]])
    assert_type(await batch_generate_async(gateway, ["a"]), list[str])
    assert_type(await gateway.batch_async(["a"], return_exceptions=True), list[str | Exception])
    assert_type(gateway.async_openai, openai.AsyncOpenAI)
    async with gateway:
        await gateway.aclose()


def with_a_configuration() -> None:
    try:
        config = configure_gateway([{"model_name": "a", "litellm_params": {"model": "openai/gpt-4"}}], {"a": ["b"]})
    except ConfigurationError as error:
        assert_type(error.config_key, str | None)
        assert_type(error.valid_options, list[str] | None)
        return
    assert_type(config, GatewayConfig)
    assert_type(config.to_yaml(include_keys=True), str)
    assert_type(ConfigValidator().validate(config).revision, str)
    LiteLLMGateway(config).close()


def with_mistakes(gateway: LiteLLMGateway) -> None:
    generate_text(gateway, 5)  # type: ignore[arg-type]
    create_gateway(providers="openai", timeout="long")  # type: ignore[arg-type]
    batch_generate(gateway, ["a"], max_concurrency="8")  # type: ignore[call-overload]
    gateway.nonsense()  # type: ignore[attr-defined]
    generate_embeddings(gateway, {"a": 1}, "m").upper()  # type: ignore[arg-type, attr-defined]
