"""What a caller demands: carried out where the provider's API can, else refused by name, never silently dropped."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.upstream.litellm.translate import TranslateUpstream
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic, bedrock, gemini
from tests.upstream.doubles import call
from tests.upstream.litellm.direct_and_litellm import of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, WAYS

pytestmark = KNOWN_WARNINGS

ANSWERS: dict[str, Any] = {"anthropic": anthropic.answer, "bedrock": bedrock.answer, "gemini": gemini.answer}
JSON = {"response_format": {"type": "json_object"}}
ONE_BY_ONE = {"parallel_tool_calls": False, "tools": [TOOL]}


def tool(**parameter: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"x": parameter, "const": {"type": "integer"}}}
    return {"type": "function", "function": {"name": "weather", "parameters": parameters}}


async def sent(family: str, fields: dict[str, Any], *, direct: bool = True, **changes: Any) -> Any:
    """The body that the provider gets."""
    async with FakeUpstream(ANSWERS[family]) as up:
        upstream = TranslateUpstream(of(family, up, **changes), direct=direct)
        (await upstream.open(call({"messages": MESSAGES, **fields}))).close()
        await upstream.aclose()
        return up.requests[0].json()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("anthropic", JSON, "response_format"),
    ("bedrock", JSON, "response_format"),
    ("gemini", ONE_BY_ONE, "parallel_tool_calls"),
    ("gemini", {"tools": [tool(type="integer", enum=[1, 2])]}, "tools[0].function.parameters"),
    ("gemini", {"tools": [TOOL, tool(const=1)]}, "tools[1].function.parameters"),
    ("gemini", {"tools": [tool(type="array", items={"enum": [True]})]}, "tools[0].function.parameters"),
]


@WAYS
@pytest.mark.parametrize(("family", "fields", "param"), REFUSED)
async def test_what_the_api_cannot_do_is_refused_by_name(
    family: str, fields: dict[str, Any], param: str, direct: bool
) -> None:
    """U-B12: with `drop_params` it is left out."""
    with pytest.raises(InvalidRequest) as caught:
        await sent(family, fields, direct=direct)
    assert (caught.value.param, caught.value.verdict) == (param, Verdict.ELSEWHERE)
    assert caught.value.message.startswith(f"{family} does not accept ")
    assert "'drop_params'" in caught.value.message
    await sent(family, fields, direct=direct, drop_params=True)


async def test_a_const_is_an_enum_of_one_for_gemini() -> None:
    """U-B12"""
    body = await sent("gemini", {"tools": [tool(const="a")]})
    (declared,) = body["tools"][0]["function_declarations"]
    assert declared["parameters"]["properties"]["x"]["enum"] == ["a"]


def strict(value: bool) -> dict[str, Any]:
    return {"tools": [{**TOOL, "function": {**TOOL["function"], "strict": value}}, tool(type="string")]}  # type: ignore[dict-item]


@WAYS
async def test_a_strict_tool_is_strict_for_claude(direct: bool) -> None:
    """U-B12"""
    body = await sent("anthropic", strict(True), direct=direct)
    assert body["tools"][0]["strict"] is True
    assert all("strict" not in one for one in (await sent("anthropic", strict(False), direct=direct))["tools"])


@WAYS
async def test_a_strict_tool_is_refused_for_a_claude_that_has_none(direct: bool) -> None:
    """U-B12"""
    old = {"model": "claude-3-haiku-20240307"}
    with pytest.raises(InvalidRequest) as caught:
        await sent("anthropic", strict(True), direct=direct, **old)
    assert caught.value.param == "tools"
    body = await sent("anthropic", strict(True), direct=direct, drop_params=True, **old)
    assert all("strict" not in one for one in body["tools"])
