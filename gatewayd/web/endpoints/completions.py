"""POST /v1/completions (OpenAI: CreateCompletion), and Azure's way to write it."""

from __future__ import annotations

from gatewayd.web.exchange import Exchange, Route

ENDPOINT = "completions"


async def create(exchange: Exchange) -> None:
    await exchange.ask_model(ENDPOINT)


ROUTES = (
    Route("POST", "/completions", create, "model", ENDPOINT),
    Route("POST", "/openai/deployments/{model}/completions", create, "model", ENDPOINT),
)
