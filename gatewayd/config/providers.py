"""What litellm knows about providers, read from the installed package as data. litellm itself is never imported.

Importing litellm takes seconds and 180 MB, and a gateway with only OpenAI-compatible providers does not need it. So
this module opens three of litellm's files: the JSON list of OpenAI-compatible providers, the enumeration of all
provider names (as text), and the price table (only for a model name without a provider, or for a price). Without
litellm, the table `providers.toml` still works.

A provider is `forward` if litellm changes only the base URL, the key and the name of a field (at most it fixes unusual
messages). It is `translate` if litellm reshapes requests or answers.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from gatewayd.config.tables import table

_MAX_TOKENS = (("max_completion_tokens", "max_tokens"),)


_ENDPOINTS = (
    "/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/images/generations",
    "/images/edits", "/audio/speech", "/audio/transcriptions", "/audio/translations", "/moderations", "/rerank",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    kind: Literal["forward", "translate"]
    api_base: str | None = None
    """Default base URL, without a trailing slash; None: the operator must set one (or litellm knows it)."""
    key_env: tuple[str, ...] = ()
    """Environment variables for the key, in litellm's order; see `key_variables`."""
    base_env: tuple[str, ...] = ()
    """Environment variables for the base URL, in litellm's order."""
    needs_key: bool = True
    """Whether a call without `api_key` cannot work at the provider's own host."""
    path: str = ""
    """The required end of a base URL; added if it is missing (Ollama: `/v1`)."""
    renames: tuple[tuple[str, str], ...] = ()
    """(OpenAI's, the provider's) names of chat fields, where litellm's JSON file has them; see `parameters`."""
    dialects: tuple[str, ...] = ("chat",)
    """The APIs that it documents, by the names of `wire.dialect.DIALECTS`."""
    own_host: bool = True
    """Whether the provider is one company's service, so that its key must not be sent to other hosts."""

    def base_url(self, configured: str | None) -> str | None:
        """The base URL to use: `configured` or the default, without trailing slash, with the provider's `path`."""
        base = configured or self.api_base
        if base is None:
            return None
        base, mark, query = base.partition("?")
        base = base.rstrip("/")
        ending = next((one for one in _ENDPOINTS if base.endswith(one)), "")  # an address as consoles show it
        base = base.removesuffix(ending)
        return (base if base.endswith(self.path) else base + self.path) + mark + query

    def key_variables(self, configured: str | None) -> tuple[str, ...]:
        """The environment variables that may give the key when the base URL is `configured` (None: not configured).

        litellm uses them for any base URL, and so sends a company's key to other hosts. Here a company's key is sent
        only to its own host. Servers that anyone can run (Azure resources, vLLM) have no own host.
        """
        foreign = configured is not None and self.own_host and self.base_url(configured) != self.api_base
        return () if foreign else self.key_env


# Keys in an entry of litellm's JSON file that allow forwarding the bytes unchanged.
_PLAIN = frozenset({"base_url", "api_key_env", "api_base_env", "base_class", "param_mappings", "supported_endpoints"})

_PRICES = "model_prices_and_context_window_backup.json"

# Names in the price table for parts of a provider.
_PARTS = (("vertex_ai-", "vertex_ai"), ("bedrock_converse", "bedrock"), ("fireworks_ai-", "fireworks_ai"))


def get(name: str) -> Provider | None:
    """The provider litellm calls `name`; None if it has no such provider."""
    return _providers().get(name)


def names() -> frozenset[str]:
    """Every provider litellm knows, whatever its endpoints are."""
    return frozenset(_providers())


def split_model(model: str, custom_llm_provider: str | None = None) -> tuple[str, str] | None:
    """Provider and the provider's own name of the model, from `litellm_params.model`.

    `custom_llm_provider` takes precedence, known or not. Then the part before the first slash, if it is a provider.
    Then the bundled price table and the well-known families, for names without a prefix. None if no provider is found.
    """
    prefix, slash, rest = model.partition("/")
    if custom_llm_provider:
        return custom_llm_provider, own_name(custom_llm_provider, rest if prefix == custom_llm_provider else model)
    if slash and prefix in _providers():
        return prefix, own_name(prefix, rest)
    if model == "*":
        return "openai", model
    provider = None if slash else _vendor(model)
    return None if provider is None else (provider, model)


def catalogue(provider: str, model: str) -> Mapping[str, Any] | None:
    """The price-table entry of a model (`mode`, `max_input_tokens`, prices per token, ...), or None."""
    prices = _prices()
    entry = prices.get(f"{provider}/{model}")
    if entry is None and (entry := prices.get(model)) is not None and _whole(entry) != provider:
        entry = None
    return entry


def models(provider: str) -> list[str]:
    """Names of the provider's models in the price table, as the provider itself calls them; sorted."""
    entries = _prices().items()
    return sorted({name.removeprefix(f"{provider}/") for name, entry in entries if _whole(entry) == provider})


def own_name(provider: str, model: str) -> str:
    """The provider's own name of a model written as `provider/model`, or of a pattern's model once it is known."""
    if "*" in model:
        return model
    if provider == "openrouter" and "/" not in model:
        return f"openrouter/{model}"  # all its names have a slash: `openrouter/auto` is one of its own
    if provider == "azure":
        return model.removeprefix("o_series/").removeprefix("gpt5_series/")  # hints for litellm, not part of the name
    return model


def retirement(provider: str, model: str) -> str | None:
    """The day (YYYY-MM-DD) on which a model was, or will be, switched off, as far as litellm's price table knows."""
    return _retirements().get((provider, model))


def uses_cloud_credentials(name: str) -> bool:
    """Whether the provider uses an account's credentials instead of a key (AWS, Google, IBM, ...)."""
    return name in table("providers")["cloud"].split()


def _vendor(model: str) -> str | None:
    entry = _prices().get(model)
    if entry is not None and (provider := _whole(entry)) in _providers():
        return provider
    return next((name for pattern, name in _routes() if pattern.search(model)), None)


def _whole(entry: Mapping[str, Any]) -> str:
    name = str(entry.get("litellm_provider"))
    return next((whole for part, whole in _PARTS if name.startswith(part)), name)


def bases_from(environ: Mapping[str, str], deployments: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """The variables that set the address of these deployments, each (provider, base URL), with their values."""
    found: dict[str, str] = {}
    for name, base in set(deployments):
        provider = get(name)
        for variable in provider.base_env if provider is not None and base else ():
            if (text := environ.get(variable, "").strip()) and provider and provider.base_url(text) == base:
                found[variable] = text
    return dict(sorted(found.items()))


@cache
def _providers() -> Mapping[str, Provider]:
    rows, enumerated = table("providers"), _enumerated()
    found = {name: Provider(name, "translate", needs_key=False) for name in enumerated}
    for name, row in rows["translate"].items():
        found[name] = _row(name, "translate", row, own_host=not row.get("any_host"))
    for name, entry in _read_json("llms/openai_like/providers.json").items():
        # litellm treats a provider outside the enumeration as any OpenAI-compatible server: `custom_openai`.
        found[name] = _listed(name, entry, () if name in enumerated else _MAX_TOKENS)
    for name, row in rows["forward"].items():
        found[name] = _row(name, "forward", row, own_host="base" in row and not row.get("free"))
    return MappingProxyType(found)


def _row(name: str, kind: Literal["forward", "translate"], row: Mapping[str, Any], *, own_host: bool) -> Provider:
    return Provider(
        name,
        kind,
        row.get("base"),
        tuple(row.get("keys", "").split()),
        tuple(row.get("bases", "").split()),
        needs_key=not row.get("free"),
        path=row.get("path", ""),
        dialects=tuple(row.get("apis", "chat").split()),
        own_host=own_host,
    )


def _listed(name: str, entry: Mapping[str, Any], usual: tuple[tuple[str, str], ...]) -> Provider:
    keys = (str(entry["api_key_env"]),)
    bases = (str(entry["api_base_env"]),) if entry.get("api_base_env") else ()
    if not _PLAIN.issuperset(entry):
        return Provider(name, "translate", None, keys, bases)
    renames = tuple(entry.get("param_mappings", {}).items()) or usual
    return Provider(name, "forward", entry["base_url"].rstrip("/"), keys, bases, renames=renames)


@cache
def _routes() -> tuple[tuple[re.Pattern[str], str], ...]:
    rules = _read_json(_PRICES).get("fallback_generalizations", {}).get("rules", [])
    listed = ((rule["pattern"], rule["model_info"].get("litellm_provider")) for rule in rules)
    return (
        *((re.compile(pattern, re.IGNORECASE), name) for pattern, name in listed if name is not None),
        *((re.compile(pattern), name) for name, pattern in table("providers")["families"].items()),
    )


class _Dated(msgspec.Struct):
    litellm_provider: str = ""
    deprecation_date: str = ""


@cache
def _retirements() -> Mapping[tuple[str, str], str]:
    """Read separately, because these few fields need a tenth of the memory of the whole table."""
    table = msgspec.json.decode(data_file(_PRICES) or b"{}", type=dict[str, _Dated])
    found = {}
    for name, entry in table.items():
        if entry.deprecation_date[:1] == "2":
            provider = _whole({"litellm_provider": entry.litellm_provider})
            found[provider, name.removeprefix(f"{provider}/")] = entry.deprecation_date
    return found


@cache
def _prices() -> Mapping[str, Mapping[str, Any]]:
    return {name: entry for name, entry in _read_json(_PRICES).items() if "litellm_provider" in entry}


def _enumerated() -> list[str]:
    source = data_file("types/utils.py").decode().partition("\nclass LlmProviders(")[2].partition("\n\n\n")[0]
    return re.findall(r'^    [A-Z0-9_]+ = "([^"]+)"', source, re.MULTILINE)


@cache
def _read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(data_file(path) or b"{}")
    return content


def data_file(path: str) -> bytes:
    """A file of the installed litellm, which is not imported; empty if there is none."""
    spec = importlib.util.find_spec("litellm")  # finds a top-level package without running it
    try:
        return b"" if spec is None or spec.origin is None else (Path(spec.origin).parent / path).read_bytes()
    except FileNotFoundError:
        return b""
