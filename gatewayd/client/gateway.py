"""`LiteLLMGateway`: ready-made OpenAI clients for one daemon, private or attached, and the short ways to use them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, overload
from weakref import WeakSet

from openai import APIError, APIStatusError, AsyncOpenAI, NotFoundError, OpenAI

from gatewayd.client import arguments, batch, calls, models
from gatewayd.client.calls import Prompt
from gatewayd.client.config import GatewayConfig
from gatewayd.client.connections import Connections, GatewayAddress
from gatewayd.client.requirements import all_requirements
from gatewayd.errors import ConfigurationError

DEFAULT_BASE_URL = "http://127.0.0.1:4000/v1"
_NO_KEY = "none"
"""Sent where no key is known: the SDK would otherwise take `OPENAI_API_KEY`, which is not meant for the daemon."""
_PATIENCE = 630.0
"""Seconds the clients wait for a private daemon, which itself answers within 600."""
_HEALTH_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a gateway can be used; true or false as such."""

    ready: bool
    models: tuple[str, ...] = ()
    """The model groups that can be named, patterns included."""
    reason: str | None = None
    """Why it is not ready."""

    def __bool__(self) -> bool:
        return self.ready


class LiteLLMGateway:
    """A daemon to call. With `config` it is a private one inside this process, closed with the gateway.

    Otherwise the gateway attaches to `base_url`, else `$GATEWAYD_BASE_URL`, else `http://127.0.0.1:4000/v1`, with
    `api_key`, else `$GATEWAYD_API_KEY`. `default_model` is used where a call names no model; None leaves that to the
    configuration.

    `timeout` (seconds, 1 to 300) and `max_retries` (0 to 10) are those of the OpenAI clients of an attached gateway.
    They retry although the daemon does too, because a daemon cannot make up for its own restart. A private daemon
    lives and ends with the gateway and does all retrying, as `config` says, so there the clients do none.

    Several threads and event loops may share a gateway. A forked child gets connections, and a private daemon, of its
    own at its first call; clients taken out of the gateway before the fork stay the parent's.

    Raises ConfigurationError.
    """

    def __init__(
        self,
        config: GatewayConfig | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        default_model: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 2,
    ) -> None:
        if config is not None and not isinstance(config, GatewayConfig):
            raise ConfigurationError(
                f"config must be a GatewayConfig, not {type(config).__name__}",
                config_key="config",
                suggestion=f"GatewayConfig.from_file({os.fspath(config)!r}) reads a file"
                if isinstance(config, str | os.PathLike)
                else "configure_gateway(model_list=[...]) makes one, and GatewayConfig.from_file(path) reads a file",
            )
        if config is not None and base_url is not None:
            raise ConfigurationError(
                "config starts a private daemon and base_url attaches to a running one: pass only one of them",
                config_key="base_url",
            )
        self.config = config
        """What the private daemon runs on; None when attached."""
        if default_model is None and config is not None:
            default_model = config.default_model
        self.default_model = None if default_model is None else arguments.check_name("default_model", default_model)
        self._attached = None if config is not None else _attached(base_url, api_key, timeout, max_retries)
        self._lock = threading.Lock()
        self._closed = False
        self._connections: Connections | None = self._connect()
        _open.add(self)

    def __repr__(self) -> str:
        kind = "attached" if self.config is None else "private"
        return f"<LiteLLMGateway {kind}, default_model={self.default_model!r}{', closed' if self._closed else ''}>"

    # --- the clients --------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Where the daemon's API is, `/v1` included."""
        return self._live().target.base_url

    @property
    def openai(self) -> OpenAI:
        """The ready-made client, one for all threads."""
        return self._live().sync

    @property
    def async_openai(self) -> AsyncOpenAI:
        """The ready-made client of the running event loop. Raises RuntimeError where none is running."""
        return self._live().asynchronous

    # --- the short ways; all raise the `openai` package's errors ------------------------------------------------------

    def generate(self, prompt: Prompt, model: str | None = None, **kwargs: Any) -> str:
        """The answer as text. `kwargs` are the API's parameters (temperature, max_tokens, ...)."""
        return calls.chat(self.openai, self._model(model), prompt, kwargs)

    async def generate_async(self, prompt: Prompt, model: str | None = None, **kwargs: Any) -> str:
        """The same, awaited."""
        return await calls.chat_async(self.async_openai, self._model(model), prompt, kwargs)

    def stream(self, prompt: Prompt, model: str | None = None, **kwargs: Any) -> Generator[str, None, None]:
        """The answer in pieces, as they arrive. Closing the generator, or dropping it, cancels the request.

        Raises `openai.APIError` when the answer fails or is cut half-way, with a code if the daemon could tell of it,
        else as its subclass `openai.APIConnectionError`.
        """
        return calls.chat_stream(self.openai, self._model(model), prompt, kwargs)

    def stream_async(self, prompt: Prompt, model: str | None = None, **kwargs: Any) -> AsyncGenerator[str, None]:
        """The same as an asynchronous generator."""
        return calls.chat_stream_async(self.async_openai, self._model(model), prompt, kwargs)

    def embed(self, text: str | Sequence[str], model: str | None = None, **kwargs: Any) -> list[list[float]]:
        """One vector for each text, in order."""
        return calls.embed(self.openai, self._model(model), text, kwargs)

    async def embed_async(
        self, text: str | Sequence[str], model: str | None = None, **kwargs: Any
    ) -> list[list[float]]:
        """The same, awaited."""
        return await calls.embed_async(self.async_openai, self._model(model), text, kwargs)

    @overload
    def batch(
        self,
        prompts: Iterable[Prompt],
        model: str | None = None,
        *,
        max_concurrency: int = 8,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **kwargs: Any,
    ) -> list[str]: ...

    @overload
    def batch(
        self,
        prompts: Iterable[Prompt],
        model: str | None = None,
        *,
        max_concurrency: int = 8,
        return_exceptions: bool,
        progress: bool = False,
        **kwargs: Any,
    ) -> list[str | Exception]: ...

    def batch(
        self,
        prompts: Iterable[Prompt],
        model: str | None = None,
        *,
        max_concurrency: int = 8,
        return_exceptions: bool = False,
        progress: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """The answers to many prompts, in their order, at most `max_concurrency` (1 to 1000) asked at a time.

        The first error is raised and cancels the rest; with `return_exceptions` the result contains the errors.
        `progress` shows a bar (needs tqdm).
        """
        asked, limit = batch.checked(prompts, max_concurrency)
        call = partial(self.generate_async, model=model, **kwargs)
        work = partial(batch.run_all, call, asked, max_concurrency=limit, return_exceptions=return_exceptions)
        with batch.progress_bar(progress, len(asked)) as tick:
            return batch.run_in_thread(lambda done: work(tick=done), tick)

    @overload
    async def batch_async(
        self,
        prompts: Iterable[Prompt],
        model: str | None = None,
        *,
        max_concurrency: int = 8,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **kwargs: Any,
    ) -> list[str]: ...

    @overload
    async def batch_async(
        self,
        prompts: Iterable[Prompt],
        model: str | None = None,
        *,
        max_concurrency: int = 8,
        return_exceptions: bool,
        progress: bool = False,
        **kwargs: Any,
    ) -> list[str | Exception]: ...

    async def batch_async(
        self,
        prompts: Iterable[Prompt],
        model: str | None = None,
        *,
        max_concurrency: int = 8,
        return_exceptions: bool = False,
        progress: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """The same, awaited."""
        asked, limit = batch.checked(prompts, max_concurrency)
        call = partial(self.generate_async, model=model, **kwargs)
        with batch.progress_bar(progress, len(asked)) as tick:
            return await batch.run_all(
                call, asked, max_concurrency=limit, return_exceptions=return_exceptions, tick=tick
            )

    def health(self) -> Health:
        """Asks the daemon whether it serves, and which models. Takes at most ten seconds, raises nothing."""
        try:
            connections = self._live()
            client, url = connections.sync.with_options(timeout=_HEALTH_TIMEOUT, max_retries=0), self.base_url
        except RuntimeError as error:
            return Health(False, reason=str(error))
        root = url.removesuffix("/v1")
        try:
            try:
                client.get(f"{root}/readyz", cast_to=object)
            except NotFoundError:
                pass  # another server that speaks OpenAI's API
            return Health(True, tuple(model.id for model in client.models.list().data if isinstance(model.id, str)))
        except APIStatusError as error:
            told = error.body.get("message") if isinstance(error.body, dict) else None
            return Health(False, reason=f"{url} answered {error.status_code}{f': {told}' if told else ''}")
        except APIError as error:
            return Health(False, reason=f"{url} does not answer: {error.message}")
        except Exception:  # the SDK meets what it cannot read with exceptions of all kinds
            return Health(False, reason=f"{url} answers, but not with OpenAI's API")

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the clients, ends requests in flight, and ends a private daemon. May be called again.

        What belongs to a running event loop is closed by that loop, a moment later; `aclose` waits for its own.
        """
        connections = self._end()
        if connections is not None:
            connections.close()
            if connections.target.daemon is not None:
                connections.target.daemon.close()

    async def aclose(self) -> None:
        """The same for coroutines."""
        connections = self._end()
        if connections is not None:
            await connections.aclose()
            if connections.target.daemon is not None:
                await asyncio.to_thread(connections.target.daemon.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def _end(self) -> Connections | None:
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, None
            return connections

    # --- inside -------------------------------------------------------------------------------------------------------

    def _live(self) -> Connections:
        connections = self._connections
        if connections is None:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the gateway is closed")
                connections = self._connections = self._connections or self._connect()
        return connections

    def _connect(self) -> Connections:
        if self.config is None:
            assert self._attached is not None
            return Connections(self._attached)
        with all_requirements():  # aiohttp and all the rest: not for those who attach
            from gatewayd.client.embedded import PrivateDaemon

        daemon = PrivateDaemon(self.config.to_dict())
        return Connections(GatewayAddress(daemon.base_url, daemon.api_key, _PATIENCE, 0, daemon))

    def _model(self, model: str | None) -> Any:
        return models.to_name(self.config, self.default_model, model)

    def _forked(self) -> None:
        """In a child process: the parent's connections and threads are not ours; new ones are made when needed."""
        self._lock = threading.Lock()
        if self._connections is not None:
            _of_parent.append(self._connections)
            self._connections = None


_open: WeakSet[LiteLLMGateway] = WeakSet()
_of_parent: list[Connections] = []
"""Kept forever: their sockets belong to the parent, and closing them here would need locks that are never released."""


def _forget_parent() -> None:
    for gateway in list(_open):
        gateway._forked()


os.register_at_fork(after_in_child=_forget_parent)


def _attached(base_url: str | None, api_key: str | None, timeout: float, max_retries: int) -> GatewayAddress:
    url = base_url or os.environ.get("GATEWAYD_BASE_URL") or DEFAULT_BASE_URL
    key = api_key or os.environ.get("GATEWAYD_API_KEY") or _NO_KEY
    return GatewayAddress(
        arguments.check_base_url("base_url", url),
        arguments.check_key_text("api_key", key),
        arguments.check_seconds("timeout", timeout, arguments.TIMEOUT),
        arguments.check_count("max_retries", max_retries, arguments.MAX_RETRIES),
    )
