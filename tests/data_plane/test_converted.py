"""Callers of one API before upstreams of another: what is asked, what comes back, and how streams break."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings
from gatewayd.secret import Secret
from tests.clock import HandClock
from tests.data_plane.callers import Caller, Chat, Messages, Responses, Said, asking, events_of
from tests.data_plane.gateway import COUNTS, KEY, NO_MORE
from tests.engine.fakes import NO_RETRIES
from tests.fakeup import (
    DONE,
    FIN,
    HANG,
    RST,
    FakeUpstream,
    Received,
    Reply,
    Script,
    Step,
    chat_chunk,
    chat_events,
    error_reply,
    event,
    json_reply,
    sse_reply,
)
from tests.stand_ins import anthropic, gemini, responses
from tests.web.support import OPEN, Answer, RawClient, Site, serving_deployments, until

CALLERS: list[Caller] = [Messages(), Responses()]
ALL_CALLERS: list[Caller] = [*CALLERS, Chat()]
callers = pytest.mark.parametrize("caller", CALLERS, ids=[type(caller).__name__ for caller in CALLERS])

CALL = {"id": "call_1", "type": "function", "function": {"name": "Read", "arguments": '{"path": "/a"}'}}
TEXT = "Good day to you."


def call_chunk(finish: str | None = None, **call: Any) -> bytes:
    delta = {"tool_calls": [{"index": 0, **call}]} if call else {}
    return event({**chat_chunk(), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


CALL_EVENTS = [
    call_chunk(id="call_1", type="function", function={"name": "Read", "arguments": ""}),
    call_chunk(function={"arguments": '{"path"'}),
    call_chunk("tool_calls", function={"arguments": ': "/a"}'}),
    event(chat_chunk(usage=COUNTS)),
    DONE,
]


def chat(request: Received) -> Reply:
    """A server with nothing but the chat completions API."""
    if request.path != "/v1/chat/completions":
        return error_reply(404)
    body = request.json()
    calls = bool(body.get("tools")) and "call it" in json.dumps(body["messages"])
    if body.get("stream"):
        assert body["stream_options"] == {"include_usage": True}
        return sse_reply(CALL_EVENTS if calls else chat_events("Good ", "day ", "to you.", usage=COUNTS))
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]} if calls else {"content": TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return json_reply({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": COUNTS})


SERVERS: dict[str, tuple[Script, tuple[int, int], dict[str, Any]]] = {
    "chat": (chat, (5, 7), {}),
    "messages": (anthropic.answer, (11, 7), {"provider": "anthropic", "dialects": ("messages",)}),
    "gemini": (gemini.conversing, (5, 3), {"provider": "gemini", "dialects": ("gemini",)}),
    "responses": (responses.answer, (11, 7), {"dialects": ("responses",)}),
}
"""Upstreams by the API that they have: what they do, the tokens that they report, and how they are deployed."""


def deployed(up: FakeUpstream, id: str = "d1", **changes: Any) -> Deployment:
    fields: dict[str, Any] = {"provider": "openai", "api_base": up.base_url, "api_key": Secret(KEY), **changes}
    return Deployment(id=id, identity=id, group="chat", kind="forward", model="m", **fields)


@contextlib.asynccontextmanager
async def before(
    *replies: Reply | Script, server: ServerSettings = OPEN, routing: RoutingSettings = NO_RETRIES, **changes: Any
) -> AsyncIterator[tuple[FakeUpstream, Site]]:
    async with (
        FakeUpstream(*replies or (chat,)) as up,
        serving_deployments(deployed(up, **changes), server=server, routing=routing) as site,
    ):
        yield up, site


async def asked(site: Site, caller: Caller, *, stream: bool = True, **changes: Any) -> Answer:
    async with RawClient.to(site.port) as client:
        client.post(caller.path, asking(caller, stream=stream, **changes), "authorization: Bearer sk-clients")
        return await client.answer()


PAIRS = [
    pytest.param(caller, server, id=f"{type(caller).__name__} to {server}")
    for caller in ALL_CALLERS
    for server in SERVERS
    if server != type(caller).__name__.lower()
]


@pytest.mark.parametrize(("caller", "server"), PAIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_is_answered(caller: Caller, server: str, stream: bool) -> None:
    script, tokens, changes = SERVERS[server]
    without_tools = {"tools": None, "tool_choice": None, "parallel_tool_calls": None}
    async with before(script, **changes) as (up, site):
        answer = await asked(site, caller, stream=stream, **without_tools)
        assert answer.status == 200, answer.body
        said = caller.streamed(answer.body) if stream else caller.said(answer.body)
        assert said == Said(TEXT, [], "end_turn", tokens if not stream or caller.streams_usage else (0, 0))
        assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
        record = await site.record()
        assert (record["outcome"], record["prompt_tokens"], record["completion_tokens"]) == ("ok", *tokens)
    (request,) = up.requests
    keys = (request.headers.get(name, "") for name in ("authorization", "x-api-key", "x-goog-api-key"))
    assert [key.removeprefix("Bearer ") for key in keys if key] == [KEY]
    assert ("anthropic-version" in request.headers) is (server == "messages")


@pytest.mark.parametrize(("caller", "server"), PAIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called(caller: Caller, server: str, stream: bool) -> None:
    script, _, changes = SERVERS[server]
    ask = json.loads(json.dumps(caller.ask).replace("Hello", "Please call it"))
    async with before(script, **changes) as (_, site):
        answer = await asked(site, caller, stream=stream, **ask)
        assert answer.status == 200, answer.body
        said = caller.streamed(answer.body) if stream else caller.said(answer.body)
        ((name, arguments),) = said.calls
        assert (name, said.reason) == ("Read", "tool_use")
        assert set(json.loads(arguments).values()) <= {"/a", "Bern"}


async def test_what_claude_code_sends_is_asked_of_a_chat_server() -> None:
    """What chat cannot say is named; nothing is refused because it is new."""
    async with before() as (up, site):
        answer = await asked(site, Messages())
        assert answer.status == 200
    body = up.requests[0].json()
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "system"]
    assert body["model"] == "m"
    assert body["max_tokens"] == 32000
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Read", "Late"]
    assert "$schema" in body["tools"][0]["function"]["parameters"]
    assert set(body) <= {
        "model",
        "messages",
        "tools",
        "max_tokens",
        "stream",
        "stream_options",
        "user",
        "reasoning_effort",
    }
    dropped = answer.headers["x-gatewayd-dropped"].split(", ")
    assert "context_management" in dropped
    assert "messages" not in dropped
    assert "billing" not in json.dumps(body)


@callers
@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("end", [FIN, RST, HANG])
async def test_a_stream_that_breaks_ends_with_one_error(caller: Caller, framing: str, end: Step) -> None:
    """A-01, A-02, A-03, A-19: no end mark, one error event in the caller's form."""
    events = chat_events("Good ", "day ")[:2]
    async with before(sse_reply([*events, end], framing=framing, finish=False), server=NO_MORE) as (_, site):
        answer = await asked(site, caller)
        assert answer.status == 200
        assert caller.broken(answer.body)
        assert (await site.record())["outcome"] == "broken_stream"
        assert site.gateway.health.state("d1").fails == 1


@callers
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (event({"error": {"message": "boom", "type": "server_error", "code": None}}), "boom"),
        (b"data: {malformed\n\n", "upstream"),
        (b"data: [1]\n\n", "upstream"),
    ],
    ids=["A-09", "A-13", "no object"],
)
async def test_an_error_within_a_stream_has_the_callers_form(caller: Caller, bad: bytes, told: str) -> None:
    """A-09, A-13"""
    for pause in (0.0, 0.05):
        events = chat_events("Good ", "day ", usage=COUNTS)
        async with before(sse_reply([*events[:2], pause, bad, *events[2:]])) as (up, site):
            answer = await asked(site, caller)
            assert told in caller.broken(answer.body)
            assert (await site.record())["outcome"] == "broken_stream"
            assert site.gateway.health.state("d1").fails == 1
            await until(lambda: up.open_count == 0)


async def test_a_broken_response_keeps_its_id_and_what_has_come() -> None:
    events = chat_events("Good ", "day ")[:2]
    async with before(sse_reply([*events, FIN], finish=False)) as (_, site):
        *told, (name, last) = events_of((await asked(site, Responses())).body)
    assert (name, last["sequence_number"]) == ("response.failed", len(told))
    first, failed = told[0][1]["response"], last["response"]
    assert (failed["id"], failed["created_at"], failed["status"]) == (first["id"], first["created_at"], "failed")
    assert failed["output"][0]["content"][0]["text"] == "Good day "


@callers
async def test_a_stream_longer_than_the_drain_keeps_its_id(caller: Caller) -> None:
    """F-02, S4"""
    async with before(sse_reply([*chat_events("Good ", "day ")[:2], HANG], finish=False)) as (_, site):
        async with RawClient.to(site.port) as client:
            client.post(caller.path, asking(caller, stream=True))
            await client.head()
            pieces = client.chunks()
            first = await anext(pieces)
            site.gateway.draining = True
            assert await site.listener.drain(0.05) == 1
            stream = first + b"".join([piece async for piece in pieces])
        assert "stopping" in caller.broken(stream)
        assert b"resp_unknown" not in stream
        assert (await site.record())["outcome"] == "shutdown"


async def test_an_answer_without_a_time_gets_one() -> None:
    async with before() as (_, site):
        answer = json.loads((await asked(site, Responses(), stream=False)).body)
        assert answer["created_at"] > 1_700_000_000


async def test_what_the_gateway_does_itself_is_not_asked_of_the_server() -> None:
    """Codex says `store: false`, which servers refuse that do not know it."""
    async with before() as (up, site):
        for store in (False, True, None):
            answer = await asked(site, Responses(), store=store)
            assert answer.status == 200
            assert "store" not in up.requests[-1].json()
            assert "store" not in answer.headers.get("x-gatewayd-dropped", "")


async def test_a_last_event_with_images_is_not_too_large() -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "A" * 3_000_000}
    events = responses.stream()
    last = responses.event(
        "response.completed", response=responses.response("completed", [responses.message(TEXT), image])
    )
    async with before(sse_reply([*events[:-1], last]), dialects=("responses",)) as (_, site):
        body = (await asked(site, Chat())).body
        assert body.endswith(DONE)
        assert b"A" * 3_000_000 in body


@callers
@pytest.mark.parametrize("size", [1, 7, 50])
async def test_however_a_stream_is_cut_into_segments_it_says_the_same(caller: Caller, size: int) -> None:
    """A-16"""
    stream = b"".join(chat_events("Good ", "day ", "to you.", usage=COUNTS))
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    async with before(sse_reply(pieces)) as (_, site):
        assert caller.streamed((await asked(site, caller)).body) == Said(TEXT, [], "end_turn", (5, 7))


@callers
@pytest.mark.parametrize(
    "bad",
    [
        sse_reply([event({"error": {"message": "boom"}}), DONE]),
        sse_reply([]),
        error_reply(503),
        json_reply({"choices": []}),
    ],
    ids=["A-08", "A-12", "A-28", "no choices"],
)
async def test_an_attempt_that_fails_first_is_made_elsewhere(caller: Caller, bad: Reply) -> None:
    """A-08, A-12, A-28"""
    async with FakeUpstream(bad) as first, FakeUpstream(chat) as second:
        deployments = deployed(first, "first", order=1), deployed(second, "second", order=2)
        async with serving_deployments(*deployments, routing=RoutingSettings(num_retries=1)) as site:
            answer = await asked(site, caller)
            assert caller.streamed(answer.body).text == TEXT
            assert answer.headers["x-gatewayd-deployment"] == "second"


@callers
async def test_an_error_has_the_callers_form(caller: Caller) -> None:
    async with before(error_reply(400, "context_length_exceeded: too long", type="invalid_request_error")) as (_, site):
        answer = await asked(site, caller)
        kind, message = caller.error(answer.body)
        assert (answer.status, kind) == (400, "invalid_request_error")
        assert message.startswith("context_length_exceeded: too long")
    async with before(error_reply(500)) as (_, site):
        assert (await asked(site, caller)).status == 500
    async with before() as (_, site):
        unsayable: dict[str, Any] = {
            "mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}],
            "previous_response_id": "resp_1",
        }
        answer = await asked(site, caller, **unsayable)
        assert (answer.status, caller.error(answer.body)[0]) == (400, "invalid_request_error")


@callers
async def test_a_client_that_leaves_ends_the_upstream_at_once(caller: Caller, clock: HandClock) -> None:
    """A-20"""
    async with before(sse_reply([*chat_events("a", "b")[:2], HANG], finish=False)) as (up, site):
        async with RawClient.to(site.port) as client:
            client.post(caller.path, asking(caller, stream=True))
            await client.head()
            await anext(client.chunks())
            clock.stop()
            client.close()
            await up.requests[0].peer.gone.wait()
            clock.start()
        assert (await site.record())["outcome"] == "client_left"
        assert site.gateway.health.state("d1").fails == 0


@callers
async def test_comments_of_the_upstream_are_signs_of_life_for_the_client_too(caller: Caller) -> None:
    events = chat_events("Good ", "day ", "to you.", usage=COUNTS)
    async with before(sse_reply([events[0], 0.05, b": processing\n\n", 0.05, *events[1:]])) as (_, site):
        body = (await asked(site, caller)).body
        assert b": keep-alive\n\n" in body
        assert caller.streamed(body).text == TEXT


async def test_tokens_are_estimated() -> None:
    async with before() as (up, site), RawClient.to(site.port) as client:
        client.post("/v1/messages/count_tokens?beta=true", asking(Messages(), stream=False))
        answer = await client.answer()
        assert (answer.status, answer.headers["x-gatewayd-estimated"]) == (200, "input_tokens")
        assert 50 < json.loads(answer.body)["input_tokens"] < 200
        assert not up.requests


@callers
@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_without_an_api_that_its_provider_has_is_asked_in_another(caller: Caller, stream: bool) -> None:
    """As an older version of vLLM or Ollama: its 404s are remembered, so each is asked for once."""

    def old(request: Received) -> Reply:
        return chat(request) if "chat" in request.path else json_reply({"detail": "Not Found"}, status=404)

    async with before(old, dialects=("chat", "responses", "messages")) as (up, site):
        for _ in range(3):
            answer = await asked(site, caller, stream=stream)
            said = caller.streamed(answer.body) if stream else caller.said(answer.body)
            assert (said.text, answer.headers["x-gatewayd-attempts"]) == (TEXT, "1")
        others = [request.path for request in up.requests if "chat" not in request.path]
        assert sorted(others) == ["/v1/messages", "/v1/responses"]


async def test_a_model_that_a_server_has_not_is_no_missing_api() -> None:
    gone = anthropic.error(404, "not_found_error", "model: m")
    async with before(gone, dialects=("chat", "messages")) as (up, site):
        for _ in range(2):
            assert (await asked(site, Messages())).status == 404
        assert {request.path for request in up.requests} == {"/v1/messages"}


@callers
@pytest.mark.parametrize("stream", [False, True])
async def test_a_mock_answers_every_api(caller: Caller, stream: bool) -> None:
    """So that Claude Code and Codex can be tried without a key."""
    mock = Deployment("d1", "d1", "chat", "scripted", "mock", "m", mock={"text": TEXT})
    async with serving_deployments(mock) as site:
        answer = await asked(site, caller, stream=stream)
        said = caller.streamed(answer.body) if stream else caller.said(answer.body)
        assert (said.text, said.reason) == (TEXT, "end_turn")
        assert said.tokens[1] > 0


@callers
async def test_a_mock_that_is_cut_breaks_the_stream(caller: Caller) -> None:
    mock = Deployment("d1", "d1", "chat", "scripted", "mock", "m", mock={"text": TEXT, "cut_after": 2})
    async with serving_deployments(mock) as site:
        assert caller.broken((await asked(site, caller)).body)
