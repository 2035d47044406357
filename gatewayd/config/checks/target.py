"""A deployment's address, kind of upstream, and key.

The most important rule: a key from the environment belongs to the provider's own address and is never sent to a
configured one. litellm falls back to `OPENAI_API_KEY` for any `api_base`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gatewayd.config import hosts, parameters, providers
from gatewayd.config.checks.circle import Listeners
from gatewayd.config.checks.lookalikes import is_placeholder
from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path
from gatewayd.config.listing import retired
from gatewayd.config.providers import Provider
from gatewayd.config.schema.base import listed
from gatewayd.config.schema.deployment import LitellmParams, ModelEntry
from gatewayd.config.snapshot import UpstreamKind
from gatewayd.secret import Secret
from gatewayd.urls import url_problem

_BELOW_V1 = frozenset({"openai", "custom_openai", "openai_like", "hosted_vllm", "vllm", "lm_studio", "llamafile"})
"""Providers whose name stands for any server, and whose base URL includes the path."""
_OLLAMA_PORT = 11434
_BEARER_VARIABLE = "ANTHROPIC_AUTH_TOKEN"
"""Holds a token, which goes into another header than a key of Anthropic's."""
MOCK = "mock"
"""The provider of a scripted deployment whose model has no provider."""
_AZURE_DEFAULT_VERSION = "2025-02-01-preview"
"""litellm 1.106.2, constants.py, `AZURE_DEFAULT_API_VERSION`."""
_OTHER_SIGN_IN = (
    "azure_ad_token", "tenant_id", "client_id", "azure_username", "aws_access_key_id", "aws_profile_name",
    "aws_role_name", "vertex_credentials", "anthropic_federation_rule_id", "openai_identity_provider_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Destination:
    kind: UpstreamKind
    provider: str
    model: str
    api_base: str | None = None
    api_key: Secret | None = None
    api_version: str | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)
    """Those that sign in where `api_key` does not."""


def find_target(
    entry: ModelEntry,
    raw: Mapping[str, Any],
    scripted: bool,
    environ: Mapping[str, str],
    listeners: Listeners,
    path: Path,
    report: Report,
) -> Destination | None:
    """None after an error was reported. `raw`: the resolved litellm_params, defaults and credential included."""
    params = entry.litellm_params
    inner = (*path, "litellm_params")
    if "*" in params.model and "*" not in entry.model_name:
        message = "nothing replaces the `*`: model_name has none"
        report.error(
            "wildcard_mismatch", (*inner, "model"), message, "write the model's name, or a pattern as model_name"
        )
        return None
    parts = providers.split_model(params.model, params.custom_llm_provider)
    if not scripted:
        parts = _told_by_address(params, parts, inner, report)
    if scripted:
        name, model = parts or (MOCK, params.model)
        return Destination("scripted", name, model)
    if parts is None or (provider := providers.get(parts[0])) is None:
        _unknown_provider(params.model, params.custom_llm_provider, raw, inner, report)
        return None
    _check_retired(provider.name, parts[1], inner, report)
    return _Way(provider, parts[1], params, raw, environ, listeners, inner, report).target()


class _Way:
    def __init__(
        self,
        provider: Provider,
        model: str,
        params: LitellmParams,
        raw: Mapping[str, Any],
        environ: Mapping[str, str],
        listeners: Listeners,
        path: Path,
        report: Report,
    ) -> None:
        self._provider = provider
        self._model = model
        self._params = params
        self._signs_in = any(raw.get(name) for name in _OTHER_SIGN_IN)
        # Ollama's OpenAI API ignores Ollama's own options; litellm uses the API that has them.
        extra = raw.get("extra_body")
        told = {**raw, **(extra if isinstance(extra, dict) else {})}
        self._options = sorted(name for name in parameters.ollama() if told.get(name) is not None)
        self._natively = bool(self._options) and provider.name.startswith("ollama")
        self._by_litellm = provider.name in ("anthropic", "gemini") and any(
            value is not None and (name in passed_on() or name.startswith("anthropic_")) for name, value in raw.items()
        )
        self._told_version: str | None = None
        self._environ = environ
        self._listeners = listeners
        self._path = path
        self._report = report

    def target(self) -> Destination | None:
        provider = self._provider
        key = self._own_key()
        configured = self._params.api_base or self._params.base_url
        base = configured or self._from_environment(provider.base_env)
        if base is not None and not self._is_url(base, configured is not None):
            return None
        kind = provider.kind
        if provider.name == "azure" and key is None and self._signs_in:
            kind = "translate"  # litellm signs in with Entra ID
        if self._by_litellm:
            kind = "translate"  # these keys are litellm's own
        if self._natively:
            kind, base = "translate", (provider.base_url(base) or "").removesuffix("/v1")
        if kind == "forward":
            base = provider.base_url(base)
            if base is None:
                self._missing_base()
                return None
            if self._options and urlsplit(base).port == _OLLAMA_PORT:
                message = "has no effect: Ollama's OpenAI API ignores it"
                hint = "write `model: ollama_chat/NAME` to use Ollama's own API"
                self._report.once("unused_key", (*self._path, self._options[0]), message, hint)
        elif base is not None and provider.name.startswith("azure") and "/openai/" in base:
            base = self._azure_resource(base)
        elif base is not None:
            base = base.rstrip("/")
        if base is not None and self._is_circle(base, configured is not None):
            return None
        if base is not None and configured is not None and provider.name in _BELOW_V1:
            self._check_path(configured, base)
        if key is None:
            key = self._key_from_environment(configured)
        version = self._told_version or self._version(base)
        headers: dict[str, Secret] = {}
        if kind == "forward" and key is not None and key.reveal() == self._environ.get(_BEARER_VARIABLE, "").strip():
            headers, key = {"authorization": Secret(f"Bearer {key.reveal()}")}, None
        return Destination(kind, provider.name, self._model, base, key, version, headers)

    def _azure_resource(self, base: str) -> str:
        """What litellm wants of the "Target URI" that Azure's portal shows: the resource alone. What else is in it (the
        deployment's name, the version) goes to where litellm takes it from."""
        parts = urlsplit(base)
        deployment = re.search("/openai/deployments/([^/]+)", parts.path)
        version = parse_qs(parts.query).get("api-version")
        self._model = unquote(deployment[1]) if deployment else self._model
        self._told_version = version[0] if version else None
        return f"{parts.scheme}://{parts.netloc}"

    def _own_key(self) -> Secret | None:
        key = self._params.api_key
        text = "" if key is None else key.reveal().strip()
        if not text:
            return None
        path = (*self._path, "api_key")
        if not text.isascii() or not text.isprintable():
            self._report.error("invalid_value", path, "has characters that are not allowed in an HTTP header")
        elif text.lower().startswith("bearer "):
            message = "begins with `Bearer`, which gatewayd adds itself"
            self._report.error("invalid_value", path, message, "write only the key")
        elif is_placeholder(text):
            message = "looks like a placeholder from a manual, not like a key"
            self._report.warning("placeholder_key", path, message, self._key_hint())
        return Secret(text)

    def _key_hint(self) -> str:
        usual = f"{self._provider.name.upper()}_API_KEY"
        keys = self._provider.key_env
        return f"write os.environ/{usual if usual in keys or not keys else keys[0]}, or the key itself"

    def _key_from_environment(self, configured: str | None) -> Secret | None:
        provider = self._provider
        own = configured is not None and configured.startswith("https://") and provider.own_host
        own = own and configured is not None and hosts.provider_of(configured) == provider.name
        allowed = provider.key_variables(None if own else configured)
        if (text := self._from_environment(allowed)) is not None:
            return Secret(text)
        if self._signs_in or not provider.needs_key:
            return None
        if allowed:
            message = f"{provider.name} needs a key, and {' or '.join(allowed)} is not set"
            usual = f"{provider.name.upper()}_API_KEY"
            hint = f"set {usual if usual in allowed else allowed[0]}, or add `api_key: os.environ/NAME`"
            self._report.error("missing_api_key", self._path, message, hint)
        elif configured is not None and (present := self._set_names(provider.key_env)):
            message = f"no key is sent: {present} belongs to {provider.name}'s own address, not to this one"
            hint = f"to send it to this address, write `api_key: os.environ/{present}`"
            self._report.warning("key_not_sent", (*self._path, "api_base"), message, hint)
        return None

    def _check_path(self, configured: str, base: str) -> None:
        parts = urlsplit(base)
        if parts.path.strip("/") or parts.query:
            return
        path = (*self._path, "api_base" if self._params.api_base is not None else "base_url")
        message = "has no path: most servers serve OpenAI's API below /v1"
        hint = f"write {configured.rstrip('/')}/v1, unless this server is different"
        self._report.warning("api_base_without_path", path, message, None if path in self._report.referenced else hint)

    def _missing_base(self) -> None:
        variables = " or ".join(self._provider.base_env)
        message = f"{self._provider.name} has no default address" + (
            f", and {variables} is not set" if variables else ""
        )
        self._report.error("missing_api_base", self._path, message, "add `api_base: https://...`")

    def _is_circle(self, base: str, configured: bool) -> bool:
        """Whether the address is one of gatewayd's own; adds a problem if so."""
        own = self._listeners.reached_by(base)
        if own is None:
            return False
        message, hint = f"leads to gatewayd itself, which listens on {own}", "write the provider's own address"
        path = (*self._path, "api_base" if self._params.api_base is not None else "base_url")
        if not configured:
            path = self._path
            variable = self._set_names(self._provider.base_env)
            message = f"{variable or 'the usual address of ' + self._provider.name} {message}"
            way_out = f"unset {variable} for gatewayd" if variable else "listen elsewhere"
            hint = f"{way_out}, or add `api_base: {self._provider.api_base or 'https://...'}`"
        self._report.error("upstream_is_gatewayd", path, message, hint)
        return True

    def _version(self, base: str | None) -> str | None:
        if self._params.api_version is not None or self._provider.name not in ("azure", "azure_text"):
            return self._params.api_version
        if (version := self._from_environment(("AZURE_API_VERSION",))) is not None:
            return version
        if base is not None and (base.endswith("/openai/v1") or "api-version=" in base):
            return None
        message = f"no api_version is set; litellm's default {_AZURE_DEFAULT_VERSION} is sent"
        hint = "add the version your resource supports, or use the address that ends in /openai/v1"
        self._report.warning("missing_api_version", self._path, message, hint)
        return _AZURE_DEFAULT_VERSION

    def _is_url(self, text: str, configured: bool) -> bool:
        path = (*self._path, "api_base" if self._params.api_base is not None else "base_url")
        if not configured:
            path = self._path
        wrong = url_problem(text)
        if wrong is None:
            return True
        if self._report.failed(path):
            return False
        if not configured:
            variable = self._set_names(self._provider.base_env)
            self._report.error("invalid_url", path, f"{variable} is set: {wrong}", "fix it, unset it, or add api_base")
        elif "${" in text:
            self._report.error("unexpanded_variable", path, wrong, "write the whole address as os.environ/NAME")
        else:
            self._report.error("invalid_url", path, wrong, "write it like https://host/v1")
        return False

    def _from_environment(self, names: tuple[str, ...]) -> str | None:
        found = (self._environ.get(name, "").strip() for name in names)
        return next((text for text in found if text), None)

    def _set_names(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if self._environ.get(name, "").strip()), None)


@cache
def passed_on() -> frozenset[str]:
    """Keys that litellm gets unchanged."""
    return frozenset().union(*listed(LitellmParams, "translated").values())


def _told_by_address(
    params: LitellmParams, parts: tuple[str, str] | None, path: Path, report: Report
) -> tuple[str, str] | None:
    """Provider and model. Without a provider in the model, the address decides, then the name, as in litellm."""
    base = params.api_base or params.base_url
    prefix, slash, _ = params.model.partition("/")
    if params.custom_llm_provider or not base or url_problem(base) or (slash and providers.get(prefix)):
        return parts
    told = hosts.provider_of(base)
    if told is None or (parts is not None and parts[0] == told):
        return parts
    message = f"names no provider; because of the address, gatewayd uses {told}"
    here = (*path, "model")
    written = "NAME" if here in report.referenced else report.quote(here, params.model).strip("'")
    report.warning("provider_from_address", here, message, f"write `model: {told}/{written}`")
    return told, providers.own_name(told, params.model)


def _check_retired(provider: str, model: str, path: Path, report: Report) -> None:
    day = retired(provider, model)
    if day is not None:
        here = (*path, "model")
        message = f"{provider} switched this model off on {day}, according to litellm's price table"
        report.warning("retired_model", here, message, "choose a newer model")


def check_provider(raw: Mapping[str, Any], path: Path, report: Report) -> None:
    """Checks only the provider, for an entry with other errors, so that all its problems are reported together."""
    model, provider = raw.get("model"), raw.get("custom_llm_provider")
    if not isinstance(model, str) or not model or not isinstance(provider, str | None) or raw.get("mock_response"):
        return
    parts = providers.split_model(model, provider)
    if parts is None or providers.get(parts[0]) is None:
        _unknown_provider(model, provider, raw, path, report)


def _unknown_provider(model: str, provider: str | None, raw: Mapping[str, Any], path: Path, report: Report) -> None:
    here = (*path, "custom_llm_provider" if provider else "model")
    if report.failed(here):
        return  # an unresolved reference
    name, slash, _ = (provider or model).partition("/")
    written = "NAME" if here in report.referenced else report.quote(here, model).strip("'")
    has_address = bool(raw.get("api_base") or raw.get("base_url"))
    # With an address the name before the slash is most likely a part of the model's name: meta-llama/..., Qwen/...
    hint = None if here in report.referenced or has_address else report.suggest(name, providers.names())
    if not provider and not slash:
        message = f"can't tell which provider {report.quote(here, name)} belongs to"
        shown = f"openai/{written}" if has_address else "openai/gpt-4o"
        server = ", if the server has OpenAI's API" if has_address else ""
        report.error("unknown_provider", here, message, f"write provider/model, such as {shown}{server}")
        return
    if hint is None:
        hint = "for your own server with OpenAI's API, write `model: openai/NAME` and an api_base"
        if has_address and not provider:
            hint = f"if the server has OpenAI's API, write `model: openai/{written}`"
    report.error("unknown_provider", here, f"there is no provider {report.quote(here, name)}", hint)
