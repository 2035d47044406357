"""Which provider an address belongs to, for models without `provider/`.

litellm has such a list in its code. Here it is made from the table of providers and a few more addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from urllib.parse import urlsplit

from gatewayd.config import providers

_COMPATIBLE = "custom_openai"
"""Addresses with OpenAI's API at companies that also have their own API."""
# fmt: off
_MORE = {
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com/v1beta/openai": _COMPATIBLE,
    "generativelanguage.googleapis.com/v1/openai": _COMPATIBLE,
    "generativelanguage.googleapis.com": "gemini",
    "api.together.xyz/v1": "together_ai", "api.together.ai/v1": "together_ai",
    "api.deepseek.com": "deepseek",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com/compatibility/v1": _COMPATIBLE, "api.cohere.ai/compatibility/v1": _COMPATIBLE,
    "api.cohere.com": "cohere_chat", "api.cohere.ai": "cohere_chat",
    "api.fireworks.ai/inference/v1": "fireworks_ai",
    "api.moonshot.ai/v1": "moonshot",
    "dashscope.aliyuncs.com/compatible-mode/v1": "dashscope",
    "dashscope-intl.aliyuncs.com/compatible-mode/v1": "dashscope",
    "api.featherless.ai/v1": "featherless_ai",
    "ai-gateway.vercel.sh/v1": "vercel_ai_gateway",
    "inference.baseten.co/v1": "baseten",
    "api.minimax.io/v1": "minimax", "api.minimaxi.com/v1": "minimax",
}
# fmt: on
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com")


def provider_of(url: str) -> str | None:
    """The provider of a well-formed base URL; None for servers that anyone runs.

    Hosts must be equal and paths begin alike, segment by segment: `https://evil.example/api.groq.com` is not Groq's.
    """
    parts = urlsplit(url)
    host, path = (parts.hostname or "").rstrip("."), parts.path.rstrip("/")
    if host.endswith(_AZURE):
        return "azure"
    known = _known().get(host, {})
    found = max((start for start in known if path == start or path.startswith(f"{start}/")), key=len, default=None)
    if found is not None:
        return known[found]
    return next(iter(known.values())) if len(known) == 1 else None  # the path is wrong, the company is not


@cache
def _known() -> Mapping[str, Mapping[str, str]]:
    """Host → how a path begins → provider."""
    found: dict[str, dict[str, str]] = {}
    own = {}
    for name in sorted(providers.names()):
        provider = providers.get(name)
        if provider is not None and provider.own_host and provider.api_base and not name.startswith("text-completion"):
            parts = urlsplit(provider.api_base)
            own[f"{parts.hostname}{parts.path.rstrip('/')}"] = name
    for place, name in (own | {place: name for place, name in _MORE.items() if providers.get(name)}).items():
        host, slash, path = place.partition("/")
        found.setdefault(host, {})[slash + path] = name
    return MappingProxyType(found)
