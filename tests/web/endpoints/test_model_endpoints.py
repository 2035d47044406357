"""Chat, completions and embeddings: which upstream path each of their URLs means."""

from __future__ import annotations

import pytest

from gatewayd.web.endpoints import chat, completions, embeddings
from gatewayd.web.exchange import Route
from tests.web.support import RawClient, Teller, serving


@pytest.mark.parametrize(
    ("routes", "endpoint"),
    [
        (chat.ROUTES, "chat/completions"),
        (completions.ROUTES, "completions"),
        (embeddings.ROUTES, "embeddings"),
    ],
)
async def test_every_url_of_an_endpoint_means_the_same(routes: tuple[Route, ...], endpoint: str) -> None:
    upstream = Teller()
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        for route in routes:
            for prefix in ("", "/v1"):
                client.post(prefix + route.path.replace("{model}", "chat"), b'{"model": "chat"}')
                assert (await client.answer()).status == 200
    assert {call.endpoint for call in upstream.calls} == {endpoint}
    assert len(upstream.calls) == 4
