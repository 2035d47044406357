"""Which provider an address belongs to, for models without `provider/`.

litellm has such a list in its code. Here it is made from the providers' base URLs and the table `hosts` of
`providers.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from urllib.parse import urlsplit

from gatewayd.config import providers
from gatewayd.config.tables import table

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
    for name, places in table("providers")["hosts"].items():
        if providers.get(name):
            own |= dict.fromkeys(places.split(), name)
    for place, name in own.items():
        host, slash, path = place.partition("/")
        found.setdefault(host, {})[slash + path] = name
    return MappingProxyType(found)
