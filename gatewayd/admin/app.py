"""The admin side: how the gateway is doing, what it runs on, its numbers, and "reload now".

Nothing here writes configuration: the file is the only truth. The data listener has none of these endpoints, and the
admin listener none of the data listener's. This module is only the handler; a `web.listener.Listener` serves it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from gatewayd.access.keys import authenticate, is_valid_host, refuse_foreign_pages
from gatewayd.admin.views import config_view, outcome_view, status_view
from gatewayd.engine.reload import Rejected, Reloader
from gatewayd.engine.runtime import Gateway
from gatewayd.errors import Forbidden, GatewayError, InternalError, InvalidRequest, MethodNotAllowed, UnknownRoute
from gatewayd.observe.metrics import CONTENT_TYPE, Metrics
from gatewayd.wire.openai import error_body

_log = logging.getLogger("gatewayd.admin")

_Page = Callable[[], Awaitable[web.Response]]

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
_NOTHING_FOLLOWS = ("transfer-encoding", "upgrade")
"""aiohttp's parser takes the last trailer of a chunked body for a header of the next request, and forgets what stands
behind an offer to upgrade (docs/adr/0009-request-loop.md)."""
_OWN_SITE = ("same-origin", "none")
"""Values of `Sec-Fetch-Site` (W3C Fetch Metadata) for what the user did on this very page or in the address bar."""


class Workers(Protocol):
    """The processes that answer requests, if this one does not."""

    async def statuses(self) -> list[dict[str, Any]]:
        """What `health_view` tells in each."""

    async def settled(self) -> None:
        """Waits until what was applied is live in all of them."""

    async def metrics(self, own: bytes) -> bytes:
        """`own` page of numbers together with theirs."""


class AdminApp:
    """Answers every request of the admin side."""

    def __init__(
        self, gateway: Gateway, reloader: Reloader, metrics: Metrics, *, workers: Workers | None = None
    ) -> None:
        self._workers = workers
        self._gateway = gateway
        self._reloader = reloader
        self._metrics = metrics
        self._started = time.monotonic()
        self._pages: dict[str, dict[str, _Page]] = {
            "/": {"GET": self._index},
            "/status": {"GET": self._status},
            "/config": {"GET": self._config},
            "/metrics": {"GET": self._numbers},
            "/reload": {"POST": self._reload},
        }

    @property
    def routes(self) -> list[tuple[str, str]]:
        """(method, path) of all there is."""
        return [(method, path) for path, pages in self._pages.items() for method in pages]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = f"adm_{secrets.token_hex(8)}"
        try:
            self._admit(request)
            response = await self._page(request)()
        except GatewayError as error:
            response = _refusal(error)
        except Exception as error:
            _log.error("admin request %s failed", request_id, exc_info=error)
            response = _refusal(InternalError("The gateway failed on this request; its log has the request id."))
        if any(name in request.headers for name in _NOTHING_FOLLOWS):
            response.force_close()
        response.headers.update(_HEADERS)
        response.headers["x-request-id"] = request_id
        return response

    def _admit(self, request: web.BaseRequest) -> None:
        """Raises unless the caller may be here: off this machine with the master key only, on it without, but no web
        page of another site may read anything (DNS rebinding) or do anything (forged requests)."""
        headers = request.headers
        hosts = headers.getall("host", [])
        if len(hosts) > 1 or (hosts and not is_valid_host(hosts[0])):
            raise InvalidRequest("The request must have one valid Host header.")
        server = self._gateway.current.snapshot.server
        if server.admin is None or not server.admin.is_loopback:
            if server.master_key is None:
                raise Forbidden("The admin listener is not on a loopback address, and no master key is configured.")
            authenticate(headers, server)
        else:
            refuse_foreign_pages(headers)
        if request.method not in ("GET", "HEAD"):
            site, origin = headers.get("sec-fetch-site"), headers.get("origin")
            if (site is not None and site not in _OWN_SITE) or (
                origin is not None and origin.partition("://")[2] != headers.get("host")
            ):
                raise Forbidden("Web pages of other sites may not use the admin listener.")

    def _page(self, request: web.BaseRequest) -> _Page:
        path = request.raw_path.partition("?")[0]
        pages = self._pages.get(path if path == "/" else path.removesuffix("/"))
        if pages is None:
            raise UnknownRoute("There is no such URL here.")
        page = pages.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            allowed = {*pages, *(("HEAD",) if "GET" in pages else ())}
            raise MethodNotAllowed("This URL does not have that method.", allow=sorted(allowed))
        return page

    async def _index(self) -> web.Response:
        lines = [f"{method:4} {path}" for method, path in self.routes]
        return web.Response(text="gatewayd, admin listener\n\n" + "\n".join(lines) + "\n")

    async def _status(self) -> web.Response:
        workers = None if self._workers is None else await self._workers.statuses()
        now = time.monotonic()
        return _json(status_view(self._gateway, self._reloader, now - self._started, now, workers))

    async def _config(self) -> web.Response:
        return _json(config_view(self._gateway.current.snapshot))

    async def _numbers(self) -> web.Response:
        numbers = self._metrics.render()
        if self._workers is not None:
            numbers = await self._workers.metrics(numbers)
        return web.Response(body=numbers, headers={"content-type": CONTENT_TYPE})

    async def _reload(self) -> web.Response:
        outcome = await self._reloader.reload("asked for by the admin listener")
        if self._workers is not None:
            await self._workers.settled()
        return _json(outcome_view(outcome), 422 if isinstance(outcome, Rejected) else 200)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _refusal(error: GatewayError) -> web.Response:
    response = _json(error_body(error), error.status)
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = ", ".join(error.allow)
    if error.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response
