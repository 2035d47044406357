"""The data side put together: what is served (the table), and how a parsed request becomes an exchange.

aiohttp's low-level server is used, not `web.Application`: one table, one stage, no middleware, and every refusal in
OpenAI's shape. Nothing in `web.exchange` knows of aiohttp, so a leaner request loop can take the place of `answer`.
"""

from __future__ import annotations

from aiohttp import HttpVersion10, web

from gatewayd.engine.runtime import Gateway
from gatewayd.observe.metrics import Metrics
from gatewayd.web.connection import CLOSED, KEPT, Connection, Deadlines, HttpServer
from gatewayd.web.endpoints import chat, completions, embeddings, health, models
from gatewayd.web.exchange import Exchange, Exchanges
from gatewayd.web.listener import Listener, connection_limit
from gatewayd.web.relay import ClientResponder
from gatewayd.web.request import ClientRequest, complaint
from gatewayd.web.router import Router, refusal

TABLE = (
    *chat.ROUTES,
    *completions.ROUTES,
    *embeddings.ROUTES,
    *models.ROUTES,
    *health.ROUTES,
)
"""Every door of the data side. Those of kind "open" (health) are the only ones that need no key."""

_MAX_LOGGED_PATH = 256


class DataApp:
    """Answers every request of the data side."""

    def __init__(self, gateway: Gateway, metrics: Metrics) -> None:
        self.exchanges = Exchanges(gateway, metrics)
        self._router = Router(TABLE)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        keep_alive = request.keep_alive
        inbound = ClientRequest(request, connection)
        path = request.raw_path
        if not path.startswith("/"):  # absolute-form: its authority says nothing about what we serve (B-04)
            path = request.rel_url.raw_path
        path = path.partition("?")[0]
        inbound.path = path[:_MAX_LOGGED_PATH]
        if (error := complaint(request)) is not None:
            keep_alive = False
            route = refusal(error, "open")
        else:
            route, inbound.model = self._router.find(request.method, path)
        responder = ClientResponder(
            connection,
            request.content,
            http10=request.version == HttpVersion10,
            keep_alive=keep_alive,
            head_only=request.method == "HEAD",
        )
        await Exchange(self.exchanges, inbound, responder).run(route)
        await connection.drained()
        return KEPT if responder.keeps else CLOSED


def data_listener(gateway: Gateway, metrics: Metrics, *, deadlines: Deadlines | None = None) -> Listener:
    """The data side's listener, without a door yet; its drain ends what is left with `server_shutting_down`."""
    app = DataApp(gateway, metrics)
    server = HttpServer(
        app.answer,
        max_connections=lambda: connection_limit(gateway.current.snapshot.server.limits),
        deadlines=deadlines,
    )
    return Listener(server, interrupt=app.exchanges.interrupt)
