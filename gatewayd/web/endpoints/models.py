"""GET /v1/models and GET /v1/models/{model}: the names a client may ask for, in the shape of the API that it speaks.

OpenAI: ListModels, RetrieveModel. Anthropic (with an `anthropic-version` header): List Models, Get a Model. Azure:
Models - List. A pattern (`openai/*`) is listed as the provider's models that litellm's price table knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from gatewayd.config.listing import listed_models
from gatewayd.engine.request import Request
from gatewayd.web.router import Route
from gatewayd.wire.openai import encode

_CREATED: Final = 1_677_610_602
"""Clients need an integer and nobody knows the date: the constant that LiteLLM answers."""
_CREATED_AT: Final = datetime.fromtimestamp(_CREATED, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
_OWNER: Final = "gatewayd"
_NOTE: Final = "models"


async def index(request: Request) -> None:
    names = await _names(request)
    if request.head.headers.get("anthropic-version") is not None:
        entries = [_anthropic(name) for name in names]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        request.send_json(encode({"data": entries, "has_more": False, **ends}))
        return
    request.send_json(encode({"object": "list", "data": [_openai(name) for name in names]}))


async def retrieve(request: Request) -> None:
    model = _asked(request)
    shape: Callable[[str], dict[str, Any]] = _openai
    if request.head.headers.get("anthropic-version") is not None:
        shape = _anthropic
    request.send_json(encode(shape(model)))


async def azure_index(request: Request) -> None:
    names = await _names(request)
    request.send_json(encode({"object": "list", "data": [_azure(name) for name in names]}))


async def azure_retrieve(request: Request) -> None:
    request.send_json(encode(_azure(_asked(request))))


async def _names(request: Request) -> list[str]:
    """Made once per configuration, off the loop: the price table is large."""
    runtime = request.runtime
    names: list[str] | None = runtime.notes.get(_NOTE)
    if names is None:
        names = await asyncio.to_thread(listed_models, runtime.table.names(), runtime.snapshot.deployments)
        runtime.notes[_NOTE] = names
    return names


def _asked(request: Request) -> str:
    """The model that the path names. Raises UnknownModel; a name that a pattern catches exists too."""
    model = request.head.model or ""
    if model not in request.runtime.table.names():
        request.runtime.table.chain(model)
    return model


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": _OWNER}


def _anthropic(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}


def _azure(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "status": "succeeded",
        "created_at": _CREATED,
        "lifecycle_status": "generally-available",
        "capabilities": {"inference": True},
    }


ROUTES = (
    Route("GET", "/models", index),
    Route("GET", "/models/{model}", retrieve),
    Route("GET", "/openai/models", azure_index),
    Route("GET", "/openai/models/{model}", azure_retrieve),
)
