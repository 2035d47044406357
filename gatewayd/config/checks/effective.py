"""What `GET /config` shows: the configuration as it is in force, defaults filled in, secrets as `***`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from gatewayd.config.checks.routes import DEFAULT_MODEL_KEYS
from gatewayd.config.checks.secrecy import redacted, without_userinfo
from gatewayd.config.snapshot import Address, Deployment, RoutingSettings, ServerSettings, Trust
from gatewayd.secret import MASK


def effective_tree(
    written: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    deployments: Sequence[Deployment],
    routing: RoutingSettings,
    server: ServerSettings,
) -> dict[str, Any]:
    """A tree of the file's own form: references as written, every section complete, keys without effect left out.
    `entries`: of `model_list`, one for each deployment."""
    tree: dict[str, Any] = {
        "model_list": [_entry(entry, deployment) for entry, deployment in zip(entries, deployments, strict=True)],
        "router_settings": _routing(routing),
        "general_settings": {
            "master_key": None if server.master_key is None else MASK,
            **{
                key: server.default_models[endpoint.path]
                for key, (endpoint, *_) in DEFAULT_MODEL_KEYS.items()
                if endpoint.path in server.default_models
            },
        },
        "gatewayd": _settings(server),
    }
    for name in ("environment_variables", "credential_list"):
        if written.get(name):
            tree[name] = redacted(written[name], secret=name == "environment_variables")
    return tree


def _entry(entry: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
    shown: dict[str, Any] = redacted(entry)
    params = shown["litellm_params"]
    if deployment.api_base is not None and "api_base" not in params and "base_url" not in params:
        params["api_base"] = without_userinfo(deployment.api_base)
    if deployment.api_key is not None and "api_key" not in params:
        params["api_key"] = MASK
    if deployment.trust != Trust() and "ssl_verify" not in params:
        params["ssl_verify"] = deployment.trust.ca_file or deployment.trust.verify
    info = shown.get("model_info") or {}
    shown["model_info"] = {**info, "id": deployment.id}
    return shown


def _routing(routing: RoutingSettings) -> dict[str, Any]:
    tree = {field.name: getattr(routing, field.name) for field in fields(routing)}
    del tree["fallbacks"], tree["aliases"]
    for kind, groups in routing.fallbacks.items():
        tree[kind.value] = [{group: list(names)} for group, names in groups.items()]
    tree["model_group_alias"] = {
        name: {"model": alias.model, "hidden": alias.hidden} for name, alias in routing.aliases.items()
    }
    return tree


def _settings(settings: Any) -> dict[str, Any]:
    return {
        field.name: _shown(getattr(settings, field.name), field.metadata["none"])
        for field in fields(settings)
        if field.metadata
    }


def _shown(value: Any, none: str | None) -> Any:
    if value is None:
        return none
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, tuple):
        return [_shown(item, None) for item in value]
    return _settings(value) if is_dataclass(value) else value
