"""The data side put together: what is served (the table), and how a parsed request becomes an exchange.

No `web.Application`: one table, one stage, no middleware, and every refusal in OpenAI's shape. aiohttp's parser and
connection are below (`web.loop`); nothing in `web.exchange` knows of aiohttp.
"""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, StreamReader
from aiohttp.http_parser import RawRequestMessage

from gatewayd.engine.runtime import Gateway
from gatewayd.errors import LoopDetected
from gatewayd.observe.metrics import Metrics
from gatewayd.web.activation import SocketActivation
from gatewayd.web.bodies import Bodies
from gatewayd.web.connection import Connection, Deadlines
from gatewayd.web.endpoints import ask, health, models, responses
from gatewayd.web.exchange import MEGABYTE, Exchange, Exchanges
from gatewayd.web.fastpath import FastPath
from gatewayd.web.known import KnownRequest
from gatewayd.web.listener import Listener, connection_limit
from gatewayd.web.loop import LoopServer
from gatewayd.web.relay import ClientResponder
from gatewayd.web.request import ClientRequest, complaint, content_problem
from gatewayd.web.router import Router, refusal
from gatewayd.wire.headers import unlooped

TABLE = (
    *ask.ROUTES,
    *responses.ROUTES,
    *models.ROUTES,
    *health.ROUTES,
)
"""Every endpoint of the data listener. Those of kind "open" (health) are the only ones that need no key."""

_MAX_LOGGED_PATH = 256
_UNUSUAL = frozenset({"expect", "x-litellm-timeout"})
"""Requests with these stay on the ordinary path."""


class DataApp:
    """Answers every request of the data side."""

    def __init__(self, gateway: Gateway, metrics: Metrics, *, room: int = 1 << 60) -> None:
        """`room`: bytes that bodies may take at most, whatever the configuration says."""
        self.exchanges = Exchanges(gateway, metrics)
        self.fast = FastPath(self.exchanges)
        """For `known` requests."""
        self.bodies = Bodies(lambda: bodies_limit(gateway, room))
        metrics.count_bodies(lambda: self.bodies.held)
        self._router = Router(TABLE)

    async def answer(self, message: RawRequestMessage, payload: StreamReader, connection: Connection) -> bool:
        """Answers one request; whether the connection may be kept."""
        inbound = ClientRequest(message, payload, connection, self.bodies)
        path, inbound.query = _target(message)
        inbound.path = path[:_MAX_LOGGED_PATH]
        # aiohttp's parser takes the last trailer of a chunked body for a header of the next request, and forgets what
        # stands behind an offer to upgrade: nothing may follow either.
        keep_alive = not (message.should_close or message.chunked or message.upgrade)
        http10 = message.version == HttpVersion10
        if http10 and "close" in message.headers.get("connection", "").lower():  # the parser looks for keep-alive only
            keep_alive = False
        if (error := complaint(message)) is not None:
            keep_alive = False
            route = refusal(error, "open")
        else:
            route, inbound.model = self._router.find(message.method, path, inbound.query)
            inbound.forms = route.endpoint is not None and route.endpoint.form
            if connection.asks_only and route.kind != "open":
                route = refusal(health.overloaded(), "open")
        responder = ClientResponder(
            connection,
            payload,
            http10=http10,
            keep_alive=keep_alive,
            head_only=message.method == "HEAD",
        )
        try:
            await Exchange(self.exchanges, inbound, responder).run(route)
        finally:
            self.bodies.held -= inbound.held
        return responder.keeps

    def known(self, message: RawRequestMessage) -> KnownRequest | None:
        """What a head says, if the request is one for the fast path."""
        if message.method != "POST" or message.version != HttpVersion11 or message.should_close or message.chunked:
            return None
        headers = message.headers
        if (
            message.upgrade
            or any(name in headers for name in _UNUSUAL)
            or complaint(message)
            or content_problem(headers)
        ):
            return None
        path, query = _target(message)
        route, model = self._router.find("POST", path, query)
        if route.endpoint is None or model is not None:
            return None
        known = KnownRequest(route, route.endpoint, path[:_MAX_LOGGED_PATH], headers)
        try:
            unlooped(known.relayed, self.exchanges.gateway.instance)
        except LoopDetected:
            return None
        return known


def _target(message: RawRequestMessage) -> tuple[str, str]:
    """Path and query."""
    path = message.path
    if not path.startswith("/"):  # absolute-form: its authority says nothing about what we serve (B-04)
        path = message.url.raw_path_qs
    path, _, query = path.partition("?")
    return path, query


def bodies_limit(gateway: Gateway, room: int) -> int:
    """Bytes that the bodies of all requests may have together."""
    return 0 if gateway.overloaded else min(room, int(gateway.current.snapshot.server.limits.bodies_mb * MEGABYTE))


def data_listener(
    gateway: Gateway,
    metrics: Metrics,
    *,
    deadlines: Deadlines | None = None,
    activation: SocketActivation | None = None,
    room: int = 1 << 60,
) -> Listener:
    """The data listener, which does not listen yet; its drain ends what is left with `server_shutting_down`.

    `room` as of `DataApp`.
    """
    app = DataApp(gateway, metrics, room=room)
    server = LoopServer(
        app.answer,
        bodies=app.bodies,
        ended=app.exchanges.ended,
        fast=app.fast,
        known=app.known,
        max_connections=lambda: connection_limit(gateway.current.snapshot.server.limits),
        is_overloaded=lambda: gateway.overloaded,
        deadlines=deadlines,
    )
    return Listener(server, interrupt=app.exchanges.interrupt, activation=activation)
