"""A request that comes back to the gateway that sent it."""

from __future__ import annotations

import json
import time

import pytest

from gatewayd.config import providers
from gatewayd.config.snapshot import Address, RoutingSettings
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.litellm.translate import TranslateUpstream
from gatewayd.wire.headers import HOP
from tests.fakeup import FakeUpstream, error_reply, json_reply
from tests.stand_ins import anthropic
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, WAYS, claude
from tests.web.support import CHAT, STREAM, RawClient, Site, free_port, serving_deployments, until

pytestmark = KNOWN_WARNINGS

RETRIES = RoutingSettings(num_retries=3)
BODIES = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])


def is_well(site: Site) -> bool:
    now = time.monotonic()
    return all(site.gateway.health.available(t.candidate, now) for t in site.gateway.current.targets.values())


@BODIES
async def test_a_circle_through_another_gateway_ends_at_the_second_arrival(body: bytes) -> None:
    """U-A1: one call is three requests, however often it may be retried, and no deployment is to blame."""
    back = free_port()
    there = deployment(f"http://127.0.0.1:{back}/v1", group="chat", model="chat")
    async with serving_deployments(there, routing=RETRIES) as second:
        here = deployment(second.base_url, group="chat", model="chat")
        async with serving_deployments(here, routing=RETRIES, listening=[Address("127.0.0.1", back)]) as first:
            for count in range(1, 4):  # the second and third on known heads and kept connections
                async with RawClient.to(first.port) as client:
                    client.post("/v1/chat/completions", body)
                    answer = await client.answer()
                assert (answer.status, json.loads(answer.body)["error"]["code"]) == (508, "loop_detected")
                assert answer.headers["x-should-retry"] == "false"
                await until(lambda: len(first.records.fields) >= 3 * count)  # noqa: B023
                assert len(first.records.fields) == 3 * count
            assert is_well(first)
            assert is_well(second)


async def test_a_chain_of_gateways_is_no_circle() -> None:
    """U-A1: each gateway adds its own id, and the upstream sees them all."""
    async with (
        FakeUpstream(json_reply({"id": "x", "object": "chat.completion", "choices": [{}]})) as up,
        serving_deployments(deployment(up.base_url, group="chat", model="chat")) as last,
        serving_deployments(deployment(last.base_url, group="chat", model="chat")) as middle,
        serving_deployments(deployment(middle.base_url, group="chat", model="chat")) as first,
        RawClient.to(first.port) as client,
    ):
        for _ in range(3):
            client.post("/v1/chat/completions", CHAT)
            assert (await client.answer()).status == 200
        ids = [site.gateway.instance for site in (first, middle, last)]
        for request in up.requests:
            lines = [line.partition(": ") for line in request.head.decode().split("\r\n")]
            assert sorted(value for name, _, value in lines if name == HOP) == sorted(ids)


async def test_a_508_of_another_kind_is_a_failed_try() -> None:
    """U-A1: cPanel says 508 when a limit is reached; that is no circle."""
    async with (
        FakeUpstream(error_reply(508), json_reply({"choices": [{}]})) as up,
        serving_deployments(deployment(up.base_url, group="chat"), routing=RETRIES) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", CHAT)
        assert (await client.answer()).status == 200


def test_no_id_goes_to_a_providers_own_address() -> None:
    """U-A1: there is no way back from there."""
    groq = providers.get("groq")
    assert groq is not None
    assert groq.api_base is not None
    for base, sent in ((groq.api_base, False), ("https://proxy.example/v1", True)):
        upstream = ForwardUpstream(deployment(base, provider="groq"), instance="0123456789abcdef")
        head, _ = upstream._request(call())
        assert (HOP.encode() in head) is sent


@WAYS
async def test_translated_calls_say_where_they_come_from(direct: bool) -> None:
    """U-A1: directly, and through litellm; what came before is kept."""
    async with FakeUpstream(anthropic.answer) as up:
        upstream = TranslateUpstream(claude(up), direct=direct, instance="0123456789abcdef")
        (await upstream.open(call(messages=MESSAGES, headers=[(HOP, "fedcba9876543210")]))).close()
        await upstream.aclose()
    assert up.requests[0].headers[HOP] == "fedcba9876543210, 0123456789abcdef"


async def test_a_circle_through_a_translated_deployment_is_neither_retried_nor_blamed() -> None:
    """U-A1"""
    body = {"error": {"message": "This request has come back.", "type": "server_error", "code": "loop_detected"}}
    async with (
        FakeUpstream(json_reply(body, status=508)) as up,
        serving_deployments(claude(up, group="chat"), routing=RETRIES) as site,
        RawClient.to(site.port) as client,
    ):
        client.post("/v1/chat/completions", json.dumps({"model": "chat", "messages": MESSAGES}).encode())
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (508, "loop_detected")
        assert is_well(site)
        assert len(up.requests) == 1
