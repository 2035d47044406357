"""`GatewayConfig`: what a private daemon runs on, as a value; written by code where others write a YAML file.

It is the file's content in a handier shape, so it is validated by the file's `ConfigValidator` and by nobody else;
here only types and ranges of its own few fields are checked. It holds keys: its `repr` shows none.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatewayd.client import arguments
from gatewayd.client.requirements import all_requirements
from gatewayd.errors import ConfigurationError

FallbackNames = Sequence[str] | Sequence[Mapping[str, Sequence[str]]] | Mapping[str, Sequence[str]]
"""`["a", "b"]`: for every group. `{"x": ["a", "b"]}` or `[{"x": ["a", "b"]}]`: for group x."""


@dataclass(frozen=True, repr=False)
class GatewayConfig:
    """Model groups and how they are called. Raises ConfigurationError for a wrong type or range.

    The keys of `model_list`, `router_settings` and `litellm_settings` are those of the file (docs/configuration.md).
    Everything is copied on the way in: changing what was handed over changes nothing here.
    """

    model_list: Sequence[Mapping[str, Any]]
    """Entries as in the file: `{"model_name": ..., "litellm_params": {"model": ..., "api_key": ...}}`."""
    fallbacks: FallbackNames | None = None
    """Groups tried when a group fails; each must be in `model_list`."""
    timeout: float = 60.0
    """Seconds for one try, 1 to 300; for a stream up to its first event, and for each silence after it. All tries
    together end after 600 s."""
    max_retries: int = 3
    """Further tries in the same group, 0 to 10."""
    retry_delay: float = 1.0
    """Least number of seconds between two tries of the same deployment, 0.1 to 60."""
    default_model: str | None = None
    """Group for calls without a model. Default: the first group of `model_list` that is not a pattern."""
    router_settings: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the file's `router_settings`."""
    litellm_settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the file's `litellm_settings`."""
    _file: Mapping[str, Any] | None = field(default=None, init=False)
    """All of the file, if it was read from one."""

    def __post_init__(self) -> None:
        own = {
            "model_list": _entries(self.model_list),
            "fallbacks": _fallbacks(self.fallbacks),
            "timeout": arguments.check_seconds("timeout", self.timeout, arguments.TIMEOUT),
            "max_retries": arguments.check_count("max_retries", self.max_retries, arguments.MAX_RETRIES),
            "retry_delay": arguments.check_seconds("retry_delay", self.retry_delay, arguments.RETRY_DELAY),
            "router_settings": _settings("router_settings", self.router_settings),
            "litellm_settings": _settings("litellm_settings", self.litellm_settings),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)
        if self.default_model is None:
            object.__setattr__(self, "default_model", next((g for g in self.groups if "*" not in g), None))
        else:
            arguments.check_name("default_model", self.default_model)

    def __repr__(self) -> str:
        return (
            f"GatewayConfig(groups={self.groups!r}, fallbacks={self.fallbacks!r}, timeout={self.timeout!r}, "
            f"max_retries={self.max_retries!r}, retry_delay={self.retry_delay!r}, default_model={self.default_model!r})"
        )

    @property
    def groups(self) -> list[str]:
        """Names of the model groups, patterns included, in order."""
        names = (entry.get("model_name") for entry in self.model_list)
        return list(dict.fromkeys(name for name in names if isinstance(name, str)))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> GatewayConfig:
        """The daemon's own file, for a private daemon. Raises ConfigurationError with all its problems.

        Its sections hold as they are, except the master key, the keys of clients and the listeners: a private daemon
        has a key and a port of its own. The file is read now and not again.
        """
        with all_requirements():
            from gatewayd.client.fromfile import read_tree

        tree = read_tree(path)
        general = tree.get("general_settings") or {}
        config = cls(tree.get("model_list") or [], default_model=general.get("completion_model"))
        object.__setattr__(config, "_file", tree)
        return config

    @property
    def is_file(self) -> bool:
        """Whether it was read from a file."""
        return self._file is not None

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, keys in clear: a new plain tree."""
        if self._file is not None:
            return copy.deepcopy(dict(self._file))
        router: dict[str, Any] = {
            "num_retries": self.max_retries,
            "retry_after": self.retry_delay,
            "timeout": self.timeout,
        }
        if isinstance(self.fallbacks, Mapping):
            router["fallbacks"] = [{group: list(names)} for group, names in self.fallbacks.items()]
        elif self.fallbacks:
            router["default_fallbacks"] = list(self.fallbacks)
        tree: dict[str, Any] = {
            "model_list": copy.deepcopy(list(self.model_list)),
            "router_settings": router | copy.deepcopy(dict(self.router_settings)),
        }
        if self.litellm_settings:
            tree["litellm_settings"] = copy.deepcopy(dict(self.litellm_settings))
        if self.default_model is not None:
            tree["general_settings"] = {"completion_model": self.default_model}
        return tree

    def to_yaml(self, *, include_keys: bool = False) -> str:
        """The file, as text. `gatewayd check` accepts it and `gatewayd run` runs it.

        Keys are written as references to environment variables, which its first lines name; with `include_keys` they
        are written out, and the file is then as secret as they are.
        """
        with all_requirements():
            from gatewayd.client.export import as_yaml

        return as_yaml(self.to_dict(), include_keys=include_keys)


def fallback_names(fallbacks: FallbackNames | None) -> Iterator[str]:
    """Every group that is a fallback of some group, in order."""
    normal = _fallbacks(fallbacks)
    yield from (name for names in normal.values() for name in names) if isinstance(normal, dict) else normal


def _entries(model_list: object) -> list[dict[str, Any]]:
    if isinstance(model_list, str | bytes | Mapping) or not isinstance(model_list, Sequence):
        raise ConfigurationError(
            f"model_list must be a list of entries, not {type(model_list).__name__}",
            config_key="model_list",
            suggestion="[{'model_name': 'gpt-5.5', 'litellm_params': {'model': 'openai/gpt-5.5', 'api_key': ...}}]",
        )
    for index, entry in enumerate(model_list):
        if not isinstance(entry, Mapping):
            raise ConfigurationError(
                f"model_list[{index}] must be a mapping, not {type(entry).__name__}", config_key=f"model_list[{index}]"
            )
    return [copy.deepcopy(dict(entry)) for entry in model_list]


def _settings(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{key} must be a mapping, not {type(value).__name__}", config_key=key)
    return copy.deepcopy(dict(value))


def _fallbacks(value: object) -> list[str] | dict[str, list[str]]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return {
            arguments.check_name("fallbacks", k): arguments.check_names(f"fallbacks.{k}", v) for k, v in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Mapping) for item in value):
        joined: dict[str, list[str]] = {}
        for item in value:
            lists = _fallbacks(item if isinstance(item, Mapping) else {"*": [item]})
            if isinstance(lists, dict):
                for group, names in lists.items():
                    joined[group] = list(dict.fromkeys([*joined.get(group, []), *names]))
        return joined
    return arguments.check_names("fallbacks", value)
