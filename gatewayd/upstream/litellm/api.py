"""The parts of litellm that a direct call is made of, gathered in one place.

`litellm.acompletion` spends most of its time around a provider's translation: logging objects, callbacks, caches, cost
accounting, an HTTP client, and for each chunk of a stream several copies. What is taken from it here is what it does to
a call's arguments, the provider's own handler (which makes the request, signs it, and reads the answer), and its
reading of errors. The handler is given our transport as its HTTP client.

Half of these names are private to litellm. `load_api` returns None if one of them is missing, and every call goes the
other way then; that each of them still does the same is pinned by tests that go both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gatewayd.upstream.litellm.direct_request import NotDirect

_log = logging.getLogger("gatewayd.upstream")

_COMPLETERS: Final[Mapping[str, str]] = {
    "anthropic": "_complete_anthropic",
    "bedrock": "_complete_bedrock",
    "gemini": "_complete_vertex_ai_beta",
    "vertex_ai": "_complete_vertex_ai",
}
"""litellm's providers → its functions that call their handlers. Cohere's is not asked: it takes no client."""

_NAMED: Final = (
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n", "parallel_tool_calls",
    "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed",
    "service_tier", "stop", "stream", "stream_options", "temperature", "thinking", "tool_choice", "tools",
    "top_logprobs", "top_p", "user", "verbosity",
)  # fmt: skip
"""What `litellm.completion` hands on by name; the rest of its keywords is filtered first."""

_WARM_UP_CALL: Final[Mapping[str, Any]] = {
    "messages": [{"role": "user", "content": "x"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "api_key": "none",
    "api_base": "http://127.0.0.1",
    "aws_access_key_id": "none",
    "aws_secret_access_key": "none",
    "aws_region_name": "us-east-1",
}
"""A call that ends when it is to be sent. Nothing is looked for elsewhere: no key, no address, no metadata service."""

Post = Callable[..., Awaitable[Any]]


@functools.cache
def load_api() -> LitellmApi | None:
    """None if this litellm is built differently. Imports litellm, which has been loaded and tamed before."""
    try:
        return LitellmApi()
    except (ImportError, AttributeError) as error:
        _log.warning("unknown litellm version (%s): translated calls use litellm's own path, which costs more", error)
        return None


class LitellmApi:
    """What is called of litellm. Its functions raise what litellm raises."""

    def __init__(self) -> None:
        import litellm
        from httpx import Headers, Request, Response
        from litellm import main, utils
        from litellm.litellm_core_utils.streaming_chunk_builder_utils import ChunkProcessor
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
        from litellm.types.completion import CompletionDispatchContext
        from litellm.types.utils import LlmProviders

        class Carrier(AsyncHTTPHandler):  # type: ignore[misc]  # handlers ask for this class
            """An HTTP client that is one function."""

            def __init__(self, post: Post) -> None:
                self.post = post

            def __del__(self) -> None:
                """There is nothing to close."""

        self._warmed_up: set[str] = set()
        self._carrier = Carrier
        self._dispatch = {name: getattr(main, function) for name, function in _COMPLETERS.items()}
        cohere = _cohere(main.base_llm_http_handler, main.get_secret_str)
        self._dispatch |= {"cohere": cohere, "cohere_chat": cohere}
        self._context = CompletionDispatchContext
        self._blank = dict.fromkeys(inspect.signature(CompletionDispatchContext).parameters)
        self._response, self._headers, self._request = Response, Headers, Request("POST", "http://upstream")
        self._provider = LlmProviders
        self._config = utils.ProviderConfigManager.get_provider_chat_config
        self._google_token = main.vertex_chat_completion._try_get_usable_cached_token
        self._route = main.bedrock_route_for_request
        self._messages = utils.validate_and_fix_openai_messages
        self._fixes: dict[str, Callable[[Any], Any]] = {
            "tools": utils.validate_and_fix_openai_tools,
            "tool_choice": utils.validate_chat_completion_tool_choice,
            "stop": utils.validate_openai_optional_params,
            "thinking": utils.validate_and_fix_thinking_param,
        }
        self._special = utils.get_non_default_completion_params
        self._optional = utils.get_optional_params
        self._params = main.get_litellm_params
        self._answer = litellm.ModelResponse
        self._map = litellm.exception_type
        self._adder, self._count = ChunkProcessor, litellm.token_counter
        remember_models(utils)

    def config(self, provider: str, model: str) -> Any:
        return self._config(model=model, provider=self._provider(provider))

    def start(self, provider: str, model: str, arguments: Mapping[str, Any], post: Post) -> Awaitable[Any]:
        """What `litellm.completion` does up to the provider's handler. The result gives litellm's answer, or its
        stream; on the way the handler calls `post` as it would call httpx."""
        config = self.config(provider, model)
        messages = config.translate_developer_role_to_system_role(messages=self._messages(arguments["messages"]))
        named = {name: arguments.get(name) for name in _NAMED}
        for name, fix in self._fixes.items():
            named[name] = fix(named[name])
        if provider == "bedrock" and self._route(model, named, None) != "converse":
            raise NotDirect("this model is reached otherwise")
        if provider == "vertex_ai" and not self._has_token(
            arguments["vertex_credentials"], arguments["vertex_project"]
        ):
            raise NotDirect("a token is to be fetched first")
        special = self._special({name: value for name, value in arguments.items() if name not in _NAMED})
        for name in ("model", "messages", "extra_headers", "timeout", "organization"):
            special.pop(name, None)
        common = {"api_version": arguments.get("api_version"), "max_retries": 0}
        told: dict[str, Any] = {**common, "api_key": arguments.get("api_key"), "api_base": arguments.get("api_base")}
        optional = self._optional(
            model=model, custom_llm_provider=provider, messages=messages, **common, **named, **special
        )
        params = self._params(
            **told,
            acompletion=True,
            custom_llm_provider=provider,
            drop_params=arguments.get("drop_params"),
            text_completion=arguments.get("text_completion"),
            timeout=arguments.get("timeout"),
            **{name: value for name, value in arguments.items() if name.startswith("aws_")},
        )
        about = {
            **self._blank,
            **told,
            "_azure_detection_model": model,
            "acompletion": True,
            "client": self._carrier(post),
            "custom_llm_provider": provider,
            "custom_prompt_dict": {},
            "extra_headers": arguments.get("extra_headers"),
            "headers": dict(arguments.get("extra_headers") or {}),
            "kwargs": dict(arguments),
            "litellm_params": params,
            "logging": _Log(provider, named),
            "messages": messages,
            "model": model,
            "model_response": self._answer(),
            "optional_params": optional,
            "provider_config": config,
            "request_params": named,
            "stream": arguments.get("stream"),
            "text_completion": bool(arguments.get("text_completion")),
            "timeout": arguments.get("timeout"),
        }
        begun: Awaitable[Any] = self._dispatch[provider](self._context(**about))
        return begun

    def _has_token(self, credentials: Any, project: str) -> bool:
        """google-auth fetches tokens by itself, in a thread that cannot be cancelled."""
        key = json.dumps(credentials) if isinstance(credentials, dict) else credentials
        return self._google_token((key, project), project) is not None

    def warm_up(self, provider: str) -> None:
        """Makes litellm load now what it loads in a provider's first call (bedrock: half a second). For a thread."""
        if provider not in self._dispatch or provider in self._warmed_up:
            return
        self._warmed_up.add(provider)

        async def post(*_: Any, **__: Any) -> Any:
            raise ConnectionError

        async def start() -> None:
            if provider == "bedrock":  # with a key there would be nothing to sign
                await self.start(provider, "converse/anthropic.claude-x", {**_WARM_UP_CALL, "api_key": None}, post)
            else:
                await self.start(provider, "x", _WARM_UP_CALL, post)

        with contextlib.suppress(Exception):
            asyncio.run(start())
        with contextlib.suppress(Exception):
            if provider == "bedrock":
                from litellm.llms.bedrock.chat.invoke_handler import get_bedrock_response_stream_shape

                get_bedrock_response_stream_shape()

    def response(self, status: int, fields: Mapping[bytes, bytes], body: bytes) -> Any:
        """What a handler takes for httpx's answer."""
        return self._response(status, headers=list(fields.items()), content=body, request=self._request)

    def headers(self) -> Any:
        """An answer's headers before they are there; true already, for handlers that would replace an empty one."""
        return self._headers({"content-type": ""})

    def refusal(self, provider: str, model: str, status: int, fields: Mapping[bytes, bytes], text: str) -> Exception:
        """What litellm would have raised for an answer whose status says that it is an error."""
        headers = self._headers(list(fields.items()))
        kind = self.config(provider, model).get_error_class(error_message=text, status_code=status, headers=headers)
        return self.explained(provider, model, kind)

    def explained(self, provider: str, model: str, error: Exception) -> Exception:
        """The exception of litellm's own family for one of a handler's."""
        try:
            self._map(model=model, custom_llm_provider=provider, original_exception=error)
        except Exception as mapped:  # the function's way of returning
            return mapped
        return error

    def total(self, chunks: list[Any], thoughts: str, *, only_text: bool) -> Any:
        """Usage from all chunks of a stream that spoke of it. How much of it was thinking is estimated by the text if
        the provider does not tell."""
        details = [getattr(chunk.usage, "completion_tokens_details", None) for chunk in chunks]
        thought = 0 if only_text else None
        if thoughts and not any(getattr(detail, "reasoning_tokens", None) for detail in details):
            thought = self._count(text=thoughts, count_response_tokens=True)
        return self._adder(chunks).calculate_usage(chunks, chunks[0].model, "", reasoning_tokens=thought)


def remember_models(utils: Any) -> None:
    """Keeps what litellm finds about a model in its tables, where it looks six times per call (a fifth of its cost).

    So does `cached_get_model_info_helper` of its own; here, that a model is in no table is remembered too.
    """
    look_up, generation = utils.get_model_info_helper, utils.get_model_cost_mutation_generation

    @functools.lru_cache(maxsize=1024)
    def found(generation: int, model: str, custom_llm_provider: str | None) -> Any:
        try:
            return look_up(model=model, custom_llm_provider=custom_llm_provider)
        except utils.ModelNotMappedError as error:
            return str(error)

    def remembered(*args: Any, **named: Any) -> Any:
        if args or named.keys() != {"model", "custom_llm_provider"}:  # some providers are asked themselves
            return look_up(*args, **named)
        info = found(generation(), **named)
        if isinstance(info, str):
            raise utils.ModelNotMappedError(info)
        return info

    utils.get_model_info_helper = remembered


class _Log:
    """Stands in for litellm's logging object, which is half of a call's cost. Says nothing to anybody."""

    stream_options = None
    messages = None
    completion_start_time = None
    dynamic_success_callbacks = None

    def __init__(self, provider: str, asked: Mapping[str, Any]) -> None:
        self.optional_params = asked
        self.litellm_params: dict[str, Any] = {}
        self.model_call_details: dict[str, Any] = {"custom_llm_provider": provider, "litellm_params": {}}

    def pre_call(self, *_: Any, **__: Any) -> None:
        return None

    post_call = pre_call


def _cohere(handler: Any, secret: Callable[[str], str | None]) -> Callable[[Any], Any]:
    """`litellm.main._complete_cohere_chat`, with a client."""

    def dispatch(context: Any) -> Any:
        return handler.completion(
            model=context.model,
            stream=context.stream,
            messages=context.messages,
            acompletion=True,
            api_base=context.api_base or secret("COHERE_API_BASE") or "https://api.cohere.com/v2/chat",
            model_response=context.model_response,
            optional_params=context.optional_params,
            litellm_params=context.litellm_params,
            custom_llm_provider="cohere_chat",
            timeout=context.timeout,
            headers=context.headers,
            encoding=None,
            api_key=context.api_key or secret("COHERE_API_KEY") or secret("CO_API_KEY"),
            provider_config=context.provider_config,
            logging_obj=context.logging,
            client=context.client,
        )

    return dispatch
