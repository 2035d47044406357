"""Is the process alive, and does it take requests? Under every name that probes and clients use; no key needed.

`GET /` is there because Claude Code asks it before anything else; `/health` because load balancers and the clients of
vLLM and llama.cpp do. No upstream is asked: a provider's trouble is no reason to restart the gateway.
"""

from __future__ import annotations

from gatewayd.errors import ServerBusy, ShuttingDown
from gatewayd.web.exchange import Exchange, Route

LIVE = ("/livez", "/health/liveliness", "/health/liveness", "/")
READY = ("/readyz", "/healthz", "/health", "/health/readiness")


async def live(exchange: Exchange) -> None:
    exchange.send_json(b'{"status":"ok"}')


async def ready(exchange: Exchange) -> None:
    if exchange.gateway.loading and not exchange.gateway.stopping:
        raise ServerBusy(
            "The gateway is starting: it is still loading litellm, which some deployments need.", retry_after=1.0
        )
    if not exchange.gateway.ready:
        raise ShuttingDown("The gateway is stopping.")
    if exchange.gateway.overloaded:
        raise overloaded()
    exchange.send_json(b'{"status":"ok"}')


def overloaded() -> ServerBusy:
    return ServerBusy("The gateway is overloaded: its memory is nearly used up.", retry_after=1.0)


ROUTES = (
    *(Route("GET", path, live, "open") for path in LIVE),
    *(Route("GET", path, ready, "open") for path in READY),
)
