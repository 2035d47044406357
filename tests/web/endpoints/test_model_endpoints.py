"""Chat, completions and embeddings: which upstream path each of their URLs means."""

from __future__ import annotations

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.web.endpoints import chat, completions, embeddings
from gatewayd.web.exchange import Route
from tests.fakeup import FakeUpstream, json_reply
from tests.web.support import RawClient, Teller, serving, serving_deployments


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


async def test_embeddings_are_whole_whatever_the_body_says() -> None:
    """C-09: a stray field is not sent on: it would make a fault of a good answer, and the deployment had the blame."""
    body = b'{"model":"chat","input":"x","stream":true}'
    async with FakeUpstream(json_reply({"object": "list", "data": []})) as up:
        deployment = Deployment("d1", "d1", "chat", "forward", "openai", "chat", api_base=up.base_url)
        async with serving_deployments(deployment) as site, RawClient.to(site.port) as client:
            for _ in range(2):
                client.post("/v1/embeddings", body)
                answer = await client.answer()
                assert (answer.status, answer.body) == (200, b'{"object":"list","data":[]}')
            assert site.gateway.health.state("d1").fails == 0
    assert [request.body for request in up.requests] == [b'{"model":"chat","input":"x"}'] * 2
