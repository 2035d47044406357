"""Known heads: whose they are, where they count, and how the bytes may be cut."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.snapshot import ServerSettings, Snapshot
from gatewayd.engine.build import build
from gatewayd.secret import Secret
from tests.fakeup import (
    Received,
    Reply,
    json_reply,
)
from tests.web.counting import PATH, RETRIES, deployments, placed, request
from tests.web.support import CHAT, KEY, WITH_KEY, RawClient, until


async def test_a_key_that_a_reload_took_away_opens_nothing() -> None:
    """D-17: what is remembered of a head is who it was, not that it may."""
    auth = f"authorization: Bearer {KEY}"
    async with placed(server=WITH_KEY) as place, RawClient.to(place.port) as client:
        await place.warm(client, auth)
        client.post(PATH, CHAT, auth)
        assert (await client.answer()).status == 200
        assert place.tasks == 0
        other = ServerSettings(master_key=Secret("sk-another-0123456789"))
        place.gateway.swap(await build(Snapshot("r2", deployments(place.up), RETRIES, other), place.gateway))
        client.post(PATH, CHAT, auth)
        assert (await client.answer()).status == 401
        assert len(place.up.requests) == 1


async def test_a_head_with_a_wrong_key_is_not_remembered() -> None:
    """H-03: only what went well is, so nobody fills the memory from outside."""
    async with placed(server=WITH_KEY) as place, RawClient.to(place.port) as client:
        for number in range(5):
            client.post(PATH, CHAT, f"authorization: Bearer wrong-{number}")
            assert (await client.answer()).status == 401
        connection = next(iter(place.site.listener._server.open))
        assert len(connection._heads) == 0  # type: ignore[attr-defined]


async def test_a_request_in_a_body_is_no_request() -> None:
    """B-01, B-17: a known head counts only where a message begins, and only when that is certain."""
    known = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(CHAT)}\r\n"
    inner = known.encode() + b"content-type: application/json\r\n\r\n" + CHAT
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        chunked = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        client.send(chunked.encode() + b"%x\r\n" % len(inner))
        await asyncio.sleep(0.02)
        client.send(inner)
        await asyncio.sleep(0.02)
        client.send(b"\r\n0\r\n\r\n")
        assert (await client.answer()).status == 400
        assert len(place.up.requests) == 0
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        client.send(f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(inner) + 9}\r\n\r\n".encode())
        await asyncio.sleep(0.02)
        client.send(inner)
        await asyncio.sleep(0.02)
        client.send(b" " * 9)
        assert (await client.answer()).status == 400
        assert len(place.up.requests) == 0


async def test_requests_that_come_while_one_is_under_way_wait_for_it() -> None:
    """B-18."""
    gate = asyncio.Event()
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(Reply([gate, *json_reply({"n": 1}).steps]), json_reply({"n": 2}), json_reply({"n": 3}))
        client.post(PATH)
        await until(lambda: len(place.up.requests) == 1)
        client.post(PATH)
        client.get("/v1/models")
        client.post(PATH)
        await asyncio.sleep(0.02)
        assert len(place.up.requests) == 1
        gate.set()
        answers = [json.loads((await client.answer()).body) for _ in range(4)]
        assert [answer.get("n", answer.get("object")) for answer in answers] == [1, 2, "list", 3]


def echoed(received: Received) -> Reply:
    return json_reply({"n": received.json()["n"]})


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=7), st.sets(st.integers(1, 1200), max_size=12))
def test_however_the_bytes_are_cut_the_answers_are_the_same(kinds: list[int], cuts: set[int]) -> None:
    """A-16's twin on the client's side: known heads, new heads, other methods, in any segments."""
    wire = b""
    expected: list[Any] = []
    for number, kind in enumerate(kinds):
        match kind:
            case 0 | 1:
                wire += request(10**number)
                expected.append(10**number)
            case 2:
                wire += request(number, f"x-new: {number}\r\n")
                expected.append(number)
            case _:
                wire += b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
                expected.append("list")

    async def play() -> None:
        async with placed() as place, RawClient.to(place.port) as client:
            place.up.then(echoed)
            client.send(request(0))
            await client.answer()
            edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
            for begin, end in itertools.pairwise(edges):
                client.send(wire[begin:end])
                await asyncio.sleep(0.001)
            got = [json.loads((await client.answer()).body) for _ in expected]
            assert [answer.get("n", answer.get("object")) for answer in got] == expected

    asyncio.run(play())


async def test_a_connection_that_closes_while_a_body_is_awaited() -> None:
    async with placed() as place:
        async with RawClient.to(place.port) as client:
            await place.warm(client)
            client.send(request(0))
            await client.answer()
            client.send(request(1)[:-3])
            await asyncio.sleep(0.02)
            client.reset()
        await until(lambda: not place.site.listener._server.open)
        assert place.tasks == 0


async def test_a_drain_while_a_body_is_awaited_gets_it() -> None:
    """S2: a request whose head has come is answered."""
    async with placed() as place, RawClient.to(place.port) as client:
        client.send(request(0))
        await client.answer()
        client.send(request(1)[:-3])
        await asyncio.sleep(0.02)
        draining = asyncio.get_running_loop().create_task(place.site.listener.drain(5))
        await asyncio.sleep(0.02)
        client.send(request(1)[-3:])
        assert (await client.answer()).status == 200
        await draining


async def test_a_client_that_does_not_read_gets_no_further() -> None:
    """A-24: while its buffer is full nothing of it is begun."""
    big = json_reply({"x": "y" * 4_000_000})
    async with placed() as place:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", place.port))
            sock.setblocking(False)
            async with RawClient.to(sock) as client:
                client.send(request(0))
                assert (await client.answer()).status == 200
                place.up.then(big)
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                for _ in range(20):
                    client.send(request(1))
                    await asyncio.sleep(0.01)
                asked = len(place.up.requests)
                assert asked < 6
                client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                for _ in range(20):
                    assert (await client.answer()).status == 200
