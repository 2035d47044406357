"""POST /v1/embeddings (OpenAI: CreateEmbedding), and Azure's way to write it."""

from __future__ import annotations

from gatewayd.web.exchange import Exchange, Route

ENDPOINT = "embeddings"


async def create(exchange: Exchange) -> None:
    await exchange.ask_model(ENDPOINT, streams=False)


ROUTES = (
    Route("POST", "/embeddings", create, "model", ENDPOINT),
    Route("POST", "/openai/deployments/{model}/embeddings", create, "model", ENDPOINT),
)
