"""One gatewayd process in front of the APIs of Gemini, Anthropic and Bedrock: odd answers, and requests that these APIs
do not know or that are dangerous. What the parts do is tested in `tests/upstream`; here clients see it.

Each provider has two model groups: its own name, and `NAME-safe` with a fallback.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.process import Daemon
from tests.fakeup import FakeUpstream, Reply, body_reply, json_reply, sse_reply
from tests.stand_ins import anthropic, bedrock, gemini

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

STAND_INS: dict[str, Any] = {"gemini": gemini, "anthropic": anthropic, "bedrock": bedrock}
PARAMS: dict[str, dict[str, str]] = {
    "gemini": {"model": "gemini/gemini-2.5-flash", "api_key": "key-stand-in"},
    "anthropic": {"model": "anthropic/claude-sonnet-4-5", "api_key": "sk-ant-stand-in"},
    "bedrock": {
        "model": "bedrock/converse/anthropic.claude-3-5-sonnet-20240620-v1:0",
        "aws_access_key_id": "AKIASTANDIN",
        "aws_secret_access_key": "stand-in",
        "aws_region_name": "us-east-1",
    },
}
FALLBACK = "Hello from the fallback"
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="


@dataclass(slots=True)
class Scene:
    daemon: Daemon
    upstreams: dict[str, FakeUpstream]

    def answer(self, provider: str, *replies: Reply) -> FakeUpstream:
        """Has the provider answer so, and forgets what it has been asked; without replies, as it should."""
        up = self.upstreams[provider]
        up.then(*(replies or (STAND_INS[provider].answer,)))
        up.requests.clear()
        return up

    async def stream(self, model: str, **fields: Any) -> list[Any]:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True, **fields}
        async with self.daemon.session.post(f"{self.daemon.data}/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            lines = (await response.text()).split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    async def whole(self, model: str, **fields: Any) -> Any:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
        async with self.daemon.session.post(f"{self.daemon.data}/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        upstreams = {name: await stack.enter_async_context(FakeUpstream(up.answer)) for name, up in STAND_INS.items()}
        models: dict[str, Any] = {"spare": {"model": "openai/x", "mock_response": FALLBACK}}
        for name, up in upstreams.items():
            base = "aws_bedrock_runtime_endpoint" if name == "bedrock" else "api_base"
            params = PARAMS[name] | {base: STAND_INS[name].base_url(up)}
            models |= {name: params, f"{name}-safe": params}
        config = {
            "model_list": [{"model_name": name, "litellm_params": params} for name, params in models.items()],
            "router_settings": {
                "num_retries": 0,
                "disable_cooldowns": True,
                "fallbacks": [{f"{name}-safe": ["spare"]} for name in STAND_INS],
            },
            "gatewayd": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        }
        path = tmp_path_factory.mktemp("gatewayd") / "gatewayd.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        yield Scene(await stack.enter_async_context(Daemon(path)), upstreams)


# --- what providers answer


def gemini_says(part: dict[str, Any] | None, reason: str = "STOP") -> dict[str, Any]:
    """Without `usageMetadata`."""
    content = {"content": {"parts": [part], "role": "model"}} if part else {}
    return {"candidates": [{**content, "finishReason": reason, "index": 0}]}


def gemini_streams(*bodies: dict[str, Any]) -> Reply:
    return sse_reply([b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies])


def bedrock_ends(reason: str) -> Reply:
    output = {"message": {"role": "assistant", "content": [{"text": "Good day."}]}}
    return json_reply({"output": output, "stopReason": reason, "usage": bedrock.USAGE})


FAILED: list[tuple[str, Reply]] = [
    *(
        (provider, reply)
        for provider in STAND_INS
        for reply in (body_reply(b"<html>Log in</html>", content_type="text/html"), json_reply({}), json_reply([]))
    ),
    *(
        ("gemini", json_reply(gemini_says(None, reason)))
        for reason in ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE")
    ),
    ("bedrock", bedrock_ends("malformed_tool_use")),
    ("bedrock", bedrock_ends("malformed_model_output")),
]


@pytest.mark.parametrize(("provider", "reply"), FAILED)
async def test_an_answer_that_is_none_leads_to_the_fallback(scene: Scene, provider: str, reply: Reply) -> None:
    """U-B1, U-B6: a 200 that cannot be read, or that the model did not finish, is never the caller's fault."""
    scene.answer(provider, reply)
    assert await scene.daemon.chat(f"{provider}-safe") == (200, FALLBACK)
    status, body = await scene.daemon.chat(provider)
    assert (status, body["error"]["code"]) == (502, "upstream_bad_response")


@pytest.mark.parametrize("provider", STAND_INS)
async def test_a_stream_that_is_none_leads_to_the_fallback(scene: Scene, provider: str) -> None:
    """U-B1, U-B6: nothing has been sent to the client yet."""
    reply = body_reply(b"<html>Log in</html>", content_type="text/html")
    if provider == "gemini":
        reply = gemini_streams(gemini_says(None, "MALFORMED_FUNCTION_CALL"))
    scene.answer(provider, reply)
    assert said(await scene.stream(f"{provider}-safe")) == FALLBACK


async def test_gemini_need_not_count(scene: Scene) -> None:
    """U-B2: an answer without usage is good, and its usage unknown."""
    body = gemini_says({"text": "Good day."})
    scene.answer("gemini", json_reply(body), gemini_streams(body))
    answer = await scene.whole("gemini")
    assert answer["choices"][0]["message"]["content"] == "Good day."
    assert "usage" not in answer
    assert said(await scene.stream("gemini")) == "Good day."


async def test_geminis_function_call_without_arguments(scene: Scene) -> None:
    """U-B3: whole and streamed."""
    body = gemini_says({"functionCall": {"name": "now"}})
    scene.answer("gemini", json_reply(body), gemini_streams(body))
    (call,) = (await scene.whole("gemini", tools=[TOOL]))["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "now", "arguments": "{}"}
    assert arguments(await scene.stream("gemini", tools=[TOOL])) == "{}"


USE = {"type": "tool_use", "id": "t", "name": "now", "input": {}}
CALLS: dict[str, Reply] = {
    "anthropic": sse_reply(
        [
            anthropic.start(),
            anthropic.event("content_block_start", index=0, content_block=USE),
            anthropic.event("content_block_stop", index=0),
            *anthropic.end("tool_use"),
        ]
    ),
    "bedrock": bedrock.streamed(
        [
            bedrock.event("messageStart", role="assistant"),
            bedrock.event(
                "contentBlockStart", contentBlockIndex=0, start={"toolUse": {"toolUseId": "t", "name": "now"}}
            ),
            bedrock.event("contentBlockStop", contentBlockIndex=0),
            bedrock.event("messageStop", stopReason="tool_use"),
            bedrock.event("metadata", usage=bedrock.USAGE),
        ]
    ),
}


@pytest.mark.parametrize("provider", CALLS)
async def test_a_streamed_tool_call_without_arguments(scene: Scene, provider: str) -> None:
    """U-B4"""
    scene.answer(provider, CALLS[provider])
    assert arguments(await scene.stream(provider, tools=[TOOL])) == "{}"


# --- what clients ask


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
async def test_a_blank_text_beside_tool_calls_is_left_out(scene: Scene, provider: str) -> None:
    """U-B10: and no sentence is invented in its place."""
    up = scene.answer(provider)
    turn = {"role": "assistant", "content": "", "tool_calls": [CALLED]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "noon"}
    messages = [{"role": "user", "content": "Hello"}, turn, result]
    await scene.whole(provider, messages=messages, tools=[TOOL])
    (content,) = [one["content"] for one in up.requests[0].json()["messages"] if one["role"] == "assistant"]
    assert [part for part in content if "text" in part] == []
    assert len(content) == 1


@pytest.mark.parametrize("provider", STAND_INS)
async def test_jpg_becomes_jpeg(scene: Scene, provider: str) -> None:
    """U-B11"""
    up = scene.answer(provider)
    await scene.whole(provider, messages=[picture(f"data:image/jpg;base64,{PIXEL}")])
    assert b"jpg" not in up.requests[0].body
    assert b"jpeg" in up.requests[0].body


def with_parameter(**schema: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"x": schema}}
    return {"tools": [{"type": "function", "function": {"name": "now", "parameters": parameters}}]}


def mcp(url: str) -> dict[str, Any]:
    return {"tools": [{"type": "mcp", "server_label": "x", "server_url": url, "require_approval": "never"}]}


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("U-B12", "bedrock", {"response_format": {"type": "json_object"}}, "response_format"),
    ("U-F3", "bedrock", mcp("litellm_proxy/mcp/x"), "tools[0]"),
    *(("U-F4", provider, {"messages": ["http"]}, "messages[0].content") for provider in STAND_INS),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("row", "provider", "fields", "param"), REFUSED)
async def test_what_the_api_cannot_do_or_must_not_do_is_refused_by_name(
    scene: Scene, row: str, provider: str, fields: dict[str, Any], param: str, stream: bool
) -> None:
    """U-B12, U-F3, U-F4: nothing is asked of the provider, and nothing is fetched from an http address."""
    up = scene.answer(provider)
    async with FakeUpstream() as files:
        if fields.get("messages") == ["http"]:
            fields = {"messages": [picture(f"http://127.0.0.1:{files.port}/x.png")]}
        body = {"model": provider, "messages": [{"role": "user", "content": "Hello"}], "stream": stream, **fields}
        async with scene.daemon.session.post(f"{scene.daemon.data}/chat/completions", json=body) as response:
            assert (response.status, (await response.json())["error"]["param"]) == (400, param), row
        assert files.connection_count == 0
    assert up.requests == []


async def test_a_strict_tool_is_strict_for_claude(scene: Scene) -> None:
    """U-B12"""
    up = scene.answer("anthropic")
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "now", "strict": True, "parameters": schema}}
    await scene.whole("anthropic", tools=[tool])
    assert [one["strict"] for one in up.requests[0].json()["tools"]] == [True]


async def test_a_const_reaches_gemini(scene: Scene) -> None:
    """U-B12"""
    up = scene.answer("gemini")
    await scene.whole("gemini", **with_parameter(const="a"))
    assert '"enum": ["a"]' in json.dumps(up.requests[0].json())


async def test_what_gemini_cannot_be_asked_is_named(scene: Scene) -> None:
    """U-B12, U-F3: integers reach it as they are, in a JSON schema."""
    up = scene.answer("gemini")
    tools = with_parameter(type="integer", enum=[1, 2])["tools"] + mcp("litellm_proxy/mcp/x")["tools"]
    body = {"model": "gemini", "messages": [{"role": "user", "content": "Hello"}], "parallel_tool_calls": False}
    url = f"{scene.daemon.data}/chat/completions"
    async with scene.daemon.session.post(url, json={**body, "tools": tools}) as response:
        assert response.status == 200, await response.text()
        assert response.headers["x-gatewayd-dropped"] == "tools.mcp, parallel_tool_calls"
    sent = json.dumps(up.requests[0].json())
    assert '"enum": [1, 2]' in sent
    assert "litellm_proxy" not in sent


async def test_claude_gets_https_addresses_as_they_are(scene: Scene) -> None:
    """U-F4: of pictures. MCP servers (U-F3) are OpenAI's; they are left out, and named."""
    up = scene.answer("anthropic")
    await scene.whole("anthropic", messages=[picture("https://img.example/x.png")], **mcp("https://mcp.example/mcp/x"))
    assert b"https://img.example/x.png" in up.requests[0].body
    assert b"mcp.example" not in up.requests[0].body


def picture(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def said(events: list[Any]) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


def arguments(events: list[Any]) -> str:
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    return "".join(call["function"].get("arguments") or "" for call in calls)
