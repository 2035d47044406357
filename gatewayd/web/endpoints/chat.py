"""POST /v1/chat/completions (OpenAI: CreateChatCompletion), and Azure's way to write it."""

from __future__ import annotations

from gatewayd.web.exchange import Exchange, Route


async def create(exchange: Exchange) -> None:
    await exchange.ask_model("chat/completions")


ROUTES = (
    Route("POST", "/chat/completions", create, "model"),
    Route("POST", "/openai/deployments/{model}/chat/completions", create, "model"),
)
