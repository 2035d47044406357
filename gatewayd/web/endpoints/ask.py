"""The endpoints that ask a model (`wire.dialect.ENDPOINTS`), those of OpenAI under Azure's paths too."""

from __future__ import annotations

from collections.abc import Iterator

from gatewayd.web.exchange import Exchange, Route
from gatewayd.wire.dialect import ENDPOINTS, RERANK, Endpoint


def _routes(endpoint: Endpoint) -> Iterator[Route]:
    async def create(exchange: Exchange) -> None:
        await exchange.ask_model(endpoint)

    for prefix in ("", endpoint.azure) if endpoint.azure else ("",):
        query = f"?{endpoint.query}" if endpoint.query else ""
        yield Route("POST", f"{prefix}/{endpoint.path}{query}", create, "model", endpoint)


async def _rerank(exchange: Exchange) -> None:
    await exchange.ask_model(RERANK)


ROUTES = (
    *(route for endpoint in ENDPOINTS for route in _routes(endpoint)),
    Route("POST", "/v2/rerank", _rerank, "model", RERANK),  # Cohere's clients
)
