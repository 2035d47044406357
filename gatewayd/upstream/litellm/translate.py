"""Deployments whose provider has an API of its own: litellm translates, and only this folder imports it.

litellm is loaded when the first such deployment is built, in a thread. It is configured to log nothing, call nobody
back, retry nothing and fetch nothing; `bridge` makes its HTTP requests, on connections that this deployment owns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import GatewayError, UpstreamTimeout
from gatewayd.observe import detours
from gatewayd.secret import Secret
from gatewayd.tasks import OnceInThread, spawn
from gatewayd.upstream.base import Call, Reply
from gatewayd.upstream.convert import not_spoken
from gatewayd.upstream.dial import configured_tls
from gatewayd.upstream.fetch import Fetcher
from gatewayd.upstream.hiding import Secrets
from gatewayd.upstream.litellm.answers import TranslatedStream, whole_beside
from gatewayd.upstream.litellm.api import load_api
from gatewayd.upstream.litellm.arguments import Arguments
from gatewayd.upstream.litellm.direct import Direct, Unsupported
from gatewayd.upstream.litellm.direct_request import supports_call, supports_deployment
from gatewayd.upstream.litellm.errors import translated
from gatewayd.upstream.litellm.patches import apply_patches
from gatewayd.upstream.media import Media
from gatewayd.upstream.tokens import has_tokens, with_texts
from gatewayd.wire.dialect import CHAT, COMPLETIONS, EMBEDDINGS

if TYPE_CHECKING:
    from gatewayd.upstream.litellm.bridge import Exchange, Pools

_FUNCTIONS: Final = {
    CHAT: "acompletion",
    COMPLETIONS: "acompletion",
    EMBEDDINGS: "aembedding",
}
# What litellm reads from the environment while it is imported. The first three keep it from fetching from GitHub and
# from reading a .env file.
_ENVIRONMENT: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "CRITICAL",
    "LITELLM_RUST": "False",
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",  # a model that repeats itself is not an upstream that fails
    "USE_LITELLM_PROXY": "False",
    "LITELLM_DROP_PARAMS": "False",
}


# What the end of a stream has in it, for a provider of which litellm 1.106.2 takes every chunk for the last one.
_GEMINI_END: Final = re.compile(rb'"(finishReason|blockReason)"')
_END_MARKS: Final = dict.fromkeys(("gemini", "vertex_ai", "vertex_ai_beta"), _GEMINI_END)


async def load_litellm(*providers: str) -> ModuleType:
    """litellm, imported off the loop and tamed; once per process (3 seconds of CPU, 230 MB). Raises ImportError.

    What the first calls to these providers would import is imported too, as far as that is known.
    """
    litellm = await _litellm()
    await asyncio.to_thread(_rehearse, providers)
    return litellm


def _rehearse(providers: Iterable[str]) -> None:
    if (api := load_api()) is not None:
        for provider in providers:
            api.warm_up(provider)


@functools.cache
def _load() -> ModuleType:
    os.environ.update(_ENVIRONMENT)
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    from gatewayd.upstream.litellm.bridge import LitellmTransport

    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)  # its records hold prompts, keys and URLs
        logger.handlers.clear()
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.num_retries = None
    # Every async client litellm makes, for its own handlers or for the openai package, gets its transport here.
    AsyncHTTPHandler.create_async_transport = staticmethod(lambda *_, **__: LitellmTransport())
    apply_patches()
    asyncio.run(_warm_up(litellm))
    load_api()
    module: ModuleType = litellm
    return module


_litellm: Final = OnceInThread(_load, name="load litellm")


async def _warm_up(litellm: ModuleType) -> None:
    """Makes litellm import now, in this thread, what it would import in its first calls, on the loop (0.3 s at once).

    The first call fails at the bridge, which sends nothing outside an exchange; the second one is answered by litellm.
    """
    _quiet().set(True)
    arguments = {"model": "anthropic/claude", "messages": [{"role": "user", "content": ""}], "api_key": "none"}
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    with contextlib.suppress(Exception):
        await litellm.acompletion(
            **arguments, tools=[{"type": "function", "function": function}], max_retries=0, num_retries=0
        )
    async for _ in await litellm.acompletion(**arguments, mock_response="none", stream=True):
        pass


def _quiet() -> ContextVar[bool]:
    """litellm's own switch for calls inside calls: no logging, no cost accounting, no background worker for them."""
    from litellm._internal_context import is_internal_call

    switch: ContextVar[bool] = is_internal_call
    return switch


def _extension(bound: asyncio.Timeout, seconds: float) -> Callable[[], None]:
    """What gives a timeout so many seconds from now on."""
    loop = asyncio.get_running_loop()

    def extend() -> None:
        if not bound.expired():
            bound.reschedule(loop.time() + seconds)

    return extend


class TranslateUpstream:
    """Implements `Upstream` for one deployment. `direct=False`: every call goes through `litellm.acompletion`;
    `instance`: see `wire.headers.HOP`."""

    def __init__(
        self, deployment: Deployment, *, direct: bool = True, instance: str = "", fetcher: Fetcher | None = None
    ) -> None:
        self._media = Media(deployment, fetcher or Fetcher())
        self._provider = deployment.provider
        self._arguments = Arguments(deployment, instance)
        held = (deployment.api_key, *deployment.extra_headers.values(), *deployment.litellm_params.values())
        self._secrets = Secrets(value for value in held if isinstance(value, Secret))
        self._deployment = deployment
        self._tls = configured_tls(deployment)
        self._supports_direct = direct and supports_deployment(deployment)
        self._direct: Direct | None = None
        self._pools: Pools | None = None

    async def open(self, call: Call) -> Reply:
        function = _FUNCTIONS.get(call.endpoint)
        if function is None:
            raise not_spoken(call)
        if call.endpoint is EMBEDDINGS and has_tokens(call.intent):
            call.intent = await with_texts(call.intent, self._provider)
        arguments = self._arguments.of(call)
        fetched = await self._media.prepare(arguments.get("messages", ()), call.timeouts)
        litellm = await load_litellm(self._provider) if self._pools is None else _load()
        left: tuple[detours.Reason, str] | None = None
        # What was fetched may be large: litellm translates it in a thread.
        if self._supports_direct and not fetched and supports_call(self._deployment, call, arguments):
            if (direct := self._direct_path()) is None:
                left = "unknown_litellm", ""
            else:
                try:
                    return await direct.open(call, arguments)
                except Unsupported as unsupported:
                    left = ("failed", unsupported.why) if unsupported.why else None
                arguments = self._arguments.of(call)  # litellm has written into them
                await self._media.prepare(arguments.get("messages", ()), call.timeouts)
        exchange = self._exchange(call)
        # Whole answers are timed by the bytes of their exchange. Of a stream the first event is due in time, which
        # begins anew with every comment.
        limit = call.timeouts.connect + call.timeouts.first_byte if call.intent.stream else None
        # litellm is not cancelled, because in the middle of its threads it would leave coroutines that are never
        # awaited. It gets a closed exchange instead, and ends by itself.
        answering = self._spawn(self._answer(call, getattr(litellm, function), arguments, exchange), exchange)
        reply: Reply | None = None
        since = time.monotonic()
        try:
            async with asyncio.timeout(limit) as bound:
                exchange.on_sign = _extension(bound, call.timeouts.first_byte) if limit is not None else None
                outcome = await asyncio.shield(answering)
            if isinstance(outcome, GatewayError):
                raise outcome
            reply = outcome
            if left is not None:  # a call that is no good fails both ways, and says nothing about the first
                detours.note(left[0], self._provider, left[1])
            return reply
        except TimeoutError:
            raise UpstreamTimeout("The upstream did not begin to answer in time.", kind="first_byte") from None
        finally:
            exchange.on_sign = None
            call.waited += exchange.waited if reply is not None else time.monotonic() - since
            if reply is None:
                exchange.close()

    async def aclose(self) -> None:
        if self._pools is not None:
            await self._pools.aclose()

    def _direct_path(self) -> Direct | None:
        if self._direct is None and (api := load_api()) is not None:
            self._direct = Direct(self._provider, api, self._shared(), self._secrets, _END_MARKS.get(self._provider))
        return self._direct

    def _shared(self) -> Pools:
        from gatewayd.upstream.litellm import bridge  # it brings httpx, which only litellm needs

        if self._pools is None:
            self._pools = bridge.Pools(self._tls)
        return self._pools

    def _exchange(self, call: Call) -> Exchange:
        from gatewayd.upstream.litellm import bridge

        return bridge.Exchange(self._shared(), call.timeouts, _END_MARKS.get(self._provider))

    def _spawn(self, answer: Any, exchange: Exchange) -> asyncio.Task[Reply | GatewayError]:
        from gatewayd.upstream.litellm.bridge import current

        quiet = _quiet()
        tokens = current.set(exchange), quiet.set(True)
        try:
            return spawn(answer, name="ask litellm")
        finally:
            current.reset(tokens[0])
            quiet.reset(tokens[1])

    async def _answer(self, call: Call, function: Any, arguments: dict[str, Any], exchange: Exchange) -> Any:
        """The reply, or the error that explains why there is none. It is returned, because the caller may be gone."""

        def translator(error: Exception) -> GatewayError:
            return translated(error, exchange, self._provider, self._secrets)

        try:
            if call.endpoint.streams:
                arguments["_skip_mcp_handler"] = True  # else a caller's tool could choose litellm's MCP gateway
            answer = await function(**arguments)
            if not arguments.get("stream"):
                return await whole_beside(call, answer)
        except Exception as error:
            return translator(error)
        stream = TranslatedStream(call, answer, exchange, translator, self._secrets)
        try:
            await stream.begin()
        except GatewayError as error:
            stream.close()
            return error
        return stream
