"""POST /v1/completions (OpenAI: CreateCompletion), and Azure's way to write it."""

from __future__ import annotations

from gatewayd.web.exchange import Exchange, Route


async def create(exchange: Exchange) -> None:
    await exchange.ask_model("completions")


ROUTES = (
    Route("POST", "/completions", create, "model"),
    Route("POST", "/openai/deployments/{model}/completions", create, "model"),
)
