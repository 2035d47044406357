"""POST /v1/chat/completions (OpenAI: CreateChatCompletion), and Azure's way to write it."""

from __future__ import annotations

from gatewayd.web.exchange import Exchange, Route

ENDPOINT = "chat/completions"


async def create(exchange: Exchange) -> None:
    await exchange.ask_model(ENDPOINT)


ROUTES = (
    Route("POST", "/chat/completions", create, "model", ENDPOINT),
    Route("POST", "/openai/deployments/{model}/chat/completions", create, "model", ENDPOINT),
)
