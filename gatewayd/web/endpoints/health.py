"""Is the process alive, and does it take requests? Under every name that probes and clients use; no key needed.

`GET /` is there because Claude Code asks it before anything else; `/health` because load balancers and the clients of
vLLM and llama.cpp do. No upstream is asked: a provider's trouble is no reason to restart the gateway.
"""

from __future__ import annotations

from gatewayd.engine.request import Request
from gatewayd.errors import ServerBusy, ShuttingDown
from gatewayd.web.router import Route

LIVE = ("/livez", "/health/liveliness", "/health/liveness", "/")
READY = ("/readyz", "/healthz", "/health", "/health/readiness")


def live(request: Request) -> None:
    request.send_json(b'{"status":"ok"}')


def ready(request: Request) -> None:
    if request.gateway.loading and not request.gateway.stopping:
        raise ServerBusy(
            "The gateway is starting: it is still loading litellm, which some deployments need.", retry_after=1.0
        )
    if not request.gateway.ready:
        raise ShuttingDown("The gateway is stopping.")
    if request.gateway.overloaded:
        raise overloaded()
    request.send_json(b'{"status":"ok"}')


def overloaded() -> ServerBusy:
    return ServerBusy("The gateway is overloaded: its memory is nearly used up.", retry_after=1.0)


ROUTES = (
    *(Route("GET", path, live, "open") for path in LIVE),
    *(Route("GET", path, ready, "open") for path in READY),
)
