"""Anthropic's Messages API in front of upstreams that have it: bytes, headers, errors and faults of streams."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings
from gatewayd.secret import Secret
from tests.data_plane.gateway import KEY, NO_MORE
from tests.engine.fakes import NO_RETRIES
from tests.fakeup import FIN, HANG, RST, FakeUpstream, Reply, Script, Step, error_reply, json_reply, sse_reply
from tests.stand_ins import anthropic
from tests.web.support import OPEN, Answer, RawClient, Site, serving_deployments

PATH = "/v1/messages?beta=true"
ODD = b'"metadata":{"user_id":"{\\"a\\":1}"},"fallbacks":["x"],"context_management":{"edits":[]}, "n": 1.0'
ASK = b'{"model":"chat", "max_tokens":32000,"system":[{"type":"text","text":"\\u00e4"}],"messages":[],%b}' % ODD
ASK_STREAM = ASK.replace(b'"max_tokens"', b'"stream":true,"max_tokens"')
EVENTS = anthropic.stream("one", "two")
OWN = ("anthropic-version: 2026-10-21", "anthropic-beta: a-1,b-2", "x-api-key: sk-clients", "authorization: Bearer c")
"""Headers of a client."""


def claude(up: FakeUpstream, id: str = "d1", **changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "kind": "translate",
        "provider": "anthropic",
        "api_base": anthropic.base_url(up),
        "api_key": Secret(KEY),
        "dialects": ("chat", "messages"),
    }
    return Deployment(id=id, identity=id, group="chat", model="claude-x", **fields | changes)


@contextlib.asynccontextmanager
async def before(
    *replies: Reply | Script, server: ServerSettings = OPEN, routing: RoutingSettings = NO_RETRIES, **changes: Any
) -> AsyncIterator[tuple[FakeUpstream, Site]]:
    async with (
        FakeUpstream(*replies or (anthropic.answer,)) as up,
        serving_deployments(claude(up, **changes), server=server, routing=routing) as site,
    ):
        yield up, site


async def asked(site: Site, body: bytes = ASK, *headers: str, path: str = PATH) -> Answer:
    async with RawClient.to(site.port) as client:
        client.post(path, body, *headers)
        return await client.answer()


def error_of(answer: Answer) -> tuple[int, str, str]:
    told = json.loads(answer.body)
    assert set(told) - {"request_id"} == {"type", "error"}
    assert told["type"] == "error"
    return answer.status, told["error"]["type"], told["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/messages", PATH, "/messages", "/v1/messages/count_tokens?beta=true"])
async def test_a_request_goes_on_as_it_came(path: str) -> None:
    """Only the model differs; the client's key stays here, and what the API's own headers say goes on."""
    replies = [anthropic.whole()] if "count" not in path else [json_reply({"input_tokens": 7})]
    async with before(*replies) as (up, site):
        answer = await asked(site, ASK, *OWN, path=path)
        assert answer.status == 200
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
    (request,) = up.requests
    assert request.target == path if path.startswith("/v1") else f"/v1{path}"
    assert request.body == ASK.replace(b'"model":"chat", ', b'"model":"claude-x",').replace(b', "n": 1.0', b',"n":1.0')
    sent = {
        name: request.headers.get(name)
        for name in ("x-api-key", "authorization", "anthropic-version", "anthropic-beta")
    }
    assert sent == {
        "x-api-key": KEY, "authorization": None, "anthropic-version": "2026-10-21", "anthropic-beta": "a-1,b-2"
    }  # fmt: skip


async def test_a_version_is_sent_to_who_asks_for_one() -> None:
    async with before() as (up, site):
        assert (await asked(site)).status == 200
        assert up.requests[0].headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize(
    ("provider", "key", "header", "value"),
    [
        ("anthropic", "sk-ant-oat01-x", "authorization", "Bearer sk-ant-oat01-x"),
        ("hosted_vllm", "k", "authorization", "Bearer k"),
    ],
)
async def test_where_the_key_goes(provider: str, key: str, header: str, value: str) -> None:
    async with FakeUpstream(anthropic.whole()) as up:
        deployment = claude(up, provider=provider, api_key=Secret(key), api_base=up.base_url, kind="forward")
        async with serving_deployments(deployment) as site:
            assert (await asked(site)).status == 200
        assert up.requests[0].headers[header] == value
        assert ("x-api-key" in up.requests[0].headers) is (header == "x-api-key")


async def test_an_answer_comes_back_as_it_came() -> None:
    async with before() as (_, site):
        answer = await asked(site)
        usage = site.sample("gatewayd_tokens_total", model_group="chat", type="prompt")
        record = await site.record()
    assert json.loads(answer.body)["content"] == [{"type": "text", "text": "Good day to you."}]
    assert answer.headers["x-upstream-request-id"] == "req_stand_in"
    assert (record["prompt_tokens"], record["completion_tokens"], usage is not None) == (11, 7, usage is not None)


async def test_known_requests_take_the_fast_path_too() -> None:
    """The second request on a connection has a head that is known, and an idle connection to the upstream."""
    async with FakeUpstream(anthropic.whole()) as up:
        deployment = claude(up, kind="forward", api_base=up.base_url)
        async with serving_deployments(deployment) as site, RawClient.to(site.port) as client:
            for _ in range(4):
                client.post(PATH, ASK)
                answer = await client.answer()
                assert answer.status == 200
                assert answer.headers["request-id"] == answer.headers["x-request-id"]
        assert {request.target for request in up.requests} == {PATH}
        assert up.connection_count == 1


async def test_a_stream_passes_byte_for_byte() -> None:
    async with before(sse_reply(EVENTS)) as (up, site):
        answer = await asked(site, ASK_STREAM, *OWN)
        assert answer.body == b"".join(EVENTS)
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        record = await site.record()
        assert (record["outcome"], record["prompt_tokens"], record["completion_tokens"]) == ("ok", 11, 7)
        assert up.requests[0].target == PATH


BROKEN: Sequence[tuple[str, list[Step], str]] = [
    ("A-01", [*EVENTS[:4], FIN], "api_error"),
    ("A-02", [*EVENTS[:4], RST], "api_error"),
    ("A-19", [*EVENTS[:4], HANG], "timeout_error"),
]


@pytest.mark.parametrize(("case", "steps", "kind"), BROKEN)
async def test_a_stream_that_breaks_ends_with_one_error_and_no_end_mark(
    case: str, steps: list[Step], kind: str
) -> None:
    """A-01, A-02, A-03, A-19"""
    for framing in ("chunked", "close"):
        async with before(sse_reply(steps, framing=framing, finish=False), server=NO_MORE) as (_, site):
            answer = await asked(site, ASK_STREAM)
            sent = b"".join(EVENTS[:4])
            assert answer.body.startswith(sent)
            name, _, data = answer.body.removeprefix(sent).strip().partition(b"\ndata: ")
            assert name == b"event: error"
            assert json.loads(data)["error"]["type"] == kind
            assert (await site.record())["outcome"] == "broken_stream"
            assert site.gateway.health.state("d1").fails == 1


async def test_an_error_within_a_stream_passes_once() -> None:
    """A-09, A-10: as the upstream wrote it, and nothing behind it."""
    async with before(sse_reply([*EVENTS[:4], anthropic.error_event(), *EVENTS[4:]])) as (_, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS[:4]) + anthropic.error_event()
        assert (await site.record())["outcome"] == "broken_stream"


async def test_nothing_follows_the_end_mark() -> None:
    """A-10"""
    async with before(sse_reply([*EVENTS, anthropic.error_event()])) as (_, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS)


@pytest.mark.parametrize(
    "bad",
    [sse_reply([anthropic.error_event()]), sse_reply([]), anthropic.error(529, "overloaded_error", "Overloaded")],
    ids=["A-08", "A-12", "A-28"],
)
async def test_an_attempt_that_fails_before_its_first_event_is_made_elsewhere(bad: Reply) -> None:
    """A-08, A-12, A-28"""
    async with FakeUpstream(bad) as first, FakeUpstream(sse_reply(EVENTS)) as second:
        deployments = claude(first, "first", order=1), claude(second, "second", order=2)
        async with serving_deployments(*deployments, routing=RoutingSettings(num_retries=1)) as site:
            answer = await asked(site, ASK_STREAM)
            assert (answer.status, answer.body) == (200, b"".join(EVENTS))
            assert answer.headers["x-gatewayd-deployment"] == "second"


async def test_errors_have_the_shape_of_the_api() -> None:
    """Anthropic's own pass as they are; others, and those of the gateway, are written anew."""
    own = anthropic.error(400, "invalid_request_error", "max_tokens: too large")
    async with before(own) as (_, site):
        answer = await asked(site)
        assert error_of(answer) == (400, "invalid_request_error", "max_tokens: too large")
        assert json.loads(answer.body)["request_id"] == "req_stand_in"
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
    async with before(error_reply(400, "What is that?")) as (_, site):
        assert error_of(await asked(site))[:2] == (400, "invalid_request_error")
    async with before(anthropic.error(401, "authentication_error", "invalid x-api-key")) as (_, site):
        status, kind, message = error_of(await asked(site))
        assert (status, kind) == (502, "api_error")
        assert "credentials" in message
    async with before() as (_, site):
        for body, status, kind in (
            (b"{", 400, "invalid_request_error"),
            (b'{"model":"none"}', 404, "not_found_error"),
            (b'{"model":"chat","api_key":"x"}', 400, "invalid_request_error"),
        ):
            assert error_of(await asked(site, body))[:2] == (status, kind)


async def test_an_answer_that_is_none_is_an_error() -> None:
    """A-38"""
    for reply in (json_reply({"type": "error", "error": {"type": "api_error", "message": "boom"}}), json_reply([])):
        async with before(reply) as (_, site):
            assert error_of(await asked(site))[0] == 502


async def test_what_the_configuration_adds_is_written_in_the_dialect() -> None:
    params = {"temperature": 0.5, "stop": ["a"], "max_completion_tokens": 9, "seed": 1}
    body = b'{"model":"chat","messages":[],"temperature":1}'
    async with before(params=params, extra_body={"x": 1}, additional_drop_params=("top_k",)) as (up, site):
        up.then(anthropic.whole(), json_reply({"input_tokens": 1}))
        await asked(site, body.replace(b"}", b',"top_k":4}'))
        await asked(site, body, path="/v1/messages/count_tokens")
    expected = {"model": "claude-x", "messages": [], "temperature": 1, "stop_sequences": ["a"], "max_tokens": 9, "x": 1}
    assert up.requests[0].json() == expected
    assert up.requests[1].json() == {"model": "claude-x", "messages": [], "temperature": 1}


async def test_a_deployment_whose_api_cannot_express_the_request_is_passed_over() -> None:
    servers = [{"type": "url", "url": "https://a.example", "name": "a"}]
    async with FakeUpstream(anthropic.whole()) as up:
        other = claude(up, "other", order=1, provider="cohere_chat", dialects=("chat",))
        async with serving_deployments(other, claude(up, "claude", order=2)) as site:
            answer = await asked(site, json.dumps({**json.loads(ASK), "mcp_servers": servers}).encode())
            assert answer.headers["x-gatewayd-deployment"] == "claude"
