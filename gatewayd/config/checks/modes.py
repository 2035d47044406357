"""Third stage, for the kind of a model: finds deployments that no endpoint of gatewayd serves yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatewayd.config import providers
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.target import Destination
from gatewayd.config.document import Path

RESPONSES_MODE = "responses"
"""Of models that have only the Responses API."""
_UNSERVED = {
    "video_generation": "generates videos",
    "realtime": "is available only in the Realtime API",
    "ocr": "reads documents",
    "search": "searches the web",
}
"""litellm's modes that gatewayd has no endpoint for → what a model of that mode does."""
_ONLY_FORWARDED = {
    "image_generation": "generates images",
    "image_edit": "edits images",
    "audio_transcription": "transcribes audio",
    "audio_speech": "generates speech",
    "rerank": "reranks documents",
    "moderation": "classifies texts for moderation",
}
"""The same for modes whose endpoints serve deployments only that are called by OpenAI's API."""
_RERANKERS = {
    "cohere": "https://api.cohere.com/v2",
    "jina_ai": "https://api.jina.ai/v1",
    "voyage": "https://api.voyageai.com/v1",
}
"""Translated providers whose own `/rerank` is called as OpenAI's endpoints are → its base URL."""
_CONVERSING = frozenset({"", "chat", "responses"})
"""Modes of models that answer conversations."""
_UNSERVED_PROVIDERS = {
    "langfuse": "takes its prompt from Langfuse",
    "humanloop": "takes its prompt from Humanloop",
    "auto_router": "chooses another model by the prompt",
}
"""Names that litellm's router gives a meaning to, without being providers → what such a model does."""
RESPONSES_PREFIX = "responses/"
"""litellm's way of asking for the Responses API in the model's name."""


def unserved(target: Destination, info: Mapping[str, Any], mode: str, path: Path, report: Report) -> str:
    """What the deployment's model does, if no endpoint serves that; else "". `info`: `model_info` as written."""
    if target.kind == "scripted":
        return ""
    written = info.get("mode")
    place: Path = (*path, "litellm_params", "model")
    if isinstance(written, str) and mode == written:
        place = (*path, "model_info", "mode")
    what = _UNSERVED_PROVIDERS.get(target.provider) or _UNSERVED.get(mode, "")
    if target.kind == "translate":
        what = what or _ONLY_FORWARDED.get(mode, "")
    if what:
        message = f"no endpoint serves this model yet: it {what}"
        report.warning(
            "unserved_model", place, message, "requests for it get an error, and GET /v1/models does not list it"
        )
    return what


def as_called(target: Destination, info: Any) -> Destination:
    """The same, but that a model that reranks is called by its provider's own API, and one of Gemini's that does not
    converse by litellm. `info`: `model_info` as written."""
    written = info if isinstance(info, Mapping) else {}
    if target.provider == "gemini" and target.kind == "forward":
        return target if mode_of(target, written, own_address=False) in _CONVERSING else _translated(target)
    base = _RERANKERS.get(target.provider)
    if base is None or target.kind != "translate":
        return target
    if mode_of(target, written, own_address=False) != "rerank":
        return target
    return replace(target, kind="forward", api_base=(target.api_base or base).removesuffix("/rerank"))


def _translated(target: Destination) -> Destination:
    """The same, called by litellm, which knows the provider's own address."""
    provider = providers.get(target.provider)
    own = provider is not None and target.api_base == provider.api_base
    return replace(target, kind="translate", api_base=None if own else target.api_base)


def catalogued(target: Destination, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The price table's entry for the deployment's model."""
    base = info.get("base_model")
    name = base.removeprefix(f"{target.provider}/") if isinstance(base, str) else target.model
    return None if "*" in name else providers.catalogue(target.provider, name.removeprefix(RESPONSES_PREFIX))


def mode_of(target: Destination, info: Mapping[str, Any], own_address: bool) -> str:
    """litellm's mode of the deployment's model; "" for chat, and where nothing tells it.

    `own_address`: whether the deployment sets an address, because the price table then says nothing about its models.
    """
    if target.kind == "scripted":
        return ""
    if target.model.startswith(RESPONSES_PREFIX):
        return RESPONSES_MODE
    written = info.get("mode")
    if isinstance(written, str):
        return written
    entry = catalogued(target, info)
    if entry is None or "/v1/chat/completions" in (entry.get("supported_endpoints") or ()):
        return ""
    mode = str(entry.get("mode"))
    return "" if own_address and mode == RESPONSES_MODE else mode
