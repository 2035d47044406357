"""Tools that a provider's API does not have are refused by name; none of them chooses code of litellm's."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic, bedrock, cohere, gemini
from tests.upstream.doubles import call
from tests.upstream.litellm.direct_and_litellm import of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL

pytestmark = KNOWN_WARNINGS

ANSWERS: dict[str, Any] = {
    "anthropic": anthropic.answer,
    "bedrock": bedrock.answer,
    "cohere_chat": cohere.answer,
    "gemini": gemini.answer,
}
GATEWAYS = ["litellm_proxy", "litellm_proxy/mcp/x", "http://127.0.0.1:1/mcp/x", "https://mcp.example/mcp/x"]


def server(url: str) -> dict[str, Any]:
    return {"type": "mcp", "server_label": "x", "server_url": url, "require_approval": "never"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("url", GATEWAYS)
@pytest.mark.parametrize("family", ["bedrock", "cohere_chat", "gemini"])
async def test_an_mcp_server_is_refused_where_the_api_has_none(family: str, url: str, stream: bool) -> None:
    """U-F3: litellm would take it for its own gateway, import that, and fail."""
    async with FakeUpstream(ANSWERS[family]) as up:
        upstream = TranslateUpstream(of(family, up))
        with pytest.raises(InvalidRequest) as caught:
            await upstream.open(call(messages=MESSAGES, tools=[TOOL, server(url)], stream=stream))
        assert (caught.value.status, caught.value.param, caught.value.verdict) == (400, "tools[1]", Verdict.ELSEWHERE)
        assert caught.value.message == f"{family} does not accept tools of type 'mcp'."
        assert up.requests == []
        await upstream.aclose()


@pytest.mark.parametrize("url", GATEWAYS[:3])
async def test_only_an_https_address_is_handed_on(url: str) -> None:
    """U-F3"""
    async with FakeUpstream(anthropic.answer) as up:
        with pytest.raises(InvalidRequest, match="'server_url'"):
            await TranslateUpstream(of("anthropic", up)).open(call(messages=MESSAGES, tools=[server(url)]))
        assert up.requests == []


@pytest.mark.parametrize("url", ["https://mcp.example/mcp/x", "https://mcp.example/sse"])
async def test_claude_gets_the_mcp_server(url: str) -> None:
    """U-F3: the API has MCP tools. The first address is of a form that litellm looks up in its own gateway."""
    async with FakeUpstream(anthropic.answer) as up:
        upstream = TranslateUpstream(of("anthropic", up))
        (await upstream.open(call(messages=MESSAGES, tools=[server(url)]))).close()
        (request,) = up.requests
        assert [one["url"] for one in request.json()["mcp_servers"]] == [url]
        assert "mcp-client" in request.headers["anthropic-beta"]
        assert "litellm.proxy._experimental.mcp_server.mcp_server_manager" not in sys.modules
        await upstream.aclose()


@pytest.mark.parametrize("kind", ["file_search", "image_generation", "code_interpreter", "custom", "local_shell"])
@pytest.mark.parametrize("family", ["bedrock", "gemini"])
async def test_tools_of_another_api_are_refused_by_name(family: str, kind: str) -> None:
    """U-F3, U-B12: litellm would leave them out and say nothing."""
    async with FakeUpstream(ANSWERS[family]) as up:
        with pytest.raises(InvalidRequest, match=f"'{kind}'"):
            await TranslateUpstream(of(family, up)).open(call(messages=MESSAGES, tools=[{"type": kind}]))
        assert up.requests == []
