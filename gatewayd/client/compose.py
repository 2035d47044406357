"""From "these providers, this model, these keys" to a `GatewayConfig`.

What litellm knows of providers and models is asked of `gatewayd.config.providers`, which reads litellm's data files.
Nothing is opened or called. A key from the environment becomes a reference in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gatewayd.client import arguments
from gatewayd.client.config import FallbackNames, GatewayConfig, fallback_names
from gatewayd.config import providers as known
from gatewayd.errors import ConfigurationError
from gatewayd.suggest import nearest

_REFERENCE = "os.environ/"
_ARGUMENTS = {
    "api_bases", "api_key", "api_keys", "base_url", "default_model", "fallbacks", "max_retries", "providers",
    "retry_delay", "timeout",
}  # fmt: skip
"""Those of `create_gateway`."""
_COMMON = ("openai", "anthropic", "gemini", "azure", "groq", "mistral", "deepseek", "openrouter", "ollama")


def compose(
    providers: object,
    default_model: str | None,
    api_keys: object,
    *,
    fallbacks: FallbackNames | None = None,
    api_bases: object = None,
    environ: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
    **limits: Any,
) -> GatewayConfig:
    """The configuration for `create_gateway`. Raises ConfigurationError.

    The default model and every fallback become groups under the names given; `provider/*` reaches everything else a
    provider has, and with a single provider so does `*`. `options` are keys of `router_settings` or
    `litellm_settings`; `limits` are GatewayConfig's timeout, max_retries and retry_delay.
    """
    keys = {} if api_keys is None else arguments.check_texts("api_keys", api_keys, "keys")
    bases = {} if api_bases is None else arguments.check_texts("api_bases", api_bases, "URLs")
    for what, named in (("api_keys", keys), ("api_bases", bases)):
        for name in named:
            _known_provider(f"{what}.{name}", name)
    chosen = list(keys | bases) if providers is None else arguments.check_names("providers", providers)
    for index, name in enumerate(chosen):
        _known_provider(f"providers[{index}]", name)
    if not chosen:
        raise ConfigurationError(
            "no provider is given",
            config_key="providers",
            invalid_value=chosen,
            suggestion="create_gateway(providers=['openai'], default_model='gpt-5.5', api_keys={'openai': ...})",
        )
    access = {name: _access(name, keys.get(name), bases.get(name), environ) for name in chosen}
    wanted = [] if default_model is None else [arguments.check_name("default_model", default_model)]
    groups = {}
    for key, model in [("default_model", m) for m in wanted] + [("fallbacks", m) for m in fallback_names(fallbacks)]:
        groups[model] = "/".join(_serving(key, model, access))
    patterns = {f"{name}/*": f"{name}/*" for name in chosen}
    if len(chosen) == 1:
        patterns["*"] = f"{chosen[0]}/*"
    settings = _sections(options or {})
    # One deployment serves each group, so taking it out of service after failures would only turn waits into errors.
    if not settings["router_settings"].keys() & {"cooldown_time", "allowed_fails", "disable_cooldowns"}:
        settings["router_settings"]["disable_cooldowns"] = True
    if default_model is not None and isinstance(fallbacks, Sequence) and all(isinstance(f, str) for f in fallbacks):
        # Not for every group: an embedding that fails must not be answered by a chat model's refusal.
        fallbacks = {default_model: [name for name in fallback_names(fallbacks) if name != default_model]}
    return GatewayConfig(
        [
            {"model_name": group, "litellm_params": {"model": model, **access[model.partition("/")[0]]}}
            for group, model in (groups | patterns).items()
        ],
        fallbacks,
        default_model=default_model,
        router_settings=settings["router_settings"],
        litellm_settings=settings["litellm_settings"],
        **limits,
    )


def complete(
    model_list: Sequence[Mapping[str, Any]], fallbacks: FallbackNames | None, *, environ: Mapping[str, str]
) -> list[dict[str, Any]]:
    """`model_list` and a group for every fallback it lacks, if litellm knows whose model that is.

    Such a group gets its provider's key and address from the first entry of the same provider; without one, the
    validator takes them from the environment. Raises ConfigurationError if the key is not there.
    """
    entries = [dict(entry) for entry in model_list]
    groups = {entry.get("model_name") for entry in entries}
    donors: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        params = entry.get("litellm_params")
        if isinstance(params, Mapping) and (found := known.split_model(str(params.get("model")))) is not None:
            donors.setdefault(found[0], params)
    for name in fallback_names(fallbacks):
        found = None if name in groups else known.split_model(name)
        if found is not None and found[0] not in donors:
            found = _owner(name)
        if found is not None:
            donor = donors.get(found[0])
            if donor is None:
                donor = {}
                _key_in_environment(name, known.get(found[0]), environ)
            shared = {key: donor[key] for key in ("api_key", "api_base", "api_version", "organization") if key in donor}
            entries.append({"model_name": name, "litellm_params": {"model": "/".join(found), **shared}})
            groups.add(name)
    return entries


def known_provider(model: str) -> known.Provider | None:
    """The provider of a model; None if it is not known."""
    found = _owner(model)
    return None if found is None else known.get(found[0])


def _owner(model: str) -> tuple[str, str] | None:
    """As `providers.split_model`, except for Gemini models without a prefix: litellm takes them for Vertex AI's, which
    needs a Google Cloud project, and a name without a provider means the API that needs a key only."""
    found = known.split_model(model)
    is_vertex = found is not None and found[0].startswith("vertex_ai") and "/" not in model
    return ("gemini", model) if is_vertex and known.catalogue("gemini", model) is not None else found


def key_in(provider: known.Provider, environ: Mapping[str, str]) -> str | None:
    """The name of the variable that holds the provider's key in `environ`; None if there is none."""
    return next((name for name in provider.key_env if environ.get(name, "").strip()), None)


def _key_in_environment(fallback: str, provider: known.Provider | None, environ: Mapping[str, str]) -> None:
    if provider is not None and provider.needs_key and key_in(provider, environ) is None:
        raise ConfigurationError(
            f"there is no API key for the fallback '{fallback}' of {provider.name}",
            config_key="fallbacks",
            invalid_value=fallback,
            suggestion=f"add an entry for it to model_list, or set {' or '.join(provider.key_env)}",
        )


def _known_provider(key: str, name: str) -> None:
    if known.get(name) is not None:
        return
    close = nearest(name, known.names()) or nearest(name.lower(), known.names())
    raise ConfigurationError(
        f"{key}: litellm knows no provider '{name}'",
        config_key=key,
        invalid_value=name,
        valid_options=sorted(known.names()),
        suggestion=f"did you mean '{close}'?" if close else f"common ones: {', '.join(_COMMON)}",
    )


def _access(name: str, key: str | None, base: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Key and address of a provider, as `litellm_params` have them."""
    provider = known.get(name)
    assert provider is not None
    access: dict[str, str] = {}
    if base is not None:
        access["api_base"] = arguments.check_upstream_url(f"api_bases.{name}", base)
    elif (variable := next((v for v in provider.base_env if environ.get(v, "").strip()), None)) is not None:
        access["api_base"] = _REFERENCE + variable
    elif provider.kind == "forward" and provider.api_base is None:
        variables = "".join(f" or set {v}" for v in provider.base_env)
        raise ConfigurationError(
            f"{name} has no default address, and none is given",
            config_key=f"api_bases.{name}",
            suggestion=f"pass api_bases={{'{name}': 'http://...'}}{variables}",
        )
    if key is not None:
        access["api_key"] = key
    elif provider.key_variables(base) and (variable := key_in(provider, environ)) is not None:
        access["api_key"] = _REFERENCE + variable
    elif provider.needs_key and base is None:
        variables = " or ".join(provider.key_env)
        raise ConfigurationError(
            f"there is no API key for {name}",
            config_key=f"api_keys.{name}",
            suggestion=f"pass api_keys={{'{name}': ...}}" + (f", or set {variables}" if variables else ""),
        )
    return access


def _serving(key: str, model: str, access: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    """Which of the chosen providers serves a model, and the model's name there."""
    found = known.split_model(model)
    if found is not None and found[0] in access:
        return found
    prefixed = found is not None and model.startswith(f"{found[0]}/")
    if not prefixed:
        listed = [name for name in access if known.catalogue(name, model) is not None]
        # A server that anyone can run has models of any name.
        listed += [name for name, given in access.items() if "api_base" in given or not _is_service(name)]
        if listed:
            return listed[0], model
    chosen = ", ".join(access)
    if found is None:
        raise ConfigurationError(
            f"{key}: litellm knows no model '{model}' of {chosen}",
            config_key=key,
            invalid_value=model,
            valid_options=_models(access) or None,
            suggestion=f"{_similar(model, access)}to use it as it is, write '{next(iter(access))}/{model}'",
        )
    found = _owner(model) or found
    owner = known.get(found[0])
    variables = " or ".join(owner.key_env) if owner is not None else ""
    raise ConfigurationError(
        f"{key}: '{model}' is served by {found[0]}, which is not among the providers ({chosen})",
        config_key=key,
        invalid_value=model,
        valid_options=_models(access) or None,
        suggestion=f"add '{found[0]}' to providers, with its key in api_keys{f' or {variables}' if variables else ''}",
    )


def _is_service(name: str) -> bool:
    provider = known.get(name)
    return provider is not None and provider.own_host


def _models(access: Mapping[str, Any]) -> list[str]:
    return sorted({model for name in access for model in known.models(name)})


def _similar(model: str, access: Mapping[str, Any]) -> str:
    """Only a question: a model may be newer than litellm's list."""
    close = nearest(model, _models(access))
    return f"did you mean '{close}'? If not, " if close else ""


def _sections(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Further keyword arguments, each in the section of the file that has such a key."""
    from gatewayd.config.schema.base import unused
    from gatewayd.config.schema.litellm import LitellmSettings
    from gatewayd.config.schema.router import RouterSettings

    taken = {"num_retries", "retry_after", "timeout", "fallbacks", "default_fallbacks", "request_timeout"}
    sections: dict[str, dict[str, Any]] = {"router_settings": {}, "litellm_settings": {}}
    options_known = (RouterSettings.model_fields.keys() | LitellmSettings.model_fields.keys()) - taken
    for name, value in options.items():
        if name not in options_known:
            table = unused(RouterSettings).get(name) or unused(LitellmSettings).get(name)
            names = options_known | _ARGUMENTS
            close = nearest(name, names) or next(
                (n for n in sorted(names) if n.startswith(name[:-1]) and name[5:]), None
            )
            raise ConfigurationError(
                f"create_gateway has no option '{name}'" + (f": {table[1]}" if table else ""),
                config_key=name,
                valid_options=sorted(options_known),
                suggestion=f"did you mean '{close}'?"
                if close
                else "options are keys of router_settings or "
                "litellm_settings (docs/configuration.md); for other settings use a GatewayConfig or a file",
            )
        section = "router_settings" if name in RouterSettings.model_fields else "litellm_settings"
        sections[section][name] = value
    return sections
