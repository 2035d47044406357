"""GET /v1/models and GET /v1/models/{model} (OpenAI: ListModels, RetrieveModel): the groups a client may name."""

from __future__ import annotations

from typing import Any

from gatewayd.web.exchange import Exchange, Route
from gatewayd.wire.openai import encode

_CREATED = 1_677_610_602
"""Clients need an integer and nobody knows the date: the constant that LiteLLM answers."""
_OWNER = "gatewayd"


async def index(exchange: Exchange) -> None:
    exchange.send_json(encode({"object": "list", "data": [_entry(name) for name in exchange.table.names()]}))


async def retrieve(exchange: Exchange) -> None:
    model = exchange.inbound.model or ""
    if model not in exchange.table.names():
        exchange.table.chain(model)  # a name that a pattern catches exists too; raises UnknownModel
    exchange.send_json(encode(_entry(model)))


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": _OWNER}


ROUTES = (
    Route("GET", "/models", index),
    Route("GET", "/models/{model}", retrieve),
)
