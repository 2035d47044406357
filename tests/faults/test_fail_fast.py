"""H-05 without a task: a request whose head is known, once for every operation on a socket that can fail."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator

import pytest

from tests.faults.sockets import Saboteur, sabotaged
from tests.web.counting import PATH, Place, placed
from tests.web.support import RawClient, until

ERRORS = (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ENOBUFS)


@pytest.fixture
def saboteur() -> Iterator[Saboteur]:
    with sabotaged() as found:
        yield found


async def _each(place: Place, saboteur: Saboteur, *, upstream: bool) -> list[bytes]:
    """What came back, for each operation that failed and for each way to fail."""
    received: list[bytes] = []
    ports = {"upstreams": [place.up.port]} if upstream else {"clients": [place.port]}
    for saboteur.error in ERRORS:
        for at in range(1, 50):
            async with RawClient.to(place.port) as client:
                await place.warm(client)
                saboteur.arm(at, **ports)
                client.post(PATH)
                got = b""
                with contextlib.suppress(ConnectionError):
                    got = await client.reader.read(65536)
                struck = saboteur.struck
                saboteur.disarm()
                await until(lambda: place.gateway.in_flight == 0)
                assert len(place.site.records.fields) <= 1
                if not struck:
                    assert got.startswith(b"HTTP/1.1 200")
                    assert place.tasks == 0
                    break
                received.append(got)
        else:
            raise AssertionError("a request without end")
    return received


async def test_an_upstream_socket_that_fails_at_any_operation(saboteur: Saboteur) -> None:
    """H-05: the next try makes it good, whether it was blamed on somebody or not."""
    async with placed() as place:
        received = await _each(place, saboteur, upstream=True)
        assert len(received) >= 2 * len(ERRORS)
        for got in received:
            head, _, body = got.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):  # the first and the second try on one connection
                assert head.startswith(b"HTTP/1.1 502")
                assert json.loads(body)["error"]["code"].startswith("upstream_")
        assert sum(got.startswith(b"HTTP/1.1 200") for got in received) >= 2 * len(ERRORS)


async def test_a_client_socket_that_fails_at_any_operation(saboteur: Saboteur) -> None:
    """H-05: the client gets its answer or nothing, nobody is blamed, the lease ends."""
    async with placed() as place:
        received = await _each(place, saboteur, upstream=False)
        assert len(received) >= 2 * len(ERRORS)
        for name in ("first", "second"):
            assert place.gateway.health.state(name).fails == 0
        assert set(received) == {b""}
