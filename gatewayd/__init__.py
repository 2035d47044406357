"""gatewayd: a local OpenAI-compatible LLM gateway; one YAML file, edited live.

The names below are the Python helpers (docs/python.md). They are loaded when they are first used: importing the
package itself costs next to nothing, and loads no web server, no provider SDK and no data models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gatewayd._version import __version__

if TYPE_CHECKING:
    from gatewayd.client.config import GatewayConfig
    from gatewayd.client.functions import (
        batch_generate,
        batch_generate_async,
        configure_gateway,
        create_gateway,
        generate_embeddings,
        generate_embeddings_async,
        generate_text,
        generate_text_async,
        stream_text,
        stream_text_async,
    )
    from gatewayd.client.gateway import Health, LiteLLMGateway
    from gatewayd.config.problems import Problem
    from gatewayd.config.result import Result
    from gatewayd.config.snapshot import Snapshot
    from gatewayd.config.validator import ConfigValidator
    from gatewayd.errors import ConfigInvalid, ConfigurationError, GatewaydError

__all__ = [
    "ConfigInvalid",
    "ConfigValidator",
    "ConfigurationError",
    "GatewayConfig",
    "GatewaydError",
    "Health",
    "LiteLLMGateway",
    "Problem",
    "Result",
    "Snapshot",
    "__version__",
    "batch_generate",
    "batch_generate_async",
    "configure_gateway",
    "create_gateway",
    "generate_embeddings",
    "generate_embeddings_async",
    "generate_text",
    "generate_text_async",
    "stream_text",
    "stream_text_async",
]

_HOMES = {
    "ConfigInvalid": "gatewayd.errors",
    "ConfigValidator": "gatewayd.config.validator",
    "ConfigurationError": "gatewayd.errors",
    "GatewayConfig": "gatewayd.client.config",
    "GatewaydError": "gatewayd.errors",
    "Health": "gatewayd.client.gateway",
    "LiteLLMGateway": "gatewayd.client.gateway",
    "Problem": "gatewayd.config.problems",
    "Result": "gatewayd.config.result",
    "Snapshot": "gatewayd.config.snapshot",
}


if not TYPE_CHECKING:  # a type checker would take it for a promise that every name exists

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'gatewayd' has no attribute '{name}'")
        value = getattr(importlib.import_module(_HOMES.get(name, "gatewayd.client.functions")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
