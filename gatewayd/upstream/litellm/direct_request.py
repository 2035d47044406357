"""Which translated calls go the direct way, and the request that a provider's handler has made, as bytes.

The table is an allowlist: what is not in it has not been compared with what `litellm.acompletion` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatewayd._version import __version__
from gatewayd.config.snapshot import Deployment
from gatewayd.upstream.base import Call
from gatewayd.upstream.dial import Origin
from gatewayd.wire.dialect import EMBEDDINGS
from gatewayd.wire.openai import encode

DIRECT_LIMIT: Final = 128 * 1024
"""Of a call's body. A larger one could take the loop 10 ms and more; litellm translates it in a thread."""

DIRECT_PROVIDERS: Final = frozenset({"anthropic", "bedrock", "cohere", "cohere_chat", "gemini", "vertex_ai"})
_STREAMING: Final = frozenset({"anthropic", "bedrock", "gemini", "vertex_ai"})
"""Cohere's reader makes chunks of another kind, which only litellm's own wrapper of streams takes."""

_FIELDS: Final = frozenset(
    {
        "messages", "prompt", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens",
        "n", "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format",
        "safety_identifier", "safety_settings", "seed", "service_tier", "stop", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity",
    }
)  # fmt: skip
_OWN: Final = frozenset({"container", "inference_geo", "mcp_servers", "output_config", "speed"})
"""Fields of Anthropic's that an operator may add to every body; litellm takes them as arguments, and has its own."""
_STATIC: Final = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_region_name"})
_ACCOUNT: Final = frozenset({"vertex_project", "vertex_credentials"})
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "bedrock": _STATIC | {"aws_session_token", "aws_bedrock_runtime_endpoint"},
    "vertex_ai": _ACCOUNT | {"vertex_location"},
}
"""Per provider, what may be configured for litellm besides a key and an address. Other credentials of AWS's (profiles,
roles, the environment's) are looked up by boto3, and Google's by google-auth, which do their own I/O."""

_MESSAGE: Final = frozenset(
    {
        "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations", "reasoning_content",
        "thinking_blocks", "provider_specific_fields", "cache_control",
    }
)  # fmt: skip
"""Others may hold addresses, which litellm would fetch (`images`)."""
_PARTS: Final = frozenset({"type", "text", "image_url", "cache_control"})
_TOOL: Final = frozenset({"type", "function", "cache_control"})
_FUNCTION: Final = frozenset({"name", "description", "parameters", "strict"})


class NotDirect(Exception):
    """A call that only `litellm.acompletion` can make, as is found when litellm is asked about it."""


def supports_deployment(deployment: Deployment) -> bool:
    """Whether this deployment's calls may go the direct way."""
    provider, model = deployment.provider, deployment.model
    if provider not in DIRECT_PROVIDERS or not deployment.litellm_params.keys() <= _KEYS.get(provider, frozenset()):
        return False
    if not deployment.params.keys() <= _FIELDS or not deployment.extra_body.keys() <= _FIELDS | _OWN:
        return False
    match provider:
        case "bedrock":
            needed = _STATIC if deployment.api_key is None else frozenset({"aws_region_name"})
            return deployment.litellm_params.keys() >= needed
        case "vertex_ai":  # models of others, and tuned ones, are reached otherwise
            return model.startswith("gemini-") and deployment.litellm_params.keys() >= _ACCOUNT
        case "cohere" | "cohere_chat":
            return "/" not in model
        case _:
            return True


def supports_call(deployment: Deployment, call: Call, arguments: Mapping[str, Any]) -> bool:
    """Whether this call may go the direct way, at a deployment that `supports_deployment`."""
    intent = call.intent
    if call.endpoint is EMBEDDINGS or len(intent.body) > DIRECT_LIMIT or not intent.fields.keys() <= _FIELDS | _SEEN:
        return False
    if intent.stream and (deployment.provider not in _STREAMING or arguments.get("n") not in (None, 1)):
        return False
    messages, tools = arguments["messages"], arguments.get("tools")
    if not isinstance(tools, list | None):
        return False
    if deployment.provider in ("gemini", "vertex_ai") and any(
        map(_cached, messages)
    ):  # litellm makes requests of its own then
        return False
    return all(map(_plain_message, messages)) and all(map(_plain_tool, tools or ()))


_SEEN: Final = frozenset({"model", "stream", "stream_options", "metadata", "store"})
"""Fields that do not reach a provider as they are."""


def _cached(message: Any) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return "cache_control" in message or any(isinstance(part, dict) and "cache_control" in part for part in parts)


def _plain_message(message: Any) -> bool:
    # What holds nothing holds no address: Gemini's answers have `images`, which clients send back.
    if any(name not in _MESSAGE and value is not None and value != [] for name, value in message.items()):
        return False
    content = message.get("content")
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(map(_plain_part, content))


def _plain_part(part: Any) -> bool:
    """Text, or an image that is there. For one at an address, or in a file, requests would have to be made."""
    if not isinstance(part, dict) or not part.keys() <= _PARTS:
        return False
    if part.get("type") == "text":
        return isinstance(part.get("text"), str)
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return part.get("type") == "image_url" and isinstance(url, str) and url.startswith("data:")


def _plain_tool(tool: Any) -> bool:
    if not isinstance(tool, dict) or tool.get("type") != "function" or not tool.keys() <= _TOOL:
        return False
    function = tool.get("function")
    return isinstance(function, dict) and function.keys() <= _FUNCTION


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    origin: Origin
    head: bytes
    body: bytes


_OURS: Final = frozenset({"accept-encoding", "connection", "content-length", "cookie", "host", "transfer-encoding"})


def request_of(url: str, headers: Mapping[str, Any], data: str | bytes | None, json: Any) -> ProviderRequest:
    """Raises ConfigurationError or ValueError for what cannot be sent."""
    origin, parts = Origin.of(url)
    body = encode(json) if data is None else data.encode() if isinstance(data, str) else data
    fields = {"accept": "*/*", "user-agent": f"gatewayd/{__version__}", "content-type": "application/json"}
    for name, value in headers.items():
        fields[name.lower()] = value if isinstance(value, str) else str(value, "latin-1")
    lines = [f"POST {parts.path or '/'}{'?' if parts.query else ''}{parts.query} HTTP/1.1", f"host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name not in _OURS]
    lines += ["accept-encoding: identity", f"content-length: {len(body)}"]
    text = "\r\n".join(lines)
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1 or "\0" in text:
        raise ValueError("a control character in the head of a request")
    return ProviderRequest(origin, text.encode("ascii") + b"\r\n\r\n", body)
