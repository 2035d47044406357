"""Which calls go directly, and what is sent for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import ConfigurationError
from gatewayd.upstream.litellm.arguments import Arguments
from gatewayd.upstream.litellm.direct_request import DIRECT_LIMIT, request_of, supports_call, supports_deployment
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic, bedrock
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.direct_and_litellm import AWS, JSON_OF_A_SCHEMA, of, went_directly
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, events, translating

pytestmark = KNOWN_WARNINGS


def made(provider: str = "anthropic", model: str = "m", **changes: Any) -> Deployment:
    return replace(deployment("http://up"), kind="translate", provider=provider, model=model, **changes)


ACCOUNT = {"vertex_project": "p", "vertex_credentials": "file.json"}


@pytest.mark.parametrize(
    ("deployed", "expected"),
    [
        (made(), True),
        (made("gemini"), True),
        (made("cohere_chat"), True),
        (made("cohere_chat", "v1/command"), False),
        (made("vertex_ai", "gemini-x", litellm_params=ACCOUNT | {"vertex_location": "europe-west1"}), True),
        (made("vertex_ai", "gemini-x", litellm_params={"vertex_project": "p"}), False),  # google-auth would look
        (made("vertex_ai", "claude-x", litellm_params=ACCOUNT), False),
        (made("vertex_ai", "gemini-x"), False),
        (made("mistral"), False),
        (made("bedrock", "converse/m", litellm_params=AWS), True),
        (made("bedrock", "m", litellm_params=AWS, api_key=None), True),
        (made("bedrock", "m", litellm_params={"aws_region_name": "us-east-1"}), True),
        (
            made("bedrock", "m", litellm_params={"aws_region_name": "us-east-1"}, api_key=None),
            False,
        ),  # boto3 would look
        (made("bedrock", "m"), False),
        (made("bedrock", "converse/m", litellm_params=AWS | {"aws_role_name": "r"}), False),
        (made(litellm_params={"cache_control_injection_points": []}), False),
        (made(params={"temperature": 1}, extra_body={"top_k": 3}), True),
        (made(extra_body={"metadata": {"a": "b"}}), False),  # litellm has a field of that name
        (made(params={"functions": []}), False),
    ],
)
def test_deployments(deployed: Deployment, expected: bool) -> None:
    assert supports_deployment(deployed) is expected


def message(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


TEXT = {"type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("provider", "fields", "expected"),
    [
        ("anthropic", {}, True),
        ("anthropic", {"stream": True}, True),
        ("cohere_chat", {}, True),
        ("cohere_chat", {"stream": True}, False),
        ("gemini", {"n": 2}, True),
        ("gemini", {"n": 2, "stream": True}, False),
        ("gemini", message(TEXT | {"cache_control": {"type": "ephemeral"}}), False),
        ("gemini", {"messages": [MESSAGES[1] | {"cache_control": {"type": "ephemeral"}}]}, False),
        ("anthropic", message(TEXT | {"cache_control": {"type": "ephemeral"}}), True),
        ("anthropic", {"messages": [{"role": "assistant", "content": "x", "images": [image("https://h/")]}]}, False),
        ("anthropic", {"messages": [{"role": "assistant", "content": "x", "audio": None, "refusal": None}]}, True),
        ("anthropic", message(TEXT, image("data:image/png;base64,AA==")), True),
        ("anthropic", message(image("https://host/x.png")), False),
        ("anthropic", message({"type": "image_url", "image_url": "data:image/png;base64,AA=="}), True),
        ("gemini", message({"type": "input_audio", "input_audio": {}}), False),  # Claude is not asked at all
        ("anthropic", message({"type": "file", "file": {"file_id": "f"}}), False),
        ("anthropic", message("text"), False),
        ("anthropic", {"messages": [{"role": "user", "content": 5}]}, False),
        ("anthropic", {"tools": [TOOL]}, True),
        ("anthropic", {"tools": [{"type": "mcp", "server_url": "https://x"}]}, False),
        ("anthropic", {"tools": [{"type": "function", "function": {"name": "f", "defer_loading": True}}]}, False),
        ("anthropic", {"tools": 1.5}, False),
        ("gemini", {"tools": {"type": "function"}}, False),
        ("anthropic", {"web_search_options": {}}, False),
        ("anthropic", {"modalities": ["text"]}, False),
        ("anthropic", {"metadata": {"a": "b"}, "store": True}, True),
        ("anthropic", {"messages": [{"role": "user", "content": "x" * DIRECT_LIMIT}]}, False),
    ],
)
def test_calls(provider: str, fields: dict[str, Any], expected: bool) -> None:
    asked, deployed = call({"messages": MESSAGES, **fields}), made(provider)
    assert supports_call(deployed, asked, Arguments(deployed).of(asked)) is expected


def test_names_are_found_however_they_are_written() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","cache\\u005fcontrol":{}}]}]}'
    asked, deployed = call(body), made("gemini")
    assert not supports_call(deployed, asked, Arguments(deployed).of(asked))


def test_embeddings_go_the_other_way() -> None:
    asked, deployed = call(endpoint="embeddings", input="x"), made("gemini")
    assert not supports_call(deployed, asked, Arguments(deployed).of(asked))


async def test_what_does_not_fit_is_answered_all_the_same() -> None:
    async with FakeUpstream(anthropic.answer) as up:
        upstream = translating(up)
        await upstream.open(call(messages=MESSAGES))
        await upstream.open(call(messages=MESSAGES, user="x" * DIRECT_LIMIT))
        assert [went_directly(request) for request in up.requests] == [True, False]


async def test_a_stream_that_litellm_would_make_up_goes_the_other_way() -> None:
    """It asks for the whole answer then, and cuts it into pieces."""
    async with FakeUpstream(bedrock.answer) as up:
        from gatewayd.upstream.litellm.translate import TranslateUpstream

        upstream = TranslateUpstream(of("bedrock", up))
        await events(await upstream.open(call(JSON_OF_A_SCHEMA, messages=MESSAGES, stream=True)))
        assert [went_directly(request) for request in up.requests] == [False]


def test_a_request_as_bytes() -> None:
    headers = {"X-Api-Key": "k", "Host": "elsewhere", "content-type": "application/json", "Accept-Encoding": "gzip"}
    request = request_of("https://host:8443/v1/x?alt=sse", headers, None, {"a": "ü"})
    assert (request.origin.host, request.origin.port, request.origin.tls) == ("host", 8443, True)
    lines = request.head.decode().split("\r\n")
    assert lines[:2] == ["POST /v1/x?alt=sse HTTP/1.1", "host: host:8443"]
    assert lines[-4:] == ["accept-encoding: identity", "content-length: 10", "", ""]
    assert "x-api-key: k" in lines
    assert sum(line.startswith("content-type") for line in lines) == 1
    assert request.body == '{"a":"ü"}'.encode()


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "ü"])
def test_headers_that_cannot_be_sent(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        request_of("http://host/", {"x": value}, b"{}", None)


def test_addresses_that_are_none() -> None:
    with pytest.raises(ConfigurationError):
        request_of("ftp://host/", {}, b"{}", None)
