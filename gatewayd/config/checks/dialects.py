"""Third stage, for the APIs that a deployment has: which dialects it is asked in without conversion."""

from __future__ import annotations

from gatewayd.config import providers
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.target import Destination
from gatewayd.config.document import Path
from gatewayd.config.schema.deployment import ModelInfo

_CHAT = ("chat",)


def dialects_of(target: Destination, info: ModelInfo, path: Path, report: Report) -> tuple[str, ...]:
    """The names of the dialects (`wire.dialect.DIALECTS`), from the deployment's `model_info.apis`, else from the table
    of providers. A provider's own APIs are assumed at its own address, and at servers that anyone can run."""
    provider = providers.get(target.provider)
    native = provider.dialects if provider is not None and target.kind != "scripted" else _CHAT
    told = tuple(dict.fromkeys(info.apis or ()))
    if target.kind == "forward":
        foreign = provider is not None and provider.own_host and target.api_base != provider.api_base
        return told or (_CHAT if foreign else native)
    if told and not set(told) <= set(native):
        message = f"has no effect: gatewayd calls {target.provider} by {' and '.join(native)} only"
        report.once("unused_key", (*path, "model_info", "apis"), message)
    return native
