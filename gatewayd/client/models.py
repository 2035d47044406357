"""What a call names as its model, and which names a private daemon must not be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai import omit

from gatewayd.client.config import GatewayConfig
from gatewayd.errors import ConfigurationError


def to_name(config: GatewayConfig | None, default: str | None, model: str | None) -> Any:
    """The model to send, given the call's model; openai's `omit` lets the daemon decide.

    A private daemon (`config`) reaches its providers by any name that is known to be theirs. Raises ConfigurationError
    for a call without any model, and for a model of another provider.
    """
    if model is None:
        if default is None and config is not None and not config.is_file:
            raise ConfigurationError(
                "this call has no model, and the gateway has no default_model",
                config_key="default_model",
                suggestion="pass model=..., or create the gateway with default_model=...",
            )
        return omit if default is None else default
    if config is None or model in config.groups:
        return model
    from gatewayd.config.providers import split_model

    found = split_model(model)
    if found is not None and f"{found[0]}/*" in config.groups:
        return "/".join(found)
    if found is not None and model.startswith(f"{found[0]}/"):
        _check_provider(config, found[0], model)
    return model


def _check_provider(config: GatewayConfig, provider: str, model: str) -> None:
    """Refuses `provider/name` where only the pattern `*` of another provider would take it, which has no such names."""
    from gatewayd.config import providers

    entry = next((entry for entry in config.model_list if entry.get("model_name") == "*"), None)
    params = entry.get("litellm_params") if entry is not None else None
    if not isinstance(params, Mapping) or "api_base" in params:
        return
    target, _, _ = str(params.get("model")).partition("/")
    known = providers.models(target)
    if any(name.startswith(f"{provider}/") for name in (*config.groups, *known)) or not known:
        return
    raise ConfigurationError(
        f"'{model}' is a model of {provider}, and this gateway serves {target} only",
        config_key="model",
        invalid_value=model,
        suggestion=f"add '{provider}' to providers, with its key in api_keys",
    )
