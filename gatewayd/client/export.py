"""A configuration tree as the text of a file, its keys replaced by references to environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from gatewayd.config import providers
from gatewayd.config.checks.secrecy import is_secret_name, without_userinfo
from gatewayd.config.secrets import is_reference, looks_like_a_key

_REFERENCE = "os.environ/"


def as_yaml(tree: Mapping[str, Any], *, include_keys: bool = False) -> str:
    """The file's text. Without `include_keys` every secret becomes `os.environ/NAME`, and a comment lists the names.

    A provider's key gets the provider's own variable; two different secrets never share a name, nor does a secret take
    the name of a variable that the tree itself relies on.
    """
    if include_keys:
        head = ["# Contains keys: keep it readable only for its owner (chmod 600)."]
        shown: Any = tree
    else:
        variables = _Variables(set(_relied_on(tree)))
        shown = _referenced(tree, (), variables, False)
        head = [f"# Set before use: {', '.join(sorted(variables.names))}"] if variables.names else []
    body = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    return "\n".join([*head, body])


class _Variables:
    """Names given to secrets so far; `taken` belong to others."""

    def __init__(self, taken: set[str]) -> None:
        self.names: dict[str, str] = {}
        self._taken = taken

    def name(self, wish: str, text: str) -> str:
        name, number = wish, 1
        while name in self._taken or self.names.setdefault(name, text) != text:
            number += 1
            name = f"{wish}_{number}"
        return name


def _referenced(value: Any, path: tuple[str, ...], variables: _Variables, secret: bool) -> Any:
    if isinstance(value, Mapping):
        provider = _provider(value)
        return {
            name: _referenced(
                inner,
                (*path, provider or "", str(name)),
                variables,
                secret or is_secret_name(str(name)),
            )
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_referenced(inner, path, variables, secret) for inner in value]
    if not isinstance(value, str) or not value or is_reference(value):
        return value
    if not (secret or looks_like_a_key(value) or without_userinfo(value) != value):
        return value
    return f"{_REFERENCE}{variables.name(_wish(path), value)}"


def _relied_on(value: Any) -> Iterator[str]:
    """Variables whose values are not in the tree: those it refers to, and those of deployments without a key."""
    if isinstance(value, Mapping):
        name = _provider(value)
        provider = None if name is None or "api_key" in value else providers.get(name)
        base = value.get("api_base")
        yield from () if provider is None else provider.key_variables(base if isinstance(base, str) else None)
        for inner in value.values():
            yield from _relied_on(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _relied_on(inner)
    elif isinstance(value, str) and value.startswith(_REFERENCE):
        yield value.removeprefix(_REFERENCE)


def _provider(params: Mapping[Any, Any]) -> str | None:
    """The provider of a `litellm_params` mapping; None for any other one."""
    model = params.get("model")
    if not isinstance(model, str):
        return None
    custom = params.get("custom_llm_provider")
    found = providers.split_model(model, custom if isinstance(custom, str) else None)
    return None if found is None else found[0]


def _wish(path: tuple[str, ...]) -> str:
    name = path[-1]
    if name == "api_key":
        provider = providers.get(path[-2])
        if provider is not None and provider.key_env:
            return provider.key_env[0]
        name = f"{path[-2] or 'provider'}_api_key"
    wish = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    return wish if wish and not wish[0].isdigit() else f"KEY_{wish}"
