"""Chat, completions and embeddings: which upstream path each of their URLs means."""

from __future__ import annotations

import pytest

from gatewayd.config.snapshot import Deployment, ServerSettings
from gatewayd.web.endpoints import ask
from gatewayd.web.router import Route
from gatewayd.wire.dialect import CHAT, COMPLETIONS, EMBEDDINGS, Endpoint
from tests.fakeup import FakeUpstream, json_reply
from tests.web.support import RawClient, Teller, serving, serving_deployments


@pytest.mark.parametrize(
    ("routes", "endpoint"),
    [
        (ask.ROUTES[0:2], CHAT),
        (ask.ROUTES[2:4], COMPLETIONS),
        (ask.ROUTES[4:6], EMBEDDINGS),
    ],
)
async def test_every_url_of_an_endpoint_means_the_same(routes: tuple[Route, ...], endpoint: Endpoint) -> None:
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


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openai/deployments/chat/chat/completions", b'{"messages":[],"model":null,"stream":null,"n":null}'),
        ("/v1/chat/completions", b'{"model":null,"messages":[],"stream":null,"n":null}'),
    ],
    ids=["path", "default"],
)
async def test_a_model_of_null_is_none(path: str, body: bytes) -> None:
    """U-B18: the path's model holds, or the default. Other nulls are the upstream's to read."""
    server = ServerSettings(default_models={"chat/completions": "chat"})
    async with FakeUpstream(json_reply({"object": "chat.completion", "choices": [{}]})) as up:
        for upstream_model in ("chat", "m"):
            deployment = Deployment("d1", "d1", "chat", "forward", "openai", upstream_model, api_base=up.base_url)
            async with (
                serving_deployments(deployment, server=server) as site,
                RawClient.to(site.port) as client,
            ):
                for _ in range(3):
                    client.post(path, body)
                    assert (await client.answer()).status == 200
                    sent = up.requests[-1].json()
                    assert sent == {"model": upstream_model, "messages": [], "stream": None, "n": None}
