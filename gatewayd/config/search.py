"""The configuration of a command without `--config`: the search order, and a configuration from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from gatewayd.config import providers
from gatewayd.config.tables import table


def candidates(environ: Mapping[str, str]) -> list[str]:
    """The paths of the search, best first. With `$GATEWAYD_CONFIG`, only that path."""
    if named := environ.get("GATEWAYD_CONFIG"):
        return [named]
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return ["gatewayd.yaml", os.path.join(home, "gatewayd", "gatewayd.yaml"), "/etc/gatewayd/gatewayd.yaml"]


def find(named: str | None, environ: Mapping[str, str]) -> str | None:
    """The file to use: `named` or `$GATEWAYD_CONFIG`, even if it does not exist, else the first that exists."""
    if explicit := named or environ.get("GATEWAYD_CONFIG"):
        return explicit
    return next((path for path in candidates(environ) if os.path.exists(path)), None)


def from_environment(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """A configuration that serves every provider whose key is set, as `provider/model`; None when there is no key.

    The keys stay references: no secret is in the result.
    """
    models: list[dict[str, Any]] = []
    for pattern, model, variable in every_model(environ):
        params = {"model": model, "api_key": f"os.environ/{variable}"}
        models.append({"model_name": pattern, "litellm_params": params})
    return {"model_list": models} if models else None


def every_model(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """For every provider whose key is set: the patterns of model names, the provider's models behind them, and the
    key's variable."""
    rows = table("providers")
    for name in rows["environment"].split():
        provider = providers.get(name)
        variable = next((v for v in provider.key_variables(None) if environ.get(v)), None) if provider else None
        if variable is None:
            continue
        for pattern in (*rows["bare_names"].get(name, "").split(), None):
            model = f"{name}/{pattern or '*'}"
            yield pattern or model, model, variable
