"""A configuration file as a tree that means the same anywhere: for a private daemon, which has no file of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gatewayd.client.embedded import as_configuration_error
from gatewayd.config import source
from gatewayd.config.overrides import Overrides
from gatewayd.config.validator import ConfigValidator
from gatewayd.errors import ConfigInvalid

_FILE = "file:"


def read_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tree, its includes merged; references stay references. Raises ConfigurationError with all problems."""
    try:
        ConfigValidator(overrides=Overrides(serves=False)).validate(path)
    except ConfigInvalid as error:
        raise as_configuration_error(error) from None
    document = source.read(path)
    tree: dict[str, Any] = _anchored(document.tree, document.directory)
    return tree


def _anchored(value: Any, folder: str) -> Any:
    """References to files begin at the configuration's folder, which a tree does not have."""
    if isinstance(value, Mapping):
        return {str(name): _anchored(inner, folder) for name, inner in value.items() if name != "include"}
    if isinstance(value, list):
        return [_anchored(inner, folder) for inner in value]
    if isinstance(value, str) and value.startswith(_FILE):
        return _FILE + os.path.join(folder, value.removeprefix(_FILE))
    return value
