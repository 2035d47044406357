"""Sockets opened, changed and closed, and the end of a listener, with real sockets."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from gatewayd.config.snapshot import Address, Limits
from gatewayd.web.connection import Deadlines
from gatewayd.web.listener import connection_limit
from gatewayd.web.listening_socket import ListeningSocket
from gatewayd.wire.openai import DONE
from tests.web.support import LOCAL, STREAM, RawClient, Stream, Teller, free_port, hang, serving, until

EVENT = b'data: {"choices":[]}\n\n'


async def test_a_new_door_queues_until_it_is_committed_and_the_old_one_goes_without_a_cut() -> None:
    """R3, E-24: nobody is refused, the answer under way ends as if nothing had happened."""
    release = asyncio.Event()
    async with serving({"chat": {"d1": Teller([Stream([EVENT, release, DONE])])}}) as site:
        old = site.port
        async with RawClient.to(old) as busy, RawClient.to(old) as idle:
            busy.post("/v1/chat/completions", STREAM)
            await busy.head()
            idle.get("/livez")
            await idle.answer()
            new = Address("127.0.0.1", free_port())
            staged = await site.listener.stage([new])
            async with RawClient.to(new.port) as early:
                early.get("/livez")
                staged.commit()
                assert (await early.answer()).status == 200
                assert site.listener.addresses == (new,)
                assert await idle.ended() == b""
                with pytest.raises(ConnectionRefusedError):
                    async with RawClient.to(old):
                        pass
                release.set()
                assert [piece async for piece in busy.chunks()] == [EVENT, DONE]
                assert await busy.ended() == b""
                early.get("/livez")
                assert (await early.answer()).status == 200


async def test_a_wider_address_takes_over_the_same_port() -> None:
    """E-24: from this machine to every network and back; neither change refuses a connection."""
    async with serving() as site, RawClient.to(site.port) as known:
        port = site.port
        narrow, wide = Address("127.0.0.1", port), Address("0.0.0.0", port)
        known.get("/livez")
        await known.answer()
        for listening in (wide, narrow, wide):
            async with RawClient.to(port) as fresh:
                await site.listener.serve([listening])
                async with RawClient.to(port) as later:
                    for client in (fresh, later):
                        client.get("/livez")
                        assert (await client.answer()).status == 200
                assert await fresh.ended() == b""  # it belonged to the socket that has closed
            assert site.listener.addresses == (listening,)
            with pytest.raises(OSError, match="in use"):  # nobody else can come in through this
                ListeningSocket(narrow)
        assert await known.ended() == b""


async def test_who_waits_at_a_door_that_closes_is_still_served() -> None:
    """R3"""
    async with serving() as site:
        staged = await site.listener.stage([])
        waiting = socket.create_connection(("127.0.0.1", site.port))
        staged.commit()  # the loop has not turned: nobody has accepted it
        async with RawClient.to(waiting) as client:
            client.get("/livez")
            assert (await client.answer()).status == 200
            assert await client.ended() == b""


async def test_an_address_in_use_changes_nothing() -> None:
    """E-25"""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with serving() as site:
            before = site.listener.addresses
            fresh = Address("127.0.0.1", free_port())
            with pytest.raises(OSError, match="in use"):
                await site.listener.stage([LOCAL, fresh, Address(*taken.getsockname())])
            assert site.listener.addresses == before
            staged = await site.listener.stage([LOCAL, fresh])  # nothing was left open by the failure
            await staged.rollback()
            with pytest.raises(ConnectionRefusedError):
                async with RawClient.to(fresh.port):
                    pass
            async with RawClient.to(site.port) as client:
                client.get("/livez")
                assert (await client.answer()).status == 200


# --- the end ------------------------------------------------------------------------------------------------------


async def test_draining_lets_answers_end_and_closes_the_idle() -> None:
    """F-01, S2"""
    release = asyncio.Event()
    async with (
        serving({"chat": {"d1": Teller([Stream([EVENT, release, DONE])])}}) as site,
        RawClient.to(site.port) as busy,
        RawClient.to(site.port) as idle,
    ):
        busy.post("/v1/chat/completions", STREAM)
        await busy.head()
        idle.get("/livez")
        await idle.answer()
        drain = asyncio.get_running_loop().create_task(site.listener.drain(30))
        assert await idle.ended() == b""
        assert not drain.done()
        release.set()
        assert [piece async for piece in busy.chunks()] == [EVENT, DONE]
        async with asyncio.timeout(5):
            assert await drain == 0
        assert (await site.record())["outcome"] == "ok"


async def test_a_stream_longer_than_the_drain_is_told_so() -> None:
    """F-02, S4: one error event and a clean end; the upstream is closed."""
    stream = Stream([EVENT, asyncio.Event()])
    async with serving({"chat": {"d1": Teller([stream])}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions", STREAM)
        await client.head()
        site.gateway.draining = True
        interrupted = await site.listener.drain(0.05)
        pieces = [piece async for piece in client.chunks()]
        assert interrupted == 1
        assert pieces[0] == EVENT
        assert json.loads(pieces[1].removeprefix(b"data: "))["error"]["code"] == "server_shutting_down"
        assert len(pieces) == 2
        assert await client.ended() == b""
        assert stream.closed.is_set()
        record = await site.record()
        assert (record["status"], record["outcome"]) == (200, "shutdown")
        assert site.gateway.health.state("d1").fails == 0


async def test_a_call_longer_than_the_drain_gets_a_503() -> None:
    """F-02, S4"""
    upstream = Teller(hang)
    async with serving({"chat": {"d1": upstream}}) as site, RawClient.to(site.port) as client:
        client.post("/v1/chat/completions")
        await upstream.asked.wait()
        assert await site.listener.drain(0.05) == 1
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_shutting_down")
        assert answer.headers["connection"] == "close"
        assert "x-should-retry" not in answer.headers
        assert upstream.cancelled.is_set()
        assert (await site.record())["outcome"] == "shutdown"


async def test_a_client_that_does_not_read_cannot_hold_up_the_end() -> None:
    """S5"""
    stream = Stream([b"data: " + b"x" * 30_000_000 + b"\n\n", asyncio.Event()])
    async with (
        serving({"chat": {"d1": Teller([stream])}}, deadlines=Deadlines()) as site,
        RawClient.to(site.port) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.post("/v1/chat/completions", STREAM)
        await until(lambda: site.gateway.in_flight == 1)
        async with asyncio.timeout(8):
            await site.listener.drain(0.05)
        assert stream.closed.is_set()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()


async def test_a_draining_gateway_is_alive_not_ready_and_takes_nothing_new() -> None:
    """S1"""
    async with serving() as site, RawClient.to(site.port) as client:
        for path in ("/livez", "/readyz", "/health"):
            client.get(path)
            assert (await client.answer()).status == 200
        site.gateway.draining = True
        client.get("/livez")
        assert (await client.answer()).status == 200
        client.get("/readyz")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_shutting_down")
    async with serving() as site, RawClient.to(site.port) as client:
        site.gateway.draining = True
        client.post("/v1/chat/completions")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_shutting_down")
        assert await client.ended() == b""


async def test_a_configured_connection_limit_is_taken_and_auto_follows_the_descriptors() -> None:
    assert connection_limit(Limits(connections=7)) == 7
    assert connection_limit(Limits()) >= 16
