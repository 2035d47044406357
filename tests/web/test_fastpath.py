"""The fast path answers as the ordinary path does, and hands over whatever it is not made for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.http_parser import RawRequestMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings, ServerTimeouts, Snapshot
from gatewayd.engine.build import build
from gatewayd.engine.runtime import Gateway
from gatewayd.observe.metrics import Metrics
from gatewayd.secret import Secret
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.web.app import data_listener
from gatewayd.web.connection import Connection, Deadlines
from gatewayd.web.loop import LoopServer
from tests.fakeup import (
    DONE,
    FIN,
    HANG,
    RST,
    FakeUpstream,
    Received,
    Reply,
    body_reply,
    chat_events,
    error_reply,
    json_reply,
    raw_reply,
    sse_reply,
)
from tests.web.support import CHAT, KEY, LOCAL, STREAM, WITH_KEY, Answer, RawClient, Records, Site, until

PATH = "/v1/chat/completions"
OWN = ("x-request-id", "x-litellm-call-id", "x-gatewayd-overhead-ms", "x-litellm-overhead-duration-ms",
       "x-litellm-response-duration-ms", "date", "x-gatewayd-deployment", "x-litellm-model-id")  # fmt: skip
"""Headers that differ from answer to answer."""
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
GOOD = json_reply({"object": "chat.completion", "choices": [], "usage": USAGE})


@dataclass
class Place:
    """A data side in front of two deployments at one scripted upstream; `ordinary` counts what took the long way."""

    site: Site
    up: FakeUpstream
    ordinary: int = 0

    @property
    def port(self) -> int:
        return self.site.port

    @property
    def gateway(self) -> Gateway:
        return self.site.gateway

    async def warm(self, client: RawClient, *headers: str) -> None:
        """Makes the head of `post(PATH, ...)` with these headers known, and leaves idle connections upstream."""
        for _ in range(100):
            client.post(PATH, CHAT, *headers)
            assert (await client.answer()).status == 200
            targets = self.gateway.current.targets.values()
            if all(isinstance(t.upstream, ForwardUpstream) and t.upstream._pool.idle_count for t in targets):
                break
        await asyncio.sleep(0)
        self.ordinary = 0
        self.site.records.fields.clear()
        self.up.requests.clear()


def deployments(up: FakeUpstream) -> tuple[Deployment, ...]:
    return tuple(
        Deployment(
            name, name, "chat", "forward", "openai", "m", api_base=up.base_url, api_key=Secret("sk-x-0123456789")
        )
        for name in ("first", "second")
    )


RETRIES = RoutingSettings(num_retries=1, disable_cooldowns=True)
OPEN = ServerSettings()


@contextlib.asynccontextmanager
async def placed(
    *replies: Reply, server: ServerSettings = OPEN, deadlines: Deadlines | None = None
) -> AsyncIterator[Place]:
    gateway, metrics = Gateway(), Metrics()
    async with FakeUpstream(*replies or (GOOD,)) as up:
        gateway.swap(await build(Snapshot("r1", deployments(up), RETRIES, server), gateway))
        listener = data_listener(gateway, metrics, deadlines=deadlines)
        with Records() as records:
            place = Place(Site(gateway, metrics, listener, records), up)
            loop_server = listener._server
            assert isinstance(loop_server, LoopServer)
            answer = loop_server.answer

            def counted(message: RawRequestMessage, payload: StreamReader, connection: Connection) -> Awaitable[bool]:
                place.ordinary += 1
                return answer(message, payload, connection)

            loop_server.answer = counted
            await listener.serve([LOCAL])
            try:
                yield place
                await until(lambda: gateway.in_flight == 0)
                states = [
                    gateway.health.state(target.candidate.identity) for target in gateway.current.targets.values()
                ]
                assert [state.in_flight for state in states] == [0, 0]
            finally:
                await listener.drain(0)
                await gateway.close()


def shared(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    return answer.status, {name: value for name, value in answer.headers.items() if name not in OWN}, answer.body


async def test_both_ways_answer_alike() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        client.post(PATH)
        short = await client.answer()
        assert place.ordinary == 0
        place.ordinary = 0
        client.post(PATH, CHAT, "x-litellm-timeout: 100")
        long = await client.answer()
        assert place.ordinary == 1
        assert shared(short) == shared(long)
        assert short.headers.keys() == long.headers.keys()
        assert list(short.headers)[:1] == ["content-type"]
        assert short.headers["x-request-id"] == short.headers["x-litellm-call-id"] != long.headers["x-request-id"]
        await until(lambda: len(place.site.records.fields) == 2)
        second, first = place.site.records.fields
        assert list(first) == list(second)
        differing = {name for name in first if first[name] != second[name]}
        assert differing <= {"request_id", "duration_ms", "deployment"}
        assert second["request_id"] == short.headers["x-request-id"]
        assert (second["prompt_tokens"], second["completion_tokens"]) == (3, 4)
        total = place.site.sample("gatewayd_requests_total", group="chat", outcome="ok")
        assert total == place.site.sample("gatewayd_request_duration_seconds_count", group="chat")
        client.post(PATH)
        await client.answer()
        assert place.site.sample("gatewayd_requests_total", group="chat", outcome="ok") == (total or 0) + 1
        one, two = place.up.requests[:2]
        assert (one.head, one.body) == (two.head, two.body)


async def test_the_clients_request_id_is_kept() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client, "x-request-id: mine-1")
        client.post(PATH, CHAT, "x-request-id: mine-1")
        assert (await client.answer()).headers["x-request-id"] == "mine-1"
        assert place.ordinary == 0
        await until(lambda: place.site.records.fields[-1]["request_id"] == "mine-1")


async def test_a_head_that_first_came_without_its_body_is_known_afterwards() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        wire = request(1, "x-client: sdk\r\n")
        at = wire.index(b"{")
        for ordinary in (1, 1, 1):
            client.send(wire[:at])
            await asyncio.sleep(0.02)
            client.send(wire[at:])
            assert (await client.answer()).status == 200
            assert place.ordinary == ordinary


async def test_heads_that_are_always_new_take_it_too() -> None:
    """As with an id or a trace in each request: they come through the parser, and no further."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        for number in range(5):
            client.post(PATH, CHAT, f"x-request-id: id-{number}", f"traceparent: 00-{number:032x}-{number:016x}-01")
            assert (await client.answer()).headers["x-request-id"] == f"id-{number}"
            assert place.up.requests[-1].headers["traceparent"].startswith(f"00-{number:032x}")
        assert place.ordinary == 0
        await until(
            lambda: [record["request_id"] for record in place.site.records.fields] == [f"id-{n}" for n in range(5)]
        )


async def test_a_head_is_remembered_as_what_it_was() -> None:
    """C-07, D-18: not as one that came behind it in the same bytes."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        first, second, third = (request(n, f"x-request-id: {name}\r\n") for n, name in enumerate(("a", "b", "c")))
        for wire in (first, second + third, first, second, third):
            client.send(wire)
            for name in {first: "a", second: "b", third: "c"}.get(wire, "bc"):
                assert (await client.answer()).headers["x-request-id"] == name
        assert place.ordinary == 0


async def test_no_known_head_keeps_a_configuration_alive() -> None:
    """H-02."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        old = weakref.ref(place.gateway.current)
        place.gateway.swap(await build(Snapshot("r2", deployments(place.up), RETRIES, OPEN), place.gateway))
        await until(lambda: old() is None)
        client.post(PATH)
        assert (await client.answer()).headers["x-gatewayd-revision"] == "r2"
        assert place.ordinary == 0


async def test_bodies_of_any_length_come_under_the_same_head() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        for size in (1, 10, 1000, 50_000):
            body = json.dumps({"model": "chat", "messages": "x" * size}).encode()
            client.post(PATH, body)
            answer = await client.answer()
            assert answer.status == 200
            assert json.loads(place.up.requests[-1].body)["messages"] == "x" * size
        assert place.ordinary == 0
        client.post(PATH, json.dumps({"model": "chat", "messages": "x" * 100_000}).encode())
        assert (await client.answer()).status == 200
        assert place.ordinary == 1


async def test_head_and_body_may_come_one_after_the_other() -> None:
    """As httpx, and with it OpenAI's SDK, sends them."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(CHAT)}\r\n"
        head += "content-type: application/json\r\n\r\n"
        for pause in (0.01, 0.5):
            client.send(head.encode())
            await asyncio.sleep(pause)
            client.send(CHAT[:7])
            await asyncio.sleep(0.01)
            client.send(CHAT[7:])
            assert (await client.answer()).status == 200
            assert place.ordinary == (pause > 0.2)


async def test_what_it_is_not_made_for_is_an_exchange_without_the_parser() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(sse_reply(chat_events("a", "b")), GOOD)
        client.post(PATH, STREAM)
        assert (await client.answer()).body.endswith(DONE)
        for body, status in (
            (b"{", 400),
            (b'{"model":"nobody"}', 404),
            (b'{"model":"chat","api_key":"x"}', 400),
            (b'{"model":"chat","model":"chat"}', 400),
            (b'{"model":"chat","stream":1}', 400),
        ):
            client.post(PATH, body)
            assert (await client.answer()).status == status
        client.post(PATH)
        assert (await client.answer()).status == 200
        assert place.ordinary == 0
        await until(lambda: len(place.site.records.fields) == 7)
        assert [record["status"] for record in place.site.records.fields] == [200, 400, 404, 400, 400, 400, 200]


FAILURES = {
    "500": error_reply(500),
    "reset": raw_reply(RST),
    "closed": raw_reply(FIN),
    "garbage": raw_reply(b"HTTP/1.1 200\x00 ok\r\n\r\n"),
    "html": body_reply(b"<html>login</html>", content_type="text/html"),
    "cut": raw_reply(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{", FIN),
    "error in a 200": json_reply({"error": {"message": "busy", "type": "server_error", "code": None}}),
    "too many": error_reply(429),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failed_try_is_followed_by_the_next(name: str) -> None:
    """A-28, A-31: as on the ordinary path, which takes over; the client gets one good answer."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(FAILURES[name], GOOD)
        client.post(PATH)
        answer = await client.answer()
        assert answer.status == 200
        # A connection that was idle and breaks at once is nobody's fault: that was no try.
        stale = name in ("reset", "closed")
        assert answer.headers["x-gatewayd-attempts"] == ("1" if stale else "2")
        assert len(place.up.requests) == 2
        await until(lambda: len(place.site.records.fields) == 1)
        assert place.site.records.fields[0]["attempts"] == (1 if stale else 2)
        fails = [place.gateway.health.state(name).fails for name in ("first", "second")]
        assert sum(fails) == (0 if stale else 1)
        client.post(PATH)
        assert (await client.answer()).status == 200


async def test_the_callers_own_mistake_passes_through() -> None:
    """A-29."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(error_reply(400))
        client.post(PATH)
        answer = await client.answer()
        assert (answer.status, answer.headers["x-gatewayd-attempts"]) == (400, "1")
        assert len(place.up.requests) == 1
        await until(lambda: place.site.records.fields[-1]["outcome"] == "rejected")


async def test_the_time_is_up_while_the_upstream_is_silent() -> None:
    """A-18: the whole time, from the request on; the try that took it is in the answer."""
    server = ServerSettings(timeouts=ServerTimeouts(total=5.0, first_byte=60.0))
    async with placed(server=server) as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(raw_reply(HANG))
        client.post(PATH)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert answer.headers["x-gatewayd-attempts"] == "1"
        await until(lambda: place.up.open_count == 1)


async def test_a_client_that_leaves_takes_the_upstream_along() -> None:
    """A-22: nobody is blamed, nothing stays."""
    async with placed() as place:
        async with RawClient.to(place.port) as client:
            await place.warm(client)
            place.up.then(raw_reply(HANG))
            client.post(PATH)
            await until(lambda: len(place.up.requests) == 1)
            client.reset()
            await until(lambda: place.up.open_count == 1)  # that of the other deployment, idle
        await until(lambda: len(place.site.records.fields) == 1)
        record = place.site.records.fields[0]
        assert (record["outcome"], record["status"], record["attempts"]) == ("client_left", 499, 1)
        assert place.site.sample("gatewayd_requests_total", group="chat", outcome="client_left") == 1


async def test_a_drain_that_ends_says_so() -> None:
    """S4, F-02."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(raw_reply(HANG))
        client.post(PATH)
        await until(lambda: len(place.up.requests) == 1)
        assert place.site.sample("gatewayd_inflight_requests") == 1
        place.gateway.draining = True
        assert await place.site.listener.drain(0.05) == 1
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_shutting_down")
        assert await client.ended() == b""
        assert place.site.records.fields[-1]["outcome"] == "shutdown"


async def test_a_drain_waits_for_what_is_under_way() -> None:
    """F-01."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        gate = asyncio.Event()
        place.up.then(Reply([gate, *GOOD.steps]))
        client.post(PATH)
        await until(lambda: len(place.up.requests) == 1)
        draining = asyncio.get_running_loop().create_task(place.site.listener.drain(5))
        await asyncio.sleep(0.02)
        gate.set()
        assert (await client.answer()).status == 200
        assert await client.ended() == b""
        assert await draining == 0


async def test_a_key_that_a_reload_took_away_opens_nothing() -> None:
    """D-17: what is remembered of a head is who it was, not that it may."""
    auth = f"authorization: Bearer {KEY}"
    async with placed(server=WITH_KEY) as place, RawClient.to(place.port) as client:
        await place.warm(client, auth)
        client.post(PATH, CHAT, auth)
        assert (await client.answer()).status == 200
        assert place.ordinary == 0
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
        assert len(connection._fast._known) == 0  # type: ignore[attr-defined]


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


def request(number: int, extra: str = "") -> bytes:
    body = json.dumps({"model": "chat", "n": number}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def echoed(received: Received) -> Reply:
    return json_reply({"n": received.json()["n"]})


@settings(max_examples=40, deadline=None)
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
        assert place.ordinary == 0


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
