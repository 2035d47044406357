"""What litellm knows about providers, read from the installed package as data; litellm itself is never imported.

Importing litellm takes seconds and 180 MB, and a gateway whose providers all speak OpenAI's wire never needs it. So
this module opens three of litellm's files: the list of OpenAI-compatible providers kept as JSON, the enumeration of
all provider names (as text), and the price table (only when a bare model name or a price is asked for). When litellm
is not installed the table below still works.

A provider is `forward` when litellm changes nothing but base URL, key and the name of a field on its way there (at
most it mends odd messages); where litellm reshapes requests or answers it is `translate`. The table was written from
litellm 1.106.2: `litellm_core_utils/get_llm_provider_logic.py`, `main.py` and `llms/*/chat/transformation.py`; a test
asks the installed litellm about every row.
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

_MAX_TOKENS = (("max_completion_tokens", "max_tokens"),)


_ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/responses")


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    kind: Literal["forward", "translate"]
    api_base: str | None = None
    """Default base URL, without a trailing slash; None: the operator must name one (or litellm knows it)."""
    key_env: tuple[str, ...] = ()
    """Environment variables that may hold the key, in the order litellm asks them; see `key_variables`."""
    base_env: tuple[str, ...] = ()
    """Environment variables that may hold the base URL, in litellm's order."""
    needs_key: bool = True
    """Whether a call without `api_key` cannot work at the provider's own host."""
    path: str = ""
    """What a base URL must end with; added where it is missing (Ollama: `/v1`)."""
    renames: tuple[tuple[str, str], ...] = ()
    """(OpenAI's, the provider's) names of chat fields, where litellm's JSON file has them; see `parameters`."""
    own_host: bool = True
    """Whether the provider is one company's service, so that its key must not travel to any other host."""

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

        litellm falls back to them whatever the base URL is, and so sends a company's key to foreign hosts; here a
        company's key goes to its own host only. Servers that anyone runs (Azure resources, vLLM) have no own host.
        """
        foreign = configured is not None and self.own_host and self.base_url(configured) != self.api_base
        return () if foreign else self.key_env


# name: default base URL, key variables, base URL variables, then what is odd: `free` = works without a key,
# `/v1` = the base URL must end so. Every other OpenAI-compatible provider that gatewayd forwards to comes from
# litellm's JSON file. What their APIs take is in `parameters.toml`.
# fmt: off
_FORWARD: dict[str, tuple[str | None, str, str, str]] = {
    "openai":        ("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL OPENAI_API_BASE", ""),
    "text-completion-openai":
                     ("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL OPENAI_API_BASE", ""),
    # The forwarding upstream appends Azure's own path (deployment name, api-version).
    "azure":         (None, "AZURE_OPENAI_API_KEY AZURE_API_KEY", "AZURE_API_BASE", ""),
    # Any server that speaks the wire. litellm takes OPENAI_API_KEY for custom_openai: a key for a foreign host.
    "custom_openai": (None, "", "", "free"),
    "openai_like":   (None, "OPENAI_LIKE_API_KEY", "OPENAI_LIKE_API_BASE", "free"),
    "hosted_vllm":   (None, "HOSTED_VLLM_API_KEY", "HOSTED_VLLM_API_BASE", "free"),
    # litellm runs `vllm/...` inside the process; here it means a vLLM server.
    "vllm":          (None, "HOSTED_VLLM_API_KEY", "HOSTED_VLLM_API_BASE", "free"),
    "litellm_proxy": (None, "LITELLM_PROXY_API_KEY", "LITELLM_PROXY_API_BASE", "free"),
    "lm_studio":     (None, "LM_STUDIO_API_KEY", "LM_STUDIO_API_BASE", "free"),
    "llamafile":     ("http://127.0.0.1:8080/v1", "LLAMAFILE_API_KEY", "LLAMAFILE_API_BASE", "free"),
    # litellm speaks Ollama's own API; OpenAI's is below /v1, while base URLs are written without it.
    "ollama":        ("http://localhost:11434/v1", "OLLAMA_API_KEY", "OLLAMA_API_BASE", "free /v1"),
    "ollama_chat":   ("http://localhost:11434/v1", "OLLAMA_API_KEY", "OLLAMA_API_BASE", "free /v1"),
    "docker_model_runner":
                     ("http://localhost:22088/engines/llama.cpp/v1", "DOCKER_MODEL_RUNNER_API_KEY",
                      "DOCKER_MODEL_RUNNER_API_BASE", "free /v1"),
    "xinference":    ("http://127.0.0.1:9997/v1", "XINFERENCE_API_KEY", "XINFERENCE_API_BASE", "free"),
    "groq":          ("https://api.groq.com/openai/v1", "GROQ_API_KEY", "GROQ_API_BASE", ""),
    "together_ai":   ("https://api.together.ai/v1",
                      "TOGETHER_API_KEY TOGETHER_AI_API_KEY TOGETHERAI_API_KEY TOGETHER_AI_TOKEN",
                      "TOGETHER_AI_API_BASE", ""),
    "deepseek":      ("https://api.deepseek.com/beta", "DEEPSEEK_API_KEY", "DEEPSEEK_API_BASE", ""),
    "mistral":       ("https://api.mistral.ai/v1", "MISTRAL_AZURE_API_KEY MISTRAL_API_KEY",
                      "MISTRAL_AZURE_API_BASE", "/v1"),
    "codestral":     ("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY", "CODESTRAL_API_BASE", ""),
    "openrouter":    ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY OR_API_KEY", "OPENROUTER_API_BASE", ""),
    "xai":           ("https://api.x.ai/v1", "XAI_API_KEY", "XAI_API_BASE", ""),
    "perplexity":    ("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY PERPLEXITY_API_KEY",
                      "PERPLEXITY_API_BASE", ""),
    "cerebras":      ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "CEREBRAS_API_BASE", ""),
    "deepinfra":     ("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY", "DEEPINFRA_API_BASE", ""),
    "nvidia_nim":    ("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY", "NVIDIA_NIM_API_BASE",
                      ""),
    "sambanova":     ("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY", "SAMBANOVA_API_BASE", ""),
    "nebius":        ("https://api.studio.nebius.ai/v1", "NEBIUS_API_KEY", "NEBIUS_API_BASE", ""),
    "hyperbolic":    ("https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY", "HYPERBOLIC_API_BASE", ""),
    "lambda_ai":     ("https://api.lambda.ai/v1", "LAMBDA_API_KEY", "LAMBDA_API_BASE", ""),
    "friendliai":    ("https://api.friendli.ai/serverless/v1", "FRIENDLIAI_API_KEY FRIENDLI_TOKEN",
                      "FRIENDLI_API_BASE", ""),
    "github":        ("https://models.inference.ai.azure.com", "GITHUB_API_KEY", "GITHUB_API_BASE", ""),
    "volcengine":    ("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY", "VOLCENGINE_API_BASE",
                      ""),
    "aiml":          ("https://api.aimlapi.com/v1", "AIML_API_KEY", "AIML_API_BASE", ""),
    "wandb":         ("https://api.inference.wandb.ai/v1", "WANDB_API_KEY", "WANDB_API_BASE", ""),
    "zai":           ("https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "ZAI_API_BASE", ""),
}

# Key variables of the translated providers people use most; `-` = credentials of another kind (AWS, Google), so no key.
_TRANSLATE_KEYS: dict[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN",
    "anthropic_text": "ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN",
    "gemini": "GOOGLE_API_KEY GEMINI_API_KEY",
    "cohere": "COHERE_API_KEY CO_API_KEY",
    "cohere_chat": "COHERE_API_KEY CO_API_KEY",
    "azure_ai": "AZURE_AI_API_KEY",
    "azure_text": "AZURE_OPENAI_API_KEY AZURE_API_KEY",
    "fireworks_ai": "FIREWORKS_API_KEY FIREWORKS_AI_API_KEY FIREWORKSAI_API_KEY FIREWORKS_AI_TOKEN",
    "huggingface": "HF_TOKEN HUGGINGFACE_API_KEY",
    "replicate": "REPLICATE_API_KEY REPLICATE_API_TOKEN",
    "databricks": "DATABRICKS_API_KEY",
    "voyage": "VOYAGE_API_KEY",
    "jina_ai": "JINA_AI_API_KEY",
    "moonshot": "MOONSHOT_API_KEY",
    "dashscope": "DASHSCOPE_API_KEY",
    "ai21_chat": "AI21_API_KEY",
    "novita": "NOVITA_API_KEY",
    "bedrock": "-", "sagemaker": "-", "sagemaker_chat": "-", "sagemaker_nova": "-", "bedrock_mantle": "-",
    "vertex_ai": "-", "vertex_ai_beta": "-", "oci": "-", "sap": "-", "watsonx": "-", "watsonx_text": "-",
    "github_copilot": "-", "chatgpt": "-", "custom": "-", "triton": "-", "oobabooga": "-", "petals": "-",
}
# fmt: on

# Base URL variables that litellm reads for these in all that it does, so that they are known to `check` and shown.
_TRANSLATE_BASES = {
    "anthropic": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "anthropic_text": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "gemini": ("GEMINI_API_BASE",),
}

_ANY_HOST = frozenset({"azure_ai", "azure_text", "databricks"})

# What an entry of litellm's JSON file may hold for bytes to go through as they are.
_PLAIN = frozenset({"base_url", "api_key_env", "api_base_env", "base_class", "param_mappings", "supported_endpoints"})

_PRICES = "model_prices_and_context_window_backup.json"

# Names of a vendor's models that the price table does not know yet, or no longer.
_FAMILIES = (
    (r"^((ft:)?gpt-(?!oss)|o[1-9](-|$)|chatgpt-|text-embedding-(3|ada)|dall-e-|whisper-1$|tts-1)", "openai"),
    (r"^claude-", "anthropic"),
)

# How the price table calls parts of a provider.
_PARTS = (("vertex_ai-", "vertex_ai"), ("bedrock_converse", "bedrock"), ("fireworks_ai-", "fireworks_ai"))


def get(name: str) -> Provider | None:
    """The provider litellm calls `name`; None if it has no such provider."""
    return _providers().get(name)


def names() -> frozenset[str]:
    """Every provider litellm knows, whatever its endpoints are."""
    return frozenset(_providers())


def split(model: str, custom_llm_provider: str | None = None) -> tuple[str, str] | None:
    """Provider and the provider's own name of the model, from `litellm_params.model`.

    `custom_llm_provider` wins, known or not; then the part before the first slash if it names a provider; then the
    bundled price table and the well-known families, for names without a prefix. None if no provider can be told.
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
    """The provider's own name of a model that is written `provider/model`; of a pattern's, once it is filled in."""
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
    """Whether the provider is not asked with a key but with an account's credentials (AWS, Google, IBM, ...)."""
    return _TRANSLATE_KEYS.get(name) == "-"


def _vendor(model: str) -> str | None:
    entry = _prices().get(model)
    if entry is not None and (provider := _whole(entry)) in _providers():
        return provider
    return next((name for pattern, name in _routes() if pattern.search(model)), None)


def _whole(entry: Mapping[str, Any]) -> str:
    name = str(entry.get("litellm_provider"))
    return next((whole for part, whole in _PARTS if name.startswith(part)), name)


def bases_from(environ: Mapping[str, str], deployments: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """The variables that gave one of these deployments, each (provider, base URL), its address, and what they hold."""
    found: dict[str, str] = {}
    for name, base in set(deployments):
        provider = get(name)
        for variable in provider.base_env if provider is not None and base else ():
            if (text := environ.get(variable, "").strip()) and provider and provider.base_url(text) == base:
                found[variable] = text
    return dict(sorted(found.items()))


@cache
def _providers() -> Mapping[str, Provider]:
    enumerated = _enumerated()
    found = {name: Provider(name, "translate", needs_key=False) for name in enumerated}
    for name, keys in _TRANSLATE_KEYS.items():
        key_env = () if keys == "-" else tuple(keys.split())
        base_env = _TRANSLATE_BASES.get(name, ())
        own_host = name not in _ANY_HOST
        found[name] = Provider(name, "translate", None, key_env, base_env, needs_key=keys != "-", own_host=own_host)
    for name, entry in _read_json("llms/openai_like/providers.json").items():
        # What the enumeration does not name, litellm treats as any server that speaks the wire: `custom_openai`.
        found[name] = _listed(name, entry, () if name in enumerated else _MAX_TOKENS)
    for name, (base, keys, bases, odd) in _FORWARD.items():
        marks = set(odd.split())
        found[name] = Provider(
            name,
            "forward",
            base,
            tuple(keys.split()),
            tuple(bases.split()),
            needs_key="free" not in marks,
            path="/v1" if "/v1" in marks else "",
            own_host=base is not None and "free" not in marks,
        )
    return MappingProxyType(found)


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
        *((re.compile(pattern), name) for pattern, name in _FAMILIES),
    )


class _Dated(msgspec.Struct):
    litellm_provider: str = ""
    deprecation_date: str = ""


@cache
def _retirements() -> Mapping[tuple[str, str], str]:
    """Read by itself: these few fields take a tenth of the memory of the whole table."""
    table = msgspec.json.decode(_read(_PRICES) or b"{}", type=dict[str, _Dated])
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
    source = _read("types/utils.py").decode().partition("\nclass LlmProviders(")[2].partition("\n\n\n")[0]
    return re.findall(r'^    [A-Z0-9_]+ = "([^"]+)"', source, re.MULTILINE)


@cache
def _read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(_read(path) or b"{}")
    return content


def _read(path: str) -> bytes:
    spec = importlib.util.find_spec("litellm")  # finds a top-level package without running it
    try:
        return b"" if spec is None or spec.origin is None else (Path(spec.origin).parent / path).read_bytes()
    except FileNotFoundError:
        return b""
