"""The helper functions: `create_gateway`, and one function for each thing people do with a gateway.

They add nothing to `LiteLLMGateway` but names; `create_gateway` decides which kind of gateway is meant.
"""

from __future__ import annotations

import http.client
import logging
import os
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from typing import Any, Literal, overload
from urllib.parse import urlsplit

from gatewayd.client import arguments
from gatewayd.client.calls import Prompt
from gatewayd.client.config import FallbackNames, GatewayConfig
from gatewayd.client.gateway import DEFAULT_BASE_URL, LiteLLMGateway
from gatewayd.client.requirements import all_requirements
from gatewayd.errors import ConfigInvalid, ConfigurationError

_log = logging.getLogger("gatewayd.client")
_PROBE_TIMEOUT = 1.0


def create_gateway(
    providers: Sequence[str] | None = None,
    default_model: str | None = None,
    api_keys: Mapping[str, str] | None = None,
    *,
    fallbacks: FallbackNames | None = None,
    timeout: float = 60.0,
    max_retries: int = 3,
    retry_delay: float = 1.0,
    base_url: str | None = None,
    api_key: str | None = None,
    api_bases: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> LiteLLMGateway:
    """A gateway for what is given, in this order:

    * `base_url`, or `$GATEWAYD_BASE_URL`: attaches to that daemon, with `api_key` or `$GATEWAYD_API_KEY`. Providers,
      their keys, fallbacks, `retry_delay` and `kwargs` are the daemon's own affair then and not used.
    * `providers`, `api_keys` (a mapping of provider to key) or `api_bases` (of provider to base URL): a private daemon
      in this process. Without `providers` they are those that have a key or an address here. A key that is not given is
      taken from the provider's environment variable, and an address likewise, else it is the provider's own.
    * none of these: attaches to a daemon on `http://127.0.0.1:4000/v1` if one answers there; else a private daemon if
      the environment holds the key of `default_model`'s provider.

    `default_model` is used by calls that name none, and `fallbacks` are tried in order when it fails (with no default
    model: when any model fails). Any other model of the providers can be named in a call: `gpt-4o`, or
    `provider/model`.

    `timeout`: seconds for one try, 1 to 300; `max_retries`: further tries, 0 to 10; `retry_delay`: least seconds
    between two tries, 0.1 to 60. `kwargs` are further keys of the file's `router_settings` or `litellm_settings`.

    Raises ConfigurationError for everything that cannot be used: its `config_key` names the argument, `suggestion`
    says what to do, `valid_options` what would be right. No message holds a key.
    """
    seconds = arguments.check_seconds("timeout", timeout, arguments.TIMEOUT)
    retries = arguments.check_count("max_retries", max_retries, arguments.MAX_RETRIES)
    delay = arguments.check_seconds("retry_delay", retry_delay, arguments.RETRY_DELAY)
    if default_model is not None:
        arguments.check_name("default_model", default_model)
    named = providers is not None or api_keys is not None or api_bases is not None
    url = address(base_url, named, environ=os.environ)
    if url is not None:
        gateway = LiteLLMGateway(
            base_url=url, api_key=api_key, default_model=default_model, timeout=seconds, max_retries=retries
        )
        given = {"providers": providers, "api_keys": api_keys, "fallbacks": fallbacks, "api_bases": api_bases, **kwargs}
        if unused := [name for name, value in given.items() if value]:
            _log.warning("%s uses its own configuration and ignores %s", gateway.base_url, ", ".join(unused))
        return gateway

    with all_requirements():
        from gatewayd.client import compose

    if not named:
        providers = [provider_with_key(default_model, environ=os.environ)]
    config = compose.compose(
        providers,
        default_model,
        api_keys,
        fallbacks=fallbacks,
        api_bases=api_bases,
        environ=os.environ,
        options=kwargs,
        timeout=seconds,
        max_retries=retries,
        retry_delay=delay,
    )
    return LiteLLMGateway(config)


def configure_gateway(
    model_list: Sequence[Mapping[str, Any]],
    fallbacks: FallbackNames | None = None,
    timeout: float = 60.0,
    max_retries: int = 3,
    retry_delay: float = 1.0,
) -> GatewayConfig:
    """A configuration for `LiteLLMGateway(config)`, validated like the file. Raises ConfigurationError.

    A fallback that is not a group of `model_list` becomes one, with the key and address of its provider's first entry.
    """
    with all_requirements():
        from gatewayd.client.compose import complete
        from gatewayd.client.embedded import as_configuration_error, typos
        from gatewayd.config.overrides import Overrides
        from gatewayd.config.validator import ConfigValidator

    config = GatewayConfig(model_list, fallbacks, timeout, max_retries, retry_delay)
    whole = complete(config.model_list, config.fallbacks, environ=os.environ)
    config = GatewayConfig(whole, fallbacks, timeout, max_retries, retry_delay)
    result = ConfigValidator(overrides=Overrides(serves=False)).check(config)
    if result.snapshot is None or typos(result.problems):
        raise as_configuration_error(ConfigInvalid(result.problems))
    return config


def generate_text(gateway: LiteLLMGateway, prompt: Prompt, model: str | None = None, **kwargs: Any) -> str:
    """The model's answer to a text or to a list of chat messages.

    `kwargs` go to the API: `temperature`, `max_tokens`, ...; `timeout`, `extra_headers` and `extra_body` mean what
    they mean to the `openai` package. Raises its errors.
    """
    return gateway.generate(prompt, model, **kwargs)


async def generate_text_async(gateway: LiteLLMGateway, prompt: Prompt, model: str | None = None, **kwargs: Any) -> str:
    """`generate_text`, awaited."""
    return await gateway.generate_async(prompt, model, **kwargs)


def stream_text(
    gateway: LiteLLMGateway, prompt: Prompt, model: str | None = None, **kwargs: Any
) -> Generator[str, None, None]:
    """The answer in pieces as they arrive. Leaving the loop, or closing the iterator, cancels the request.

    A stream that fails or is cut half-way raises `openai.APIError`, with a code if the daemon could tell of it, else as
    its subclass `openai.APIConnectionError`.
    """
    return gateway.stream(prompt, model, **kwargs)


def stream_text_async(
    gateway: LiteLLMGateway, prompt: Prompt, model: str | None = None, **kwargs: Any
) -> AsyncGenerator[str, None]:
    """`stream_text` for `async for`."""
    return gateway.stream_async(prompt, model, **kwargs)


def generate_embeddings(
    gateway: LiteLLMGateway, text: str | Sequence[str], model: str | None = None, **kwargs: Any
) -> list[list[float]]:
    """One vector for each text, in order; a single text gives a list of one. Raises the `openai` package's errors."""
    return gateway.embed(text, model, **kwargs)


async def generate_embeddings_async(
    gateway: LiteLLMGateway, text: str | Sequence[str], model: str | None = None, **kwargs: Any
) -> list[list[float]]:
    """`generate_embeddings`, awaited."""
    return await gateway.embed_async(text, model, **kwargs)


@overload
def batch_generate(
    gateway: LiteLLMGateway,
    prompts: Iterable[Prompt],
    model: str | None = None,
    *,
    max_concurrency: int = 8,
    return_exceptions: Literal[False] = False,
    progress: bool = False,
    **kwargs: Any,
) -> list[str]: ...


@overload
def batch_generate(
    gateway: LiteLLMGateway,
    prompts: Iterable[Prompt],
    model: str | None = None,
    *,
    max_concurrency: int = 8,
    return_exceptions: bool,
    progress: bool = False,
    **kwargs: Any,
) -> list[str | Exception]: ...


def batch_generate(
    gateway: LiteLLMGateway,
    prompts: Iterable[Prompt],
    model: str | None = None,
    *,
    max_concurrency: int = 8,
    return_exceptions: Any = False,
    progress: bool = False,
    **kwargs: Any,
) -> list[Any]:
    """The answers to many prompts, in their order, at most `max_concurrency` (1 to 1000) asked at a time.

    The first error is raised and cancels the rest; with `return_exceptions` errors stand in the result where an answer
    would be. `progress=True` shows a bar on stderr, or in the notebook (needs tqdm: `pip install gatewayd[progress]`).
    """
    results: list[Any] = gateway.batch(
        prompts,
        model,
        max_concurrency=max_concurrency,
        return_exceptions=return_exceptions,
        progress=progress,
        **kwargs,
    )
    return results


@overload
async def batch_generate_async(
    gateway: LiteLLMGateway,
    prompts: Iterable[Prompt],
    model: str | None = None,
    *,
    max_concurrency: int = 8,
    return_exceptions: Literal[False] = False,
    progress: bool = False,
    **kwargs: Any,
) -> list[str]: ...


@overload
async def batch_generate_async(
    gateway: LiteLLMGateway,
    prompts: Iterable[Prompt],
    model: str | None = None,
    *,
    max_concurrency: int = 8,
    return_exceptions: bool,
    progress: bool = False,
    **kwargs: Any,
) -> list[str | Exception]: ...


async def batch_generate_async(
    gateway: LiteLLMGateway,
    prompts: Iterable[Prompt],
    model: str | None = None,
    *,
    max_concurrency: int = 8,
    return_exceptions: Any = False,
    progress: bool = False,
    **kwargs: Any,
) -> list[Any]:
    """`batch_generate`, awaited."""
    results: list[Any] = await gateway.batch_async(
        prompts,
        model,
        max_concurrency=max_concurrency,
        return_exceptions=return_exceptions,
        progress=progress,
        **kwargs,
    )
    return results


def address(
    base_url: str | None, named: bool, *, environ: Mapping[str, str], default: str = DEFAULT_BASE_URL
) -> str | None:
    """The daemon to attach to; None when a private one is wanted. `named`: providers or their keys are given."""
    url = base_url or environ.get("GATEWAYD_BASE_URL") or None
    if url is None and not named and daemon_lives(default):
        return default
    return url


def daemon_lives(base_url: str) -> bool:
    """Whether a daemon answers there. No proxy is asked, and no key is sent."""
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def provider_with_key(model: str | None, *, environ: Mapping[str, str]) -> str:
    """The model's provider, if it needs no key or `environ` holds it. Raises ConfigurationError with the remedies."""
    from gatewayd.client import compose

    provider = None if model is None else compose.known_provider(model)
    if provider is not None and (not provider.needs_key or compose.key_in(provider, environ) is not None):
        return provider.name
    name, variables = ("openai", ("OPENAI_API_KEY",)) if provider is None else (provider.name, provider.key_env)
    if model is None:
        missing = "no default_model is given"
    elif provider is None:
        missing = f"litellm does not know which provider '{model}' belongs to"
    else:
        missing = f"the environment has no key of {name} for '{model}'"
    raise ConfigurationError(
        f"cannot attach to a daemon or start one: no daemon answers at {DEFAULT_BASE_URL}, and {missing}",
        config_key="default_model" if provider is None else f"api_keys.{name}",
        invalid_value=model,
        suggestion=f"(1) start a daemon with `gatewayd run`, or set base_url or $GATEWAYD_BASE_URL; "
        f"(2) pass providers and keys: api_keys={{'{name}': ...}}; "
        f"(3) set {' or '.join(variables)} and pass a default_model",
    )
