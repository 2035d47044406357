"""A request without a task or a parser is answered as one with both; one that has to wait goes on in a task."""

from __future__ import annotations

import asyncio
import gzip
import json
import weakref
from dataclasses import replace
from typing import Literal

import pytest

from gatewayd.config.snapshot import ServerSettings, ServerTimeouts, Snapshot
from gatewayd.engine.build import build
from tests.fakeup import (
    DONE,
    FIN,
    HANG,
    RST,
    Reply,
    body_reply,
    chat_events,
    error_reply,
    json_reply,
    raw_reply,
    sse_reply,
)
from tests.web.counting import GOOD, OPEN, PATH, RETRIES, USAGE, deployments, placed, request, shared
from tests.web.support import CHAT, STREAM, RawClient, until


async def test_direct_and_litellm_answer_alike() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        client.post(PATH)
        short = await client.answer()
        assert place.tasks == 0
        place.tasks = 0
        client.post(PATH, CHAT, "x-litellm-timeout: 100")
        long = await client.answer()
        assert place.tasks == 1
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


async def test_direct_and_litellm_pack_vectors() -> None:
    vectors = json_reply({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": USAGE})
    asked = b'{"model":"chat","input":"a","encoding_format": "base64"}'
    async with placed(vectors) as place, RawClient.to(place.port) as client:
        answers = []
        for headers in [()] * 20 + [("x-litellm-timeout: 100",)]:
            client.post("/v1/embeddings", asked, *headers)
            answers.append(await client.answer())
        assert 0 < place.tasks < len(answers)
        assert {answer.body for answer in answers} == {
            b'{"object":"list","data":[{"index":0,"embedding":"AAAAPw=="}],"usage":'
            + json.dumps(USAGE).replace(" ", "").encode()
            + b"}"
        }


async def test_an_upstreams_key_in_a_header_does_not_pass() -> None:
    """U-F8: neither of a head that came before nor of another."""
    answer = {"object": "chat.completion", "choices": [{}]}
    shown = json_reply(answer, headers=[("openai-version", "for sk-x-0123456789"), ("openai-model", "gpt-4o-mini")])
    async with placed(shown) as place, RawClient.to(place.port) as client:
        for _ in range(20):
            client.post(PATH)
            told = (await client.answer()).headers
            assert (told["openai-version"], told["openai-model"]) == ("***", "gpt-4o-mini")
        assert place.tasks < 20


@pytest.mark.parametrize(("report", "name"), [("upstream", "gpt-4o-2024-11-20"), ("group", "chat")])
async def test_answers_name_the_model_or_the_group(report: Literal["upstream", "group"], name: str) -> None:
    """U-B19: on both ways, and in streams."""
    answer = {"object": "chat.completion", "model": "gpt-4o-2024-11-20", "choices": [{}]}
    server = ServerSettings(report_model=report)
    async with placed(json_reply(answer), server=server) as place, RawClient.to(place.port) as client:
        await place.warm(client)
        client.post(PATH)
        short = await client.answer()
        assert place.tasks == 0
        client.post(PATH, CHAT, "x-litellm-timeout: 100")
        long = await client.answer()
        assert short.body == long.body == json.dumps(answer | {"model": name}, separators=(",", ":")).encode()
        place.up.then(sse_reply(chat_events("a")))
        client.post(PATH, STREAM)
        streamed = await client.answer()
        told = {
            json.loads(event[6:])["model"] for event in streamed.body.split(b"\n\n") if event.startswith(b"data: {")
        }
        assert told == {"chat" if report == "group" else "fake"}


async def test_a_heavy_answer_is_looked_at_beside_the_loop() -> None:
    """U-F6: a good one, one that is none, and one whose client leaves meanwhile."""
    coded = [("Content-Encoding", "gzip")]
    body = b'{"object":"chat.completion","choices":[{}],"x":"' + b"0" * 30_000_000 + b'"}'
    bomb = body_reply(gzip.compress(body), headers=coded)
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        place.up.then(bomb)
        client.post(PATH)
        assert (await client.answer()).body == body
        assert place.tasks == 1
        place.up.then(body_reply(b"none", headers=coded), GOOD)
        await place.warm(client)
        place.up.then(body_reply(b"none", headers=coded), GOOD)
        client.post(PATH)
        answer = await client.answer()
        assert (answer.status, answer.headers["x-gatewayd-attempts"]) == (200, "2")
        place.up.then(bomb)
        place.up.requests.clear()
        place.site.records.fields.clear()
        async with RawClient.to(place.port) as leaver:
            leaver.post(PATH)
            await until(lambda: len(place.up.requests) == 1)
        await until(lambda: len(place.site.records.fields) == 1)  # `placed` sees that nothing is left of it


async def test_the_clients_request_id_is_kept() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client, "x-request-id: mine-1")
        client.post(PATH, CHAT, "x-request-id: mine-1")
        assert (await client.answer()).headers["x-request-id"] == "mine-1"
        assert place.tasks == 0
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
            assert place.tasks == ordinary


async def test_heads_that_are_always_new_take_it_too() -> None:
    """As with an id or a trace in each request: they come through the parser, and no further."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        for number in range(5):
            client.post(PATH, CHAT, f"x-request-id: id-{number}", f"traceparent: 00-{number:032x}-{number:016x}-01")
            assert (await client.answer()).headers["x-request-id"] == f"id-{number}"
            assert place.up.requests[-1].headers["traceparent"].startswith(f"00-{number:032x}")
        assert place.tasks == 0
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
        assert place.tasks == 0


async def test_no_known_head_keeps_a_configuration_alive() -> None:
    """H-02."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        old = weakref.ref(place.gateway.current)
        place.gateway.swap(await build(Snapshot("r2", deployments(place.up), RETRIES, OPEN), place.gateway))
        await until(lambda: old() is None)
        client.post(PATH)
        assert (await client.answer()).headers["x-gatewayd-revision"] == "r2"
        assert place.tasks == 0


async def test_bodies_of_any_length_come_under_the_same_head() -> None:
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        for size in (1, 10, 1000, 50_000):
            body = json.dumps({"model": "chat", "messages": "x" * size}).encode()
            client.post(PATH, body)
            answer = await client.answer()
            assert answer.status == 200
            assert json.loads(place.up.requests[-1].body)["messages"] == "x" * size
        assert place.tasks == 0
        client.post(PATH, json.dumps({"model": "chat", "messages": "x" * 100_000}).encode())
        assert (await client.answer()).status == 200
        assert place.parsed == 1


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
            assert place.tasks == (pause > 0.2)


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
        assert (place.parsed, place.tasks) == (0, 1)
        await until(lambda: len(place.site.records.fields) == 7)
        assert [record["status"] for record in place.site.records.fields] == [200, 400, 404, 400, 400, 400, 200]


async def test_a_body_that_cannot_be_rewritten_is_told_so() -> None:
    """C-04: the number is looked at only where something has to be taken out of the field it stands in."""
    body = b'{"model":"chat","tools":[{"n":1e999}]}'
    async with placed() as place, RawClient.to(place.port) as client:
        picky = [
            replace(d, identity=f"{d.id} picky", additional_drop_params=("tools[*].strict",))
            for d in deployments(place.up)
        ]
        place.gateway.swap(await build(Snapshot("r2", tuple(picky), RETRIES, OPEN), place.gateway))
        await place.warm(client)
        for _ in range(2):
            client.post(PATH, body)
            answer = await client.answer()
            assert (answer.status, answer.error["param"]) == (400, "tools")
        client.post(PATH)
        assert (await client.answer()).status == 200
        assert place.parsed == 0


async def test_direct_and_litellm_say_what_was_dropped() -> None:
    """U-A5: x-gatewayd-dropped names what `drop_params` left out, of the try that was answered."""
    body = b'{"model":"chat","messages":[],"top_p":0.5,"stop":["x"],"temperature":0.2}'
    async with placed() as place, RawClient.to(place.port) as client:
        dropping = [
            replace(d, identity=f"{d.id} gpt-5", model="gpt-5", drop_params=True) for d in deployments(place.up)
        ]
        place.gateway.swap(await build(Snapshot("r2", tuple(dropping), RETRIES, OPEN), place.gateway))
        await place.warm(client)
        client.post(PATH, body)
        short = await client.answer()
        assert place.tasks == 0
        client.post(PATH, body, "x-litellm-timeout: 100")
        long = await client.answer()
        assert place.tasks == 1
        assert short.headers["x-gatewayd-dropped"] == long.headers["x-gatewayd-dropped"] == "stop, temperature, top_p"
        assert json.loads(place.up.requests[0].body) == {"model": "gpt-5", "messages": []}
        client.post(PATH)
        assert "x-gatewayd-dropped" not in (await client.answer()).headers


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
    """A-28, A-31: it goes on in a task; the client gets one good answer."""
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
        assert (answer.headers["x-gatewayd-attempts"], answer.headers["x-gatewayd-revision"]) == ("1", "r1")
        assert await client.ended() == b""
        record = place.site.records.fields[-1]
        assert (record["outcome"], record["attempts"], record["revision"]) == ("shutdown", 1, "r1")


async def test_a_drain_waits_for_what_is_under_way() -> None:
    """F-01; and S2: the client is told to come back on another connection."""
    async with placed() as place, RawClient.to(place.port) as client:
        await place.warm(client)
        gate = asyncio.Event()
        place.up.then(Reply([gate, *GOOD.steps]))
        client.post(PATH)
        await until(lambda: len(place.up.requests) == 1)
        draining = asyncio.get_running_loop().create_task(place.site.listener.drain(5))
        await asyncio.sleep(0.02)
        gate.set()
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""
        assert await draining == 0
