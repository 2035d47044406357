"""Third stage, for what a deployment can do: the APIs that it is called by without conversion, and what is known of its
model where a request must be converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewayd.config import providers
from gatewayd.config.checks.modes import RESPONSES_MODE, catalogued, mode_of, unserved
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.target import Destination
from gatewayd.config.document import Path
from gatewayd.config.schema.deployment import ModelEntry, ModelInfo

_CHAT = ("chat",)
_ONLY_RESPONSES = ("responses",)
_AZURE_RESPONSES = "2025-03-01"
"""The first version of Azure's API that has the Responses API."""


_ABILITIES = frozenset(
    {
        "supports_reasoning", "supports_adaptive_thinking", "supports_mid_conversation_system",
        "supports_response_schema", "supports_native_structured_output", "supports_sampling_params",
        "supports_prompt_caching", "max_output_tokens",
    }
)  # fmt: skip
"""Keys of litellm's price table and of `model_info` that decide how a request is converted."""


@dataclass(frozen=True, slots=True)
class ServedApis:
    """See the fields of `Deployment` with these names."""

    dialects: tuple[str, ...]
    unserved: str
    abilities: Mapping[str, bool | int]


def served(entry: ModelEntry, info: Any, target: Destination, path: Path, report: Report) -> ServedApis:
    """What the deployment can do. `info`: `model_info` as written."""
    written = info if isinstance(info, Mapping) else {}
    named = entry.litellm_params.api_base or entry.litellm_params.base_url
    own_address = bool(named) and target.provider != "azure"  # every Azure resource has its own address
    mode = mode_of(target, written, own_address)
    provider = providers.get(target.provider)
    anyones = own_address and provider is not None and _CHAT[0] in provider.dialects  # its names may mean anything
    known = {} if anyones or target.kind == "scripted" else catalogued(target, written) or {}
    return ServedApis(
        _dialects(target, mode, entry.model_info, path, report),
        unserved(target, written, mode, path, report),
        {name: value for name, value in {**known, **written}.items() if name in _ABILITIES and isinstance(value, int)},
    )


def _dialects(target: Destination, mode: str, info: ModelInfo, path: Path, report: Report) -> tuple[str, ...]:
    """The names of the dialects, from the deployment's `model_info.apis`, else from the mode
    of its model and the table of providers. A provider's own APIs are assumed at its own address, and at servers that
    anyone can run."""
    provider = providers.get(target.provider)
    native = provider.dialects if provider is not None and target.kind != "scripted" else _CHAT
    if target.kind == "translate":
        native = tuple(dict.fromkeys((*_CHAT, *native)))
    told = tuple(dict.fromkeys(info.apis or ()))
    if target.kind == "forward":
        foreign = provider is not None and provider.own_host and target.api_base != provider.api_base
        reduced = native[:1] if foreign or _is_old_azure(target) else native
        usual = _ONLY_RESPONSES if mode == RESPONSES_MODE else reduced
        return told or usual
    if told and not set(told) <= set(native):
        message = f"has no effect: gatewayd calls {target.provider} by {' and '.join(native)} only"
        report.once("unused_key", (*path, "model_info", "apis"), message)
    return native


def _is_old_azure(target: Destination) -> bool:
    version = target.api_version or ""
    return target.provider == "azure" and version[:1].isdigit() and version < _AZURE_RESPONSES
