"""The data side put together: what is served (the table), and how a parsed head becomes a request.

No `web.Application`: one table, one stage, no middleware, and every refusal in OpenAI's shape. HTTP is below
(`web.loop`), and calls the three methods of `web.handler.Handler`; the life of a request is in `engine.request`.
"""

from __future__ import annotations

from gatewayd.engine.client import MEGABYTE, IncomingBody
from gatewayd.engine.head import ClientHeaders, RequestHead
from gatewayd.engine.render import new_request_id
from gatewayd.engine.request import Request, Requests
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import GatewayError, InvalidRequest, LoopDetected
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.record import Record, observe
from gatewayd.web.activation import SocketActivation
from gatewayd.web.bodies import Bodies
from gatewayd.web.connection import Deadlines, not_http
from gatewayd.web.endpoints import ask, health, models, responses
from gatewayd.web.listener import Listener, connection_limit
from gatewayd.web.loop import LoopServer
from gatewayd.web.relay import ClientResponder
from gatewayd.web.request import content_problem
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


class DataApp:
    """Answers every request of the data side (`web.handler.Handler`)."""

    def __init__(self, gateway: Gateway, metrics: Metrics, *, room: int = 1 << 60) -> None:
        """`room`: bytes that bodies may take at most, whatever the configuration says."""
        self.requests = Requests(gateway, metrics)
        self.bodies = Bodies(lambda: bodies_limit(gateway, room))
        metrics.count_bodies(lambda: self.bodies.held)
        self._router = Router(TABLE)

    def understand(
        self, method: str, path: str, query: str, headers: ClientHeaders, problem: GatewayError | None
    ) -> RequestHead:
        model = None
        if problem is not None:
            route = refusal(problem, "open")
        else:
            route, model = self._router.find(method, path, query)
        head = RequestHead(
            method, path[:_MAX_LOGGED_PATH], headers,
            kind=route.kind, query=query, endpoint=route.endpoint, model=model, respond=route.respond,
        )  # fmt: skip
        if head.endpoint is not None:
            try:
                unlooped(head.relayed, self.requests.gateway.instance)
                head.refusal = content_problem(headers, forms=head.endpoint.form)
            except LoopDetected as error:
                head.refusal = error
        return head

    def begin(self, head: RequestHead, body: bytes | IncomingBody, client: ClientResponder) -> Request:
        if client.asks_only and head.kind != "open":
            respond = refusal(health.overloaded()).respond
            head = RequestHead(head.method, head.path, head.headers, kind="open", respond=respond)
        request = Request(self.requests, head, body, client)
        request.begin()
        return request

    def unreadable(self, peer: str, error: BaseException | None) -> bytes:
        record = Record(new_request_id(), peer=peer, status=400, outcome="rejected")
        record.error = InvalidRequest("")
        observe(record, self.requests.observers)
        return not_http(error, record.request_id)


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
        app,
        bodies=app.bodies,
        max_connections=lambda: connection_limit(gateway.current.snapshot.server.limits),
        is_overloaded=lambda: gateway.overloaded,
        deadlines=deadlines,
    )
    return Listener(server, interrupt=app.requests.interrupt, activation=activation)
