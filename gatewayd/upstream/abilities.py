"""What a deployment's model takes, and what its configuration adds, for requests that are converted."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from gatewayd.config import providers
from gatewayd.config.snapshot import Deployment
from gatewayd.errors import RequestError
from gatewayd.wire.chat import read_request
from gatewayd.wire.conversation import ModelTarget, Request, Sampling
from gatewayd.wire.openai import encode

_MAX_TOKENS: Final = 8192
"""The limit of an answer, for APIs that need one, if neither the caller nor the price table says one."""
_REASONS: Final = re.compile(
    r"(?:^|[/.:-])(?:o[1-9](?:-|$)|gpt-5|gpt-oss|deepseek-r|deepseek-reasoner|qwq|magistral|grok-[34]-mini|"
    r"claude-(?:3-7|[a-z]+-[4-9])|gemini-(?:2\.5|[3-9]))"
)
"""Names of models that think, where nothing else is known of a model."""
_ADAPTIVE: Final = re.compile(r"claude-[a-z]+-(?:4-[6-9](?!\d)|[5-9])")
"""Names of Claude's models that decide themselves how much they think."""
_DEFAULTS: Final = (
    "tools", "tool_choice", "parallel_tool_calls", "max_tokens", "output", "verbosity", "reasoning", "modalities",
    "user", "metadata", "session", "safety_id", "service_tier", "store",
)  # fmt: skip
"""Fields of a request that a deployment's configuration may set for requests that do not."""
_STRUCTURED: Final = re.compile(r"claude-(?:opus-4-1(?!\d)|[a-z]+-(?:4-[5-9](?!\d)|[5-9]))")
"""Names of Claude's models whose answers and tools can be held to a schema."""
_OPENAIS: Final = frozenset({"openai", "azure"})


def model_target(deployment: Deployment, model: str) -> ModelTarget:
    """`model`: the name that the request has; the deployment's own takes its place later."""
    known = deployment.abilities
    own = deployment.model if "*" not in deployment.model else model
    name = deployment.family_of(own)
    provider = providers.get(deployment.provider)
    openais = deployment.provider in _OPENAIS and (
        provider is None or not provider.own_host or deployment.api_base == provider.api_base
    )
    claude = "claude" in name
    unsupported = () if known.get("supports_sampling_params", True) else ("temperature", "top_p", "top_k")
    dropped = deployment.additional_drop_params
    return ModelTarget(
        model=model,
        max_tokens=known.get("max_output_tokens") or _MAX_TOKENS,
        drop_params=deployment.drop_params,
        unsupported=frozenset((*unsupported, *dropped)),
        reasons=bool(known.get("supports_reasoning", _REASONS.search(name) is not None)),
        adaptive_thinking=bool(known.get("supports_adaptive_thinking", _ADAPTIVE.search(name) is not None)),
        structured_output=bool(known.get("supports_native_structured_output", not claude or _STRUCTURED.search(name))),
        system_turns=bool(known.get("supports_mid_conversation_system", False)),
        developer_role=openais,
        thinking_blocks=deployment.kind == "translate" and claude,
        text_parts=openais or deployment.kind == "translate",
        cache_marks=claude,
        extended_sampling=not openais and deployment.kind == "forward",
        completion_tokens=openais,
    )


def with_defaults(request: Request, deployment: Deployment) -> Request:
    """The request with the parameters of the deployment's configuration that it does not set itself."""
    defaults = _defaults(deployment)
    if defaults is None:
        return request
    changes: dict[str, Any] = {
        name: value
        for name in _DEFAULTS
        if getattr(request, name) is None and (value := getattr(defaults, name)) is not None
    }
    sampling = {
        name: value
        for name in Sampling.__struct_fields__
        if getattr(request.sampling, name) is None and (value := getattr(defaults.sampling, name)) is not None
    }
    if sampling:
        changes["sampling"] = msgspec.structs.replace(request.sampling, **sampling)
    return msgspec.structs.replace(request, **changes) if changes else request


def _defaults(deployment: Deployment) -> Request | None:
    """The configured parameters, which are those of OpenAI's chat API, as a request."""
    if not deployment.params:
        return None
    try:
        return read_request(encode({"model": deployment.model, "messages": [], **deployment.params}))
    except RequestError:
        return None  # they go as they are (`rewrite`), and the provider says what is wrong with them
