"""Heads that need a task or the parser each time, however their names are written, and however often they come."""

from __future__ import annotations

import pytest

from gatewayd.config.snapshot import ServerSettings
from tests.fakeup import HANG, raw_reply
from tests.web.counting import PATH, placed
from tests.web.support import CHAT, RawClient


@pytest.mark.parametrize("name", ["x-litellm-timeout", "X-LiteLLM-Timeout"])
async def test_a_clients_own_timeout_holds_for_every_request(name: str) -> None:
    """A-18"""
    async with placed(server=ServerSettings()) as place, RawClient.to(place.port) as client:
        await place.warm(client)
        for _ in range(2):  # the second time the head has been seen
            client.post(PATH, CHAT, f"{name}: 30")
            assert (await client.answer()).status == 200
        place.up.then(raw_reply(HANG))
        client.post(PATH, CHAT, f"{name}: 0.05")
        assert (await client.answer()).status == 504
        assert place.tasks == 3


@pytest.mark.parametrize("name", ["expect", "Expect"])
async def test_a_client_that_waits_for_an_invitation_gets_it_at_once(name: str) -> None:
    """B-16: also when a request with the same head has been answered before; its body is not waited for."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(CHAT)}\r\n{name}: 100-continue\r\n\r\n"
        for _ in range(3):
            client.send(head.encode() + CHAT)
            assert (await client.answer()).status == 200
        client.send(head.encode())
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(CHAT)
        assert (await client.answer()).status == 200
        assert place.parsed == 4
