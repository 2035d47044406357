"""Third stage, for the APIs that a deployment has: which dialects it is asked in without conversion."""

from __future__ import annotations

from gatewayd.config import providers
from gatewayd.config.checks.modes import RESPONSES_MODE
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.target import Destination
from gatewayd.config.document import Path
from gatewayd.config.schema.deployment import ModelInfo

_CHAT = ("chat",)
_ONLY_RESPONSES = ("responses",)
_AZURE_RESPONSES = "2025-03-01"
"""The first version of Azure's API that has the Responses API."""


def dialects_of(target: Destination, mode: str, info: ModelInfo, path: Path, report: Report) -> tuple[str, ...]:
    """The names of the dialects (`wire.dialect.DIALECTS`), from the deployment's `model_info.apis`, else from the mode
    of its model and the table of providers. A provider's own APIs are assumed at its own address, and at servers that
    anyone can run."""
    provider = providers.get(target.provider)
    native = provider.dialects if provider is not None and target.kind != "scripted" else _CHAT
    told = tuple(dict.fromkeys(info.apis or ()))
    if target.kind == "forward":
        foreign = provider is not None and provider.own_host and target.api_base != provider.api_base
        usual = _ONLY_RESPONSES if mode == RESPONSES_MODE else _CHAT if foreign or _is_old_azure(target) else native
        return told or usual
    if told and not set(told) <= set(native):
        message = f"has no effect: gatewayd calls {target.provider} by {' and '.join(native)} only"
        report.once("unused_key", (*path, "model_info", "apis"), message)
    return native


def _is_old_azure(target: Destination) -> bool:
    version = target.api_version or ""
    return target.provider == "azure" and version[:1].isdigit() and version < _AZURE_RESPONSES
