"""OpenAI's Responses API in front of upstreams that have it: bytes, the SDK, errors and faults of streams."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerSettings
from tests.data_plane.gateway import NO_MORE, forward
from tests.fakeup import FIN, HANG, RST, FakeUpstream, Reply, Script, Step, error_reply, json_reply, sse_reply
from tests.stand_ins import responses
from tests.web.support import OPEN, Answer, RawClient, Site, serving_deployments, until

PATH = "/v1/responses"
ASK = (
    b'{"model":"chat", "input":[{"role":"developer","content":"\\u00e4"}],"store":false,'
    b'"tools":[{"type":"namespace","tools":[]},{"type":"web_search"}],"client_metadata":{"a":"b"}}'
)
ASK_STREAM = ASK.replace(b'"store"', b'"stream":true,"store"')
EVENTS = responses.stream("one", "two")


def deployed(up: FakeUpstream, id: str = "d1", **changes: Any) -> Deployment:
    return forward(up, id, **{"dialects": ("chat", "responses"), **changes})


@contextlib.asynccontextmanager
async def before(
    *replies: Reply | Script, server: ServerSettings = OPEN, **changes: Any
) -> AsyncIterator[tuple[FakeUpstream, Site]]:
    async with (
        FakeUpstream(*replies or (responses.answer,)) as up,
        serving_deployments(deployed(up, **changes), server=server) as site,
    ):
        yield up, site


async def asked(site: Site, body: bytes = ASK, path: str = PATH) -> Answer:
    async with RawClient.to(site.port) as client:
        client.post(path, body)
        return await client.answer()


@pytest.mark.parametrize("path", [PATH, "/responses", "/openai/v1/responses", "/openai/responses"])
async def test_a_request_goes_on_as_it_came(path: str) -> None:
    async with before() as (up, site):
        answer = await asked(site, path=path)
        assert (answer.status, json.loads(answer.body)["id"]) == (200, "resp_stand_in")
        record = await site.record()
        assert (record["prompt_tokens"], record["completion_tokens"]) == (11, 7)
    assert up.requests[0].target == "/v1/responses"
    assert up.requests[0].body == ASK.replace(b'"model":"chat", ', b'"model":"m",')


async def test_a_stream_passes_byte_for_byte() -> None:
    async with before(sse_reply(EVENTS)) as (_, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS)
        record = await site.record()
        assert (record["outcome"], record["prompt_tokens"], record["completion_tokens"]) == ("ok", 11, 7)


async def test_the_sdk_asks_and_streams() -> None:
    async with (
        before() as (up, site),
        openai.AsyncOpenAI(base_url=site.base_url, api_key="x", max_retries=0) as client,
    ):
        answer = await client.responses.create(model="chat", input="Hello")
        assert answer.output_text == responses.TEXT
        async with client.responses.stream(model="chat", input="Hello") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert final.output_text == responses.TEXT
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        up.then(json_reply({"object": "response.input_tokens", "input_tokens": 5}))
        assert (await client.responses.input_tokens.count(model="chat", input="x")).input_tokens == 5
        assert up.requests[-1].target == "/v1/responses/input_tokens"


@pytest.mark.parametrize(
    ("steps", "code"), [([FIN], "upstream_incomplete"), ([RST], None), ([HANG], "upstream_idle_timeout")]
)
async def test_a_stream_that_breaks_ends_with_one_error(steps: list[Step], code: str | None) -> None:
    """A-01, A-02, A-19"""
    async with before(sse_reply([*EVENTS[:5], *steps], finish=False), server=NO_MORE) as (_, site):
        sent, answer = b"".join(EVENTS[:5]), await asked(site, ASK_STREAM)
        assert answer.body.startswith(sent)
        name, _, data = answer.body.removeprefix(sent).strip().partition(b"\ndata: ")
        assert name == b"event: response.failed"
        told = json.loads(data)
        assert told["type"] == "response.failed"
        assert code in (None, told["error"]["code"])
        assert (await site.record())["outcome"] == "broken_stream"
        assert site.gateway.health.state("d1").fails == 1


async def test_a_failure_within_a_stream_passes_once() -> None:
    """A-09"""
    async with before(sse_reply([*EVENTS[:5], responses.FAILED, *EVENTS[5:]])) as (_, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS[:5]) + responses.FAILED
        assert (await site.record())["outcome"] == "broken_stream"


@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_an_error_event_and_the_failure_behind_it_pass_both(pause: float) -> None:
    """OpenAI sends both, and Codex reads the second one only."""
    error = responses.event("error", code="server_error", message="boom", param=None, sequence_number=5)
    async with before(sse_reply([*EVENTS[:5], error, pause, responses.FAILED, *EVENTS[5:]])) as (up, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS[:5]) + error + responses.FAILED
        assert (await site.record())["outcome"] == "broken_stream"
        await until(lambda: up.open_count == 0)


@pytest.mark.parametrize("end", [FIN, RST, HANG])
async def test_an_error_event_without_a_failure_behind_it_is_the_end(end: Step) -> None:
    error = responses.event("error", code="server_error", message="boom", param=None, sequence_number=5)
    async with before(sse_reply([*EVENTS[:5], error, end], finish=False)) as (_, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS[:5]) + error
        assert (await site.record())["outcome"] == "broken_stream"
        assert site.gateway.health.state("d1").fails == 1


async def test_nothing_follows_the_end() -> None:
    """A-10"""
    async with before(sse_reply([*EVENTS, b"data: [DONE]\n\n"])) as (_, site):
        assert (await asked(site, ASK_STREAM)).body == b"".join(EVENTS)


FAILED = responses.response("failed", [], error={"code": "server_error", "message": "boom"})


@pytest.mark.parametrize(
    ("bad", "stream"),
    [
        (sse_reply([EVENTS[0], EVENTS[1], responses.FAILED]), True),
        (sse_reply([]), True),
        (json_reply(FAILED), False),
        (json_reply({**FAILED, "error": None, "status": "failed"}), False),
        (error_reply(500), False),
    ],
    ids=["A-08", "A-12", "failed", "failed, no error", "A-28"],
)
async def test_an_attempt_that_fails_before_its_output_is_made_elsewhere(bad: Reply, stream: bool) -> None:
    """A-08, A-12, A-28; also `status: failed` with 200."""
    async with FakeUpstream(bad) as first, FakeUpstream(responses.answer) as second:
        deployments = deployed(first, "first", order=1), deployed(second, "second", order=2)
        async with serving_deployments(*deployments, routing=RoutingSettings(num_retries=1)) as site:
            answer = await asked(site, ASK_STREAM if stream else ASK)
            assert (answer.status, answer.headers["x-gatewayd-deployment"]) == (200, "second")


async def test_what_the_configuration_adds_is_written_in_the_dialect() -> None:
    params = {"temperature": 0.5, "stop": ["a"], "max_tokens": 9, "reasoning_effort": "high"}
    async with before(params=params) as (up, site):
        await asked(site, b'{"model":"chat","input":"x"}')
    expected = {"model": "m", "input": "x", "temperature": 0.5, "max_output_tokens": 9, "reasoning": {"effort": "high"}}
    assert up.requests[0].json() == expected


@pytest.mark.parametrize(
    ("path", "version", "target"),
    [
        ("", "2025-04-01-preview", "/openai/responses?api-version=2025-04-01-preview"),
        ("/openai/v1", None, "/openai/v1/responses"),
    ],
)
async def test_azure_names_the_model_in_the_body(path: str, version: str | None, target: str) -> None:
    async with FakeUpstream(responses.whole()) as up:
        base = up.base_url.removesuffix("/v1") + path
        deployment = deployed(up, provider="azure", api_base=base, api_version=version)
        async with serving_deployments(deployment) as site:
            assert (await asked(site)).status == 200
        assert up.requests[0].target == target
        assert up.requests[0].json()["model"] == "m"
