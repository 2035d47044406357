"""The load generator against the mock upstream, both real, on a loopback port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from benchmarks import client, payloads
from benchmarks.client import Target
from benchmarks.upstream import Mock

OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    """Base URL of a mock upstream in a thread of its own, with a chunk every millisecond."""
    transports: list[asyncio.BaseTransport] = []

    class Recorded(Mock):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.append(transport)
            super().connection_made(transport)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Recorded(0.001), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def finish() -> None:
        server.close()
        for transport in transports:
            transport.close()
        await asyncio.sleep(0)  # lets them end
        loop.stop()

    asyncio.run_coroutine_threadsafe(finish(), loop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
def test_unary(mock: str, path: str) -> None:
    seen = client.run(Target(mock + path, {}), payloads.chat_body(), connections=4, seconds=0.05)
    assert seen.errors == 0
    assert seen.requests >= 4
    assert 0 < seen.p50 <= seen.p99


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
def test_streams_hold_all_their_chunks(mock: str, path: str) -> None:
    body = payloads.chat_body(stream=True, chunks=10)
    seen = client.run(Target(mock + path, {}), body, connections=3, seconds=0.01, chunks=10)
    assert (seen.errors, seen.error) == (0, "")
    assert seen.chunks == 10 * seen.requests >= 30
    assert 0 < seen.delay_p50 <= seen.delay_p99


def test_missing_chunks_are_errors(mock: str) -> None:
    body = payloads.chat_body(stream=True, chunks=3)
    seen = client.run(Target(mock + OPENAI, {}), body, connections=1, seconds=0, chunks=4)
    assert seen.errors == seen.requests == 1
    assert seen.error == "3 of 4 chunks arrived"


def test_large_bodies(mock: str) -> None:
    body = payloads.chat_body(payloads.LARGE)
    seen = client.run(Target(mock + OPENAI, {}), body, connections=1, seconds=0)
    assert (seen.errors, seen.requests) == (0, 1)


def test_other_answers_than_200_are_errors(mock: str) -> None:
    seen = client.run(Target(mock + "/v1/nothing", {}), b"{}", connections=1, seconds=0)
    assert seen.errors == 1
    assert seen.error.startswith("status 404: ")
    assert "no such path" in seen.error


def test_nobody_there() -> None:
    seen = client.run(Target("http://127.0.0.1:9/v1/chat/completions", {}), b"{}", connections=1, seconds=0.01)
    assert seen.requests == 0
    assert seen.errors >= 1


def test_streams_that_never_end_are_given_up(mock: str) -> None:
    body = payloads.chat_body(stream=True, chunks=10**9)
    seen = client.run(Target(mock + OPENAI, {}), body, connections=1, seconds=0.01, chunks=1, limit=0.2)
    assert seen.error == "not done after 0.2 s"


def test_the_bytes_of_a_request() -> None:
    request = Target("http://127.0.0.1:4000/v1/x", {"authorization": "Bearer k"}).request(b"{}")
    assert request == (
        b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:4000\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer k\r\ncontent-length: 2\r\n\r\n{}"
    )
