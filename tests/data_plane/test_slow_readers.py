"""Many clients that do not read at all: what the gateway holds for them."""

from __future__ import annotations

import asyncio
import socket

from gatewayd.web.connection import Connection
from tests.data_plane.gateway import ASK_STREAM, EVENTS, forward
from tests.fakeup import FakeUpstream, chat_chunk, event, sse_reply
from tests.web.support import Site, serving_deployments, until

READERS = 100
MOST = (64 + 64 + 4) * 1024
"""Bytes: up to the mark at which reading stops, then one read and what waited for it of an event; framing."""


async def deaf(site: Site) -> socket.socket:
    """A client that asks for a stream and never reads."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", site.port))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(ASK_STREAM)
    await loop.sock_sendall(sock, head + ASK_STREAM)
    return sock


def held(connection: Connection) -> int:
    assert connection.transport is not None
    return int(connection.transport.get_write_buffer_size())


async def test_what_is_held_for_a_hundred_readers_that_do_not_read() -> None:
    """A-25, A-24: for each of them no more than 132 KiB, of the 40 MB that its upstream would send."""
    flood = [event(chat_chunk("x" * 16_000))] * 2500
    async with FakeUpstream(sse_reply([EVENTS[0], *flood])) as up, serving_deployments(forward(up)) as site:
        clients = [await deaf(site) for _ in range(READERS)]
        connections = site.listener._server.open
        await until(lambda: len(connections) == READERS and all(c.writing_paused for c in connections), 60)
        sent = -1
        while sent != sum(peer.sent for peer in up.peers):
            sent = sum(peer.sent for peer in up.peers)
            await asyncio.sleep(0.1)
        sizes = [held(connection) for connection in connections]
        assert max(sizes) <= MOST
        assert min(sizes) > 16_000, "they do wait for their clients"
        assert sent < READERS * 16_000_000, "the upstreams are not read"
        for client in clients:
            client.close()
        await until(lambda: site.gateway.in_flight == 0 and up.open_count == 0, 20)
        assert {record["outcome"] for record in site.records.fields} == {"client_left"}
        assert site.gateway.health.state("d1").fails == 0
