"""Everything that `make bench` compares, in the order of the tables."""

from __future__ import annotations

from benchmarks.peers import (
    Ferrogw,
    Gatewayd,
    LiteLLM,
    Peer,
    Portkey,
    Rolter,
    Smg,
    SmgTuned,
    VllmRouter,
    VllmRouterTuned,
)
from benchmarks.proxies import Caddy, Envoy, HAProxy, Nginx

PEERS: tuple[type[Peer], ...] = (
    Nginx,
    Gatewayd,
    HAProxy,
    VllmRouterTuned,
    VllmRouter,
    Envoy,
    Rolter,
    Caddy,
    SmgTuned,
    Smg,
    Ferrogw,
    Portkey,
    LiteLLM,
)
