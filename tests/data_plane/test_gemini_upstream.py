"""Gemini deployments behind callers of chat, messages and responses: loops of tools, and how streams break."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.config.snapshot import RoutingSettings
from tests.data_plane.callers import Caller, Chat, Messages, Responses, events_of
from tests.data_plane.gateway import NO_MORE
from tests.data_plane.test_converted import ALL_CALLERS, TEXT, asked, before, deployed
from tests.fakeup import FIN, HANG, RST, FakeUpstream, Reply, Step, error_reply, json_reply, sse_reply
from tests.stand_ins import gemini
from tests.web.support import RawClient, serving_deployments

GOOGLE: dict[str, Any] = {"provider": "gemini", "dialects": ("gemini",), "abilities": {"supports_reasoning": True}}
QUESTION = {"role": "user", "content": "Please call it"}
callers = pytest.mark.parametrize("caller", ALL_CALLERS, ids=[type(caller).__name__ for caller in ALL_CALLERS])


def three(**changes: Any) -> dict[str, Any]:
    """A deployment of a model that signs its calls."""
    return {**GOOGLE, "family": "gemini-3-pro", **changes}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_in_chat_keeps_signatures(stream: bool) -> None:
    async with before(gemini.conversing, **three()) as (up, site):
        answer = await asked(site, Chat(), stream=stream, messages=[QUESTION])
        assert answer.status == 200, answer.body
        if stream:
            deltas = [data["choices"][0]["delta"] for _, data in events_of(answer.body)[:-1] if data["choices"]]
            (call,) = (call for delta in deltas for call in delta.get("tool_calls", ()) if call.get("id"))
            call = {"id": call["id"], "type": "function", "function": {"name": "Read", "arguments": '{"path":"/a"}'}}
        else:
            (call,) = json.loads(answer.body)["choices"][0]["message"]["tool_calls"]
        turn = {"role": "assistant", "content": None, "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "pineapple"}
        await asked(site, Chat(), stream=stream, messages=[QUESTION, turn, result])
    check_loop(up)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_in_messages_keeps_signatures(stream: bool) -> None:
    async with before(gemini.conversing, **three()) as (up, site):
        answer = await asked(site, Messages(), stream=stream, messages=[QUESTION])
        assert answer.status == 200, answer.body
        blocks = streamed_blocks(answer.body) if stream else json.loads(answer.body)["content"]
        (use,) = (block for block in blocks if block["type"] == "tool_use")
        result = {"type": "tool_result", "tool_use_id": use["id"], "content": "pineapple"}
        turns = [QUESTION, {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
        await asked(site, Messages(), stream=stream, messages=turns)
    check_loop(up)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_in_responses_keeps_signatures(stream: bool) -> None:
    async with before(gemini.conversing, **three()) as (up, site):
        answer = await asked(site, Responses(), stream=stream, input=[QUESTION])
        assert answer.status == 200, answer.body
        response = events_of(answer.body)[-1][1]["response"] if stream else json.loads(answer.body)
        (call,) = (item for item in response["output"] if item["type"] == "function_call")
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "pineapple"}
        await asked(site, Responses(), stream=stream, input=[QUESTION, *response["output"], result])
    check_loop(up)


def streamed_blocks(stream: bytes) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for name, data in events_of(stream):
        if name == "content_block_start":
            blocks.append(data["content_block"])
        elif name == "content_block_delta":
            delta = data["delta"]
            match delta["type"]:
                case "input_json_delta":
                    blocks[-1]["input"] = json.loads(delta["partial_json"] or "{}") or blocks[-1]["input"]
                case "thinking_delta":
                    blocks[-1]["thinking"] += delta["thinking"]
                case "signature_delta":
                    blocks[-1]["signature"] = delta["signature"]
                case _:
                    raise AssertionError(delta)
    return blocks


def check_loop(up: FakeUpstream) -> None:
    first, second = (request.json() for request in up.requests)
    assert first["contents"][-1]["parts"] == [{"text": "Please call it"}]
    calls = [part for content in second["contents"] for part in content["parts"] if "functionCall" in part]
    assert calls == [gemini.CALL]
    (result,) = second["contents"][-1]["parts"]
    assert (result["functionResponse"]["name"], result["functionResponse"]["id"]) == ("Read", "fc1")
    assert "pineapple" in json.dumps(result)


async def test_embeddings_are_litellms() -> None:
    """litellm is loaded at the first call that needs it."""
    async with before(gemini.answer, **GOOGLE) as (up, site), RawClient.to(site.port) as client:
        client.post("/v1/embeddings", b'{"model":"chat","input":"Hello"}')
        answer = await client.answer()
        assert answer.status == 200, answer.body
        assert json.loads(answer.body)["data"][0]["embedding"] == [5, 0.5]
    assert [request.target for request in up.requests] == ["/v1/models/m:batchEmbedContents"]


async def test_what_codex_sends_is_asked_of_gemini() -> None:
    async with before(gemini.conversing, **three()) as (up, site):
        answer = await asked(site, Responses())
        assert answer.status == 200, answer.body
    (request,) = up.requests
    assert request.target == "/v1/models/m:streamGenerateContent?alt=sse"
    assert "prompt_cache_key" in answer.headers["x-gatewayd-dropped"].split(", ")
    assert not request.json().keys() & {"model", "stream", "prompt_cache_key", "store"}


async def test_what_a_deployment_configures_is_asked_in_geminis_form() -> None:
    params = {"temperature": 0.5, "stop": "x", "max_tokens": 7, "frequency_penalty": 1}
    dropping = three(params=params, extra_body={"labels": {"a": "b"}}, additional_drop_params=("temperature",))
    async with before(gemini.conversing, **dropping) as (up, site):
        assert (await asked(site, Chat())).status == 200
    body = up.requests[0].json()
    assert body["generationConfig"] == {"stopSequences": ["x"], "maxOutputTokens": 7}
    assert body["labels"] == {"a": "b"}


@callers
@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("end", [FIN, RST, HANG])
async def test_a_stream_that_breaks_ends_with_one_error(caller: Caller, framing: str, end: Step) -> None:
    """A-01, A-02, A-03, A-19"""
    events = [gemini.chunk("Good "), gemini.chunk("day ")]
    async with before(sse_reply([*events, end], framing=framing, finish=False), server=NO_MORE, **GOOGLE) as (_, site):
        answer = await asked(site, caller)
        assert answer.status == 200
        assert caller.broken(answer.body)
        assert (await site.record())["outcome"] == "broken_stream"
        assert site.gateway.health.state("d1").fails == 1


@callers
@pytest.mark.parametrize("end", [FIN, RST, HANG])
async def test_a_stream_that_is_cut_behind_its_finish_reason_may_lack_something(caller: Caller, end: Step) -> None:
    """A-01: parts may follow, so only the last chunk of the transfer coding is an end."""
    events = [gemini.chunk("Good "), gemini.chunk("day ", reason="STOP")]
    async with before(sse_reply([*events, end], finish=False), server=NO_MORE, **GOOGLE) as (_, site):
        assert caller.broken((await asked(site, caller)).body)


@callers
async def test_an_error_within_a_stream_has_the_callers_form(caller: Caller) -> None:
    """A-09"""
    async with before(sse_reply([gemini.chunk("Good "), gemini.error_event()]), **GOOGLE) as (_, site):
        assert "overloaded" in caller.broken((await asked(site, caller)).body)
        assert site.gateway.health.state("d1").fails == 1


@callers
async def test_an_event_that_is_none_breaks_the_stream(caller: Caller) -> None:
    """A-13"""
    async with before(sse_reply([gemini.chunk("Good "), b"data: {malformed\n\n"]), **GOOGLE) as (_, site):
        assert caller.broken((await asked(site, caller)).body)


@callers
@pytest.mark.parametrize(
    "bad",
    [
        sse_reply([gemini.error_event()]),
        sse_reply([gemini.event({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]})]),
        sse_reply([]),
        error_reply(503),
        json_reply([{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}], status=503),
        json_reply({"candidates": []}),
    ],
    ids=["A-08", "U-B1", "A-12", "A-28", "a list", "no stream"],
)
async def test_an_attempt_that_fails_first_is_made_elsewhere(caller: Caller, bad: Reply) -> None:
    """A-08, A-12, A-28"""
    async with FakeUpstream(bad) as first, FakeUpstream(gemini.conversing) as second:
        deployments = deployed(first, "first", order=1, **GOOGLE), deployed(second, "second", order=2, **GOOGLE)
        async with serving_deployments(*deployments, routing=RoutingSettings(num_retries=1)) as site:
            answer = await asked(site, caller)
            assert caller.streamed(answer.body).text == TEXT
            assert answer.headers["x-gatewayd-deployment"] == "second"


BLOCKED = {"Messages": b'"stop_reason":"refusal"', "Responses": b'"content_filter"', "Chat": b'"content_filter"'}


@callers
@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_prompt_is_an_answer(caller: Caller, stream: bool) -> None:
    reply = sse_reply([gemini.blocked()]) if stream else json_reply({"promptFeedback": {"blockReason": "SAFETY"}})
    async with before(reply, **GOOGLE) as (_, site):
        answer = await asked(site, caller, stream=stream)
        assert answer.status == 200, answer.body
        assert BLOCKED[type(caller).__name__] in answer.body
        assert (await site.record())["outcome"] == "ok"


@callers
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_has_the_callers_form(caller: Caller, stream: bool) -> None:
    async with before(gemini.error(400, "INVALID_ARGUMENT", "It is too long."), **GOOGLE) as (_, site):
        answer = await asked(site, caller, stream=stream)
        kind, message = caller.error(answer.body)
        assert (answer.status, kind) == (400, "invalid_request_error")
        assert message.startswith("It is too long.")


@callers
async def test_a_key_that_google_does_not_know_is_the_gateways_trouble(caller: Caller) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": details}
    async with before(json_reply({"error": error}, status=400), **GOOGLE) as (_, site):
        assert (await asked(site, caller)).status == 502


async def test_google_says_how_long_to_wait() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "27.5s"}]
    error = {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": details}
    async with before(json_reply({"error": error}, status=429), **GOOGLE) as (_, site):
        answer = await asked(site, Chat())
        assert (answer.status, answer.headers["retry-after"]) == (429, "28")


async def test_a_model_that_google_has_not_is_no_missing_api() -> None:
    async with before(gemini.error(404, "NOT_FOUND", "models/m is not found"), **GOOGLE) as (up, site):
        for _ in range(2):
            assert (await asked(site, Chat())).status == 404
        assert len(up.requests) == 2
