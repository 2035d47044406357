"""What bodies hold, and what it may and may not bring about: nothing of it steers the gateway or leaves a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.config.snapshot import Deployment
from gatewayd.wire.openai import FORBIDDEN_FIELDS
from tests.fakeup import FakeUpstream, Received, Script
from tests.replies import Reply, chat_events, json_reply, sse_reply
from tests.stand_ins import anthropic
from tests.web.support import KEY, WITH_KEY, Answer, RawClient, serving_deployments

MESSAGES = [{"role": "user", "content": "Hello"}]
STEERING = [
    *sorted(FORBIDDEN_FIELDS),
    *("aws_access_key_id", "vertex_project", "azure_ad_token", "watsonx_x", "mock_tool_calls"),
    *("langfuse_host", "langsmith_base_url", "s3_endpoint_url", "gcs_bucket_name"),
]
"""Fields by which a body has steered some gateway or SDK (CVE-2024-6587 and its relatives)."""


async def posted(port: int, body: bytes, *headers: str, path: str = "/v1/chat/completions") -> Answer:
    async with RawClient.to(port) as client:
        client.post(path, body, f"authorization: Bearer {KEY}", *headers)
        return await client.answer()


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", "messages": MESSAGES, **fields}).encode()


@pytest.fixture(params=["forward", "translate"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def deployed(kind: str, up: FakeUpstream) -> Deployment:
    if kind == "forward":
        return Deployment("d1", "d1", "chat", "forward", "openai", "m", api_base=up.base_url)
    return Deployment("d1", "d1", "chat", "translate", "anthropic", "claude-m", api_base=anthropic.base_url(up))


def answers(kind: str) -> Script:
    return _forwarded if kind == "forward" else _translated


def _forwarded(request: Received) -> Reply:
    streams = request.json().get("stream") is True and not request.path.endswith("/embeddings")  # which no server does
    return sse_reply(chat_events("Hello")) if streams else json_reply({"choices": [{}]})


def _translated(request: Received) -> Reply:
    try:
        return anthropic.answer(request)
    except Exception:
        return anthropic.error(400, "invalid_request_error", "What is that?")


def headers(request: Received) -> dict[str, str]:
    """All that neither count bytes nor name who wrote the request."""
    return {name: value for name, value in request.headers.items() if name not in ("content-length", "user-agent")}


async def test_fields_that_would_steer_do_so_nowhere(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-10: on the top level refused; below it data, for the upstream that is configured and for no other host."""
    monkeypatch.setenv("CANARY", "sk-canary-of-the-environment")
    async with (
        FakeUpstream(answers(kind)) as up,
        FakeUpstream() as canary,
        serving_deployments(deployed(kind, up), server=WITH_KEY) as site,
    ):
        values = [canary.base_url, [{"api_base": canary.base_url}], "os.environ/CANARY"]
        assert (await posted(site.port, chat())).status == 200
        plain = up.requests.pop()
        for number, name in enumerate(STEERING):
            answer = await posted(site.port, chat(**{name: values[number % 3]}))
            assert (answer.status, answer.error["code"]) == (400, "param_not_allowed"), name
            assert answer.error["param"] == name
        assert not up.requests
        fields = dict.fromkeys(STEERING, values[0]) | {"deeper": dict.fromkeys(STEERING, values[2])}
        places: list[dict[str, Any]] = [
            {place: fields} for place in ("metadata", "extra_body", "litellm_metadata", "something")
        ]
        message = {"role": "user", "content": [{"type": "text", "text": "Hello", **fields}], **fields}
        for place in [*places, {"messages": [message]}]:
            assert (await posted(site.port, chat(**place))).status == 200
            seen = up.requests.pop()
            assert (seen.target, headers(seen)) == (plain.target, headers(plain)), place
            assert seen.json()["model"] == plain.json()["model"]
            assert b"sk-canary" not in seen.body
        assert canary.connection_count == 0


@pytest.mark.parametrize(
    "text", ["os.environ/CANARY", "oidc/file//etc/passwd", "${CANARY}", "{{7*7}}", "{{''.__class__}}"]
)
async def test_references_and_templates_are_text(kind: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-10: wherever a string may stand; what they would stand for is never sent."""
    monkeypatch.setenv("CANARY", "sk-canary-of-the-environment")
    async with FakeUpstream(answers(kind)) as up, serving_deployments(deployed(kind, up), server=WITH_KEY) as site:
        answer = await posted(site.port, chat(user=text, stop=[text], messages=[{"role": "user", "content": text}]))
        assert answer.status == 200
        assert text in json.dumps(up.requests[0].json()["messages"])
        assert (await posted(site.port, chat(model=text))).status == 404
        assert len(up.requests) == 1
        sent = up.requests[0].head.partition(b"\r\n\r\n")[0] + json.dumps(up.requests[0].json()).encode()
        assert not [what for what in (b"sk-canary", b"root:", b'49"', b"type 'str'") if what in sent]


async def test_addresses_in_messages_are_not_visited_by_who_forwards() -> None:
    """C-13: the upstream may go there, and knows it from us."""
    async with FakeUpstream() as up, FakeUpstream() as canary:
        async with serving_deployments(deployed("forward", up), server=WITH_KEY) as site:
            for url in (f"{canary.base_url}/x.png", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data"):
                content = [{"type": "image_url", "image_url": {"url": url}}]
                body = chat(messages=[{"role": "user", "content": content}])
                assert (await posted(site.port, body)).status == 200
                assert up.requests[-1].json() == json.loads(body) | {"model": "m"}
        assert canary.connection_count == 0


@pytest.mark.parametrize(
    "kind_", ["multipart/form-data; boundary=" + "-" * 70, "multipart/form-data", "multipart/mixed; boundary=x"]
)
@pytest.mark.parametrize("sends", [False, True])
async def test_multipart_is_refused_before_a_part_of_it_is_read(kind_: str, sends: bool) -> None:
    """C-12: no part is looked for, no name of a file is used, however it goes on; a boundary of dashes is one line."""
    part = b'------x\r\nContent-Disposition: form-data; name="f"; filename="../../../tmp/x"\r\n' + b"X: y\r\n" * 1000
    body = b"-" * 1_000_000 + part * 100
    async with FakeUpstream() as up, serving_deployments(deployed("forward", up), server=WITH_KEY) as site:
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            async with RawClient.to(site.port) as client:
                client.send(
                    f"POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n"
                    f"content-type: {kind_}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                )
                if sends:
                    client.send(body)
                answer = await client.answer()
                assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
        async with RawClient.to(site.port) as client:  # it takes forms, and finds none here
            client.post("/v1/audio/transcriptions", body, f"authorization: Bearer {KEY}", content_type=kind_)
            assert (await client.answer()).status == (400 if kind_.startswith("multipart/form-data; ") else 415)
        assert not up.requests


_ODD: list[dict[str, Any]] = [
    {"n": 1_000_000_000}, {"max_tokens": -1}, {"messages": {}}, {"messages": [None]}, {"messages": "Hello"},
    {"messages": [{"role": 1}]}, {"messages": [{"role": "user", "content": {"x": 1}}]}, {"tools": {"a": 1}},
    {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, {"tools": [None]}, {"tools": [{"type": "x"}]},
    {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
    {"stop": {"a": []}}, {"temperature": "hot"}, {"temperature": 1e308}, {"response_format": 3}, {"logit_bias": []},
    {"stream_options": "yes"}, {"metadata": [1]}, {"tool_choice": {"type": None}}, {"thinking": 5}, {"n": 2**70},
    {"input": {}}, {"input": [1, "a"]}, {"prompt": [[1]]}, {"prompt": None}, {"dimensions": "many"},
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
async def test_values_of_the_wrong_type_are_no_fault_of_ours(kind: str, path: str) -> None:
    """C-09: 400, or whatever the upstream says; and the upstream is not blamed."""
    async with FakeUpstream(answers(kind)) as up, serving_deployments(deployed(kind, up), server=WITH_KEY) as site:
        for odd in _ODD:
            for stream in (False, True):
                told = {"model": "chat", "messages": MESSAGES, "prompt": "x", "input": "x", "stream": stream, **odd}
                answer = await posted(site.port, json.dumps(told).encode(), path=path)
                assert answer.status < 500, (odd, answer)
        assert site.gateway.health.state("d1").fails == 0


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_fields = st.sampled_from(
    ["messages", "n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice",
     "response_format", "logit_bias", "logprobs", "stream_options", "metadata", "user", "seed", "functions",
     "reasoning_effort", "thinking", "parallel_tool_calls", "modalities", "prediction", "service_tier", "store"]
)  # fmt: skip


@given(fields=st.dictionaries(_fields, _anything, min_size=1, max_size=4), stream=st.booleans())
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
async def test_any_values_are_no_fault_of_ours(kind: str, fields: dict[str, Any], stream: bool) -> None:
    """C-09"""
    async with FakeUpstream(answers(kind)) as up, serving_deployments(deployed(kind, up), server=WITH_KEY) as site:
        told = {"model": "chat", "messages": MESSAGES, "stream": stream, **fields}
        answer = await posted(site.port, json.dumps(told, ensure_ascii=False).encode(errors="replace"))
        assert answer.status < 500, answer
