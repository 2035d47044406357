"""H-05: the same request, once for every operation on a socket that can fail."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator

import pytest

from tests.fakeup import FakeUpstream
from tests.faults.request_path import RequestPath, staged
from tests.faults.sockets import Saboteur, sabotaged
from tests.faults.test_cancel_everywhere import EVENTS, WHOLE
from tests.replies import sse_reply

STREAM = sse_reply([EVENTS[0], 0.002, *EVENTS[1:]])


@pytest.fixture
def saboteur() -> Iterator[Saboteur]:
    with sabotaged() as found:
        yield found


async def _each(
    path: RequestPath, saboteur: Saboteur, *, upstream: bool, stream: bool, model: str, pooled: bool = True
) -> list[list[bytes]]:
    """What came back, for each operation that failed and for each way to fail; ends when none is left to fail.

    Unless `pooled`, each request finds no idle connection to its upstream.
    """
    ports = {"upstreams": [path.primary.port]} if upstream else {"clients": [path.port]}
    answers: list[list[bytes]] = []
    records = len(path.records.fields)
    for saboteur.error in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ENOBUFS):
        answers.append([])
        for at in range(1, 200):
            for connection in [c for pool in path.pools for c in pool._idle] if not pooled else []:
                connection.abort()
            saboteur.arm(at, **ports)
            received = await path.ask(stream=stream, model=model)
            struck, operations = saboteur.struck, list(saboteur.log)
            saboteur.disarm()
            seen = [record["request_id"] for record in path.records.fields]
            assert len(set(seen)) == len(seen)
            records = len(seen) if not upstream else records + 1  # a client may be gone before its request is there
            await path.at_rest(records)
            if not struck:
                assert received.startswith(b"HTTP/1.1 200"), operations
                break
            answers[-1].append(received)
        else:
            raise AssertionError("a request without end")
    await path.unheard()
    return answers


@pytest.mark.parametrize("pooled", [False, True], ids=["fresh", "pooled"])
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_an_upstream_socket_that_fails_at_any_operation(saboteur: Saboteur, stream: bool, pooled: bool) -> None:
    """H-05: an error of the closed list before the commit point, one error event after it."""
    reply = STREAM if stream else WHOLE
    async with FakeUpstream(reply) as primary, FakeUpstream() as spare, staged(primary, spare) as path:
        # Two deployments: most failures are made good by the second try.
        for answers in await _each(path, saboteur, upstream=True, stream=stream, model="chat", pooled=pooled):
            assert len(answers) >= (2 if pooled else 4)
            for received in answers:
                head, _, body = received.partition(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 200"):
                    assert _is_good(body, stream) or _is_broken_stream(body)
                else:
                    assert head.startswith((b"HTTP/1.1 502", b"HTTP/1.1 504"))
                    assert json.loads(body)["error"]["code"].startswith("upstream_")
        states = [record["outcome"] for record in path.records.fields]
        assert set(states) <= {"ok", "error", "broken_stream"}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_a_client_socket_that_fails_at_any_operation(saboteur: Saboteur, stream: bool) -> None:
    """H-05: the client gets a part of its answer or nothing; the upstream is let go, nobody is blamed."""
    reply = STREAM if stream else WHOLE
    async with FakeUpstream(reply) as primary, FakeUpstream() as spare, staged(primary, spare) as path:
        for answers in await _each(path, saboteur, upstream=False, stream=stream, model="chat"):
            assert len(answers) >= 3
        for name in ("first", "second"):
            assert path.gateway.health.state(name).fails == 0
        assert {record["outcome"] for record in path.records.fields} <= {"ok", "client_left"}


def _is_good(body: bytes, stream: bool) -> bool:
    return body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and b'"error"' not in body if stream else b"choices" in body


def _is_broken_stream(body: bytes) -> bool:
    """Exactly one error event, no end mark, a clean end."""
    return body.count(b'"error"') == 1 and b"[DONE]" not in body and body.endswith(b"0\r\n\r\n")
