"""A caller's request as arguments for litellm.

The body is data: only fields of OpenAI's API and a few well-known ones of providers become arguments, all others are
left out, so that no body can steer litellm, whose functions take several hundred names (`api_base`, `timeout`,
`mock_response`, ...). What the operator configured is trusted and goes in as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatewayd.config import parameters, providers
from gatewayd.config.snapshot import Deployment
from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.secret import Secret
from gatewayd.upstream.base import Call
from gatewayd.upstream.litellm.demands import check_demands
from gatewayd.upstream.litellm.tools import check_tools
from gatewayd.wire.dialect import CHAT, COMPLETIONS, EMBEDDINGS, Endpoint
from gatewayd.wire.headers import HOP

NO_KEY: Final = "no-key-configured"
"""Sent where a base URL is configured and no key is: without it litellm would send a key from the environment there."""

# Fields of OpenAI's API (openapi.yaml) that litellm translates. `metadata` and `store` speak to OpenAI's platform and
# mean other things to litellm.
_CHAT: Final = frozenset(
    {
        "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed",
        "service_tier", "stop", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
_COMPLETION: Final = frozenset(
    {
        "prompt", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n",
        "presence_penalty", "seed", "stop", "suffix", "temperature", "top_p", "user",
    }
)  # fmt: skip
_EMBEDDING: Final = frozenset({"input", "dimensions", "user", "input_type"})
# Providers' own fields that clients send beside OpenAI's.
_PROVIDERS_OWN: Final = frozenset(
    {"thinking", "top_k", "min_p", "repetition_penalty", "safety_settings", "documents", "context_management"}
)
FIELDS: Final[Mapping[Endpoint, frozenset[str]]] = {
    CHAT: _CHAT | _PROVIDERS_OWN,
    COMPLETIONS: _COMPLETION | _PROVIDERS_OWN,
    EMBEDDINGS: _EMBEDDING,
}
"""Per endpoint, the fields of a body that are translated."""

_LOST: Final = (b'"input_audio"', b'"video_url"')
"""Types of message parts that litellm 1.106.2 leaves out for some providers, and says nothing."""
_OPTIONS_OF_OPENAI: Final = frozenset({"temperature", "top_p", "seed", "stop", "frequency_penalty"})
_HEADERS: Final = frozenset({"anthropic-beta", "idempotency-key", "traceparent", "tracestate"})
"""Of a client's headers, those that mean something to a provider with another API."""


_BY_ENDPOINT: Final = {
    ("ollama", CHAT): "ollama_chat",
    ("ollama", COMPLETIONS): "ollama_chat",
    ("ollama_chat", EMBEDDINGS): "ollama",
}
"""litellm's name for the API of an endpoint, where it has two for one provider: as `ollama` it makes one text of a
conversation."""


class Arguments:
    """Made once per deployment. `instance`: see `wire.headers.HOP`."""

    def __init__(self, deployment: Deployment, instance: str = "") -> None:
        self._deployment = deployment
        self._own = parameters.ollama() if _is_ollama(deployment) else frozenset()
        self._params = _apart(deployment.params) if self._own else deployment.params
        self._fixed = _fixed(deployment)
        self._headers = {name: secret.reveal() for name, secret in deployment.extra_headers.items()}
        self._hop = instance if deployment.api_base else ""  # a provider's own address does not lead back here

    def of(self, call: Call) -> dict[str, Any]:
        """Raises InvalidRequest for what would only become an obscure failure inside litellm."""
        intent, deployment = call.intent, self._deployment
        known = FIELDS[call.endpoint] | self._own
        arguments = {name: intent.value(name) for name in intent.fields if name in known}
        if "options" in arguments and self._own:
            arguments = _apart(_checked_options(arguments, self._own))
        prompt = arguments.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:  # frameworks send lists, of one prompt too
            arguments["prompt"] = prompt[0]
        _check(call.endpoint, arguments, deployment.provider)
        check_tools(arguments.get("tools"), deployment.provider)
        if call.endpoint is CHAT:
            check_demands(arguments, deployment)
            arguments["messages"] = _without_blanks(arguments["messages"])
        if any(kind in intent.body for kind in _LOST) and call.endpoint is CHAT:
            _check_parts(arguments["messages"], deployment)
        if call.endpoint is COMPLETIONS:
            # What litellm's own text completion does; its streams do not tell whether the provider ended them.
            arguments |= {"messages": [{"role": "user", "content": arguments.pop("prompt")}], "text_completion": True}
        for name, value in self._params.items():
            arguments.setdefault(name, value)
        arguments |= self._fixed
        provider = _BY_ENDPOINT.get((deployment.provider, call.endpoint), deployment.provider)
        arguments["model"] = f"{provider}/{deployment.model.replace('*', call.capture)}"
        arguments["timeout"] = call.timeouts.total  # for what litellm does past the bridge
        headers = {name: value for name, value in call.headers if name in _HEADERS} | self._headers
        if self._hop:
            headers[HOP] = ", ".join([*(value for name, value in call.headers if name == HOP), self._hop])
        if headers:
            arguments["extra_headers"] = headers
        if intent.stream and call.endpoint.streams:
            arguments |= {"stream": True, "stream_options": {"include_usage": True}}
        return arguments


def _fixed(deployment: Deployment) -> dict[str, Any]:
    key = None if deployment.api_key is None else deployment.api_key.reveal()
    if key is None and deployment.api_base and not providers.uses_cloud_credentials(deployment.provider):
        key = NO_KEY
    told = {
        "api_base": deployment.api_base,
        "api_key": key,
        "api_version": deployment.api_version,
        "organization": deployment.organization,
        "additional_drop_params": list(deployment.additional_drop_params),
        "allowed_openai_params": list(deployment.allowed_openai_params),
        "base_model": deployment.family,
    }
    extra: dict[str, Any] = _revealed(deployment.extra_body)
    if _is_ollama(deployment):
        extra = _apart(extra)
    elif extra and not _takes_apart(deployment):
        extra = {"extra_body": extra}
    arguments: dict[str, Any] = extra | _revealed(deployment.litellm_params)
    arguments |= {name: value for name, value in told.items() if value}
    # One retry loop in the program, and it is not litellm's.
    return arguments | {"drop_params": deployment.drop_params, "max_retries": 0, "num_retries": 0}


def _is_ollama(deployment: Deployment) -> bool:
    return deployment.provider.startswith("ollama")


def _apart(values: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's `options` among other fields, as litellm takes them: one by one."""
    options = values.get("options")
    rest = {name: value for name, value in values.items() if name != "options"}
    return {**options, **rest} if isinstance(options, Mapping) else rest


def _takes_apart(deployment: Deployment) -> bool:
    """Whether litellm 1.106.2 sends `extra_body` itself as a field, instead of what is in it; arguments that it does
    not know become fields of the body there."""
    claude = deployment.provider.startswith("vertex_ai") and "claude" in deployment.model
    return claude or deployment.provider in ("anthropic", "bedrock")


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {name: _revealed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(item) for item in value]
    return value


def _checked_options(arguments: dict[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """Raises InvalidRequest for `options` with a name that is not Ollama's: none may become an argument that steers
    litellm."""
    options = arguments["options"]
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("The field 'options' must be an object.", param="options")
    for name in options or ():
        if name == "options" or (name not in own and name not in _OPTIONS_OF_OPENAI):
            raise InvalidRequest("There is no such option.", param=f"options.{name}"[:64])
    return arguments


def _without_blanks(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Assistant turns without blank texts, which some providers refuse: litellm puts a sentence of its own there."""
    found = []
    for message in messages:
        if message["role"] == "assistant":
            content = message.get("content")
            if isinstance(content, list):
                content = [part for part in content if not _is_blank(part)]
            said = None if not content or _is_blank({"type": "text", "text": content}) else content
            if said is None and not message.keys() & _SAYS:
                continue  # it says nothing at all
            if "content" in message:
                message["content"] = said
        found.append(message)
    return found or messages


_SAYS: Final = frozenset({"tool_calls", "function_call", "reasoning_content", "thinking_blocks", "images", "audio"})


def _is_blank(part: Any) -> bool:
    if not isinstance(part, dict) or part.get("type") != "text":
        return False
    text = part.get("text")
    return text is None or (isinstance(text, str) and not text.strip())


def _check_parts(messages: list[dict[str, Any]], deployment: Deployment) -> None:
    lost: tuple[str, ...] = ()
    if deployment.provider in ("anthropic", "bedrock") or "claude" in deployment.model:
        lost = ("input_audio", "video_url")
    elif deployment.provider in ("gemini", "vertex_ai"):
        lost = ("video_url",)
    for index, message in enumerate(messages):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and (kind := part.get("type")) in lost:
                error = InvalidRequest(
                    f"{deployment.provider} does not accept '{kind}'.", param=f"messages[{index}].content"
                )
                error.verdict = Verdict.ELSEWHERE  # another provider may
                raise error


def _check(endpoint: Endpoint, arguments: Mapping[str, Any], provider: str) -> None:
    if endpoint is CHAT:
        messages = arguments.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("The field 'messages' must be a list of messages.", param="messages")
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise InvalidRequest("A message must be an object with a 'role'.", param=f"messages[{index}]")
    elif endpoint is COMPLETIONS:
        if not isinstance(arguments.get("prompt"), str):
            raise InvalidRequest(f"The field 'prompt' must be one text for {provider}.", param="prompt")
    else:
        given = arguments.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest(
                f"The field 'input' must be a text or an array of texts; {provider} does not accept token arrays.",
                param="input",
            )
