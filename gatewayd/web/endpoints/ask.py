"""The endpoints that ask a model (`wire.dialect.ENDPOINTS`), those of OpenAI under Azure's paths too."""

from __future__ import annotations

from collections.abc import Iterator

from gatewayd.web.router import Route
from gatewayd.wire.dialect import ENDPOINTS, RERANK, Endpoint


def _routes(endpoint: Endpoint) -> Iterator[Route]:
    query = f"?{endpoint.query}" if endpoint.query else ""
    for prefix in ("", endpoint.azure) if endpoint.azure else ("",):
        yield Route("POST", f"{prefix}/{endpoint.path}{query}", kind="model", endpoint=endpoint)


ROUTES = (
    *(route for endpoint in ENDPOINTS for route in _routes(endpoint)),
    Route("POST", "/v2/rerank", kind="model", endpoint=RERANK),  # Cohere's clients
)
