"""Health, under each of its names."""

from __future__ import annotations

import json

import pytest

from gatewayd.web.endpoints.health import LIVE, READY
from tests.web.support import WITH_KEY, RawClient, serving


@pytest.mark.parametrize("path", [*LIVE, *READY])
async def test_health_needs_no_key_and_leaves_no_line(path: str) -> None:
    async with serving(server=WITH_KEY) as site, RawClient.to(site.port) as client:
        client.send(f"GET {path} HTTP/1.1\r\nhost: lb.example\r\n\r\n".encode())
        answer = await client.answer()
        client.get(path, method="HEAD")
        assert (await client.answer(has_body=False)).status == 200
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    assert answer.headers["x-request-id"].startswith("req_")
    assert site.records.fields == []


@pytest.mark.parametrize("path", [*LIVE, *READY])
async def test_while_draining_it_lives_but_is_not_ready(path: str) -> None:
    """S1"""
    async with serving() as site, RawClient.to(site.port) as client:
        site.gateway.draining = True
        client.get(path)
        assert (await client.answer()).status == (200 if path in LIVE else 503)
