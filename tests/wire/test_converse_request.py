"""Requests for Bedrock's Converse API: what each kind of model gets, and what the API would refuse."""

from __future__ import annotations

import itertools
import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidRequest
from gatewayd.wire import chat, converse
from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    CacheMark,
    Citation,
    CustomTool,
    FileBlock,
    FunctionTool,
    ImageBlock,
    ModelTarget,
    RawBlock,
    Reasoning,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    ServerTool,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolName,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    WrittenRequest,
)
from gatewayd.wire.converting import as_json
from tests.wire import chat_cases
from tests.wire.converse_cases import ASKED, CLAUDE, NOVA
from tests.wire.gemini_cases import PNG, SIGNATURE, TOOL, USER, Object

LLAMA, GPT_OSS, GPT, NOVA2 = (
    "us.meta.llama4-maverick-17b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
    "openai.gpt-5.4",
    "us.amazon.nova-2-lite-v1:0",
)


def written(request: Request, model: str = CLAUDE, **target: Any) -> WrittenRequest:
    return converse.write_request(request, ModelTarget(model=model, **target))


def body_of(request: Request, model: str = CLAUDE, **target: Any) -> Any:
    return json.loads(written(request, model, **target).body)


def from_chat(**fields: Any) -> Request:
    return chat.read_request(json.dumps({"model": "group", "messages": [USER], **fields}).encode())


def conversation(*turns: Turn, **fields: Any) -> Request:
    return Request(dialect="messages", model="m", turns=turns, **fields)


def content(*blocks: Block, model: str = CLAUDE, role: Any = "user", **fields: Any) -> list[Object]:
    (message,) = body_of(conversation(Turn(role, blocks), **fields), model)["messages"]
    found: list[Object] = message["content"]
    return found


FUNCTION = FunctionTool(name="f")
BUDGET = {"type": "enabled", "budget_tokens": 2000}

# --- whatever is asked, the API understands it --------------------------------------------------------------------

_shape = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


@given(chat_cases.requests, st.sampled_from([CLAUDE, NOVA, LLAMA]))
def test_what_is_written_is_valid_for_botocore(asked: Object, model: str) -> None:
    request = chat.read_request(json.dumps(asked).encode())
    try:
        body = body_of(request, model, drop_params=True)
    except InvalidRequest:
        return
    assert ParamValidator().validate({"modelId": model, **body}, _shape).generate_report() == ""
    roles = [message["role"] for message in body["messages"]]
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert all(part["text"].strip() for message in body["messages"] for part in message["content"] if "text" in part)


# --- models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fields", "more"),
    [
        (CLAUDE, {"top_k": 5}, {"top_k": 5}),
        (NOVA, {"top_k": 5}, {"inferenceConfig": {"topK": 5}}),
        (GPT_OSS, {"reasoning_effort": "max"}, {"reasoning_effort": "high"}),
        ("deepseek.v3-v1:0", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (GPT, {"reasoning_effort": "max"}, {"reasoning": {"effort": "xhigh"}}),
        (
            NOVA2,
            {"reasoning_effort": "medium"},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
        ),
        (NOVA2, {"thinking": {"type": "disabled"}}, {"reasoningConfig": {"type": "disabled"}}),
        (CLAUDE, {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        (
            CLAUDE,
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        ),
    ],
)
def test_fields_of_the_model_s_own(model: str, fields: Object, more: Object) -> None:
    assert body_of(from_chat(**fields), model)["additionalModelRequestFields"] == more


@pytest.mark.parametrize(
    ("model", "fields", "dropped"),
    [
        (LLAMA, {"top_k": 5}, "top_k"),
        (LLAMA, {"reasoning_effort": "high"}, "reasoning_effort"),
        ("us.deepseek.r1-v1:0", {"reasoning_effort": "high"}, "reasoning_effort"),
        (NOVA, {"thinking": {"type": "adaptive"}}, "thinking"),
        (LLAMA, {"parallel_tool_calls": False, "tools": [TOOL]}, "parallel_tool_calls"),
        (CLAUDE, {"seed": 1}, "seed"),
        (CLAUDE, {"user": "u"}, "user"),
        (CLAUDE, {"service_tier": "auto"}, "service_tier"),
        (CLAUDE, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (NOVA, {"tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]}, "tools.strict"),
    ],
)
def test_what_is_dropped_and_named(model: str, fields: Object, dropped: str) -> None:
    found = written(from_chat(**fields), model)
    assert found.dropped == (dropped,)


def test_effort_of_claude() -> None:
    request = from_chat(reasoning_effort="high")
    adaptive = body_of(request, adaptive_thinking=True)["additionalModelRequestFields"]
    assert adaptive == {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}}
    budget = body_of(request)
    assert budget["additionalModelRequestFields"]["thinking"]["budget_tokens"] < budget["inferenceConfig"]["maxTokens"]


def test_thinking_excludes_sampling() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    request = from_chat(thinking=thinking, temperature=0.5, top_k=5, max_tokens=4000)
    body = body_of(request)
    assert body["inferenceConfig"] == {"maxTokens": 4000}
    assert body["additionalModelRequestFields"] == {"thinking": thinking}
    assert written(request).dropped == ("temperature", "top_k")
    assert body_of(from_chat(thinking=thinking, temperature=1))["inferenceConfig"]["temperature"] == 1


def test_a_forced_call_excludes_thinking() -> None:
    request = from_chat(reasoning_effort="high", tools=[TOOL], tool_choice="required")
    assert "additionalModelRequestFields" not in body_of(request)
    assert written(request).dropped == ("reasoning_effort",)


def test_a_default_limit_of_tokens() -> None:
    assert body_of(from_chat(), max_tokens=77)["inferenceConfig"] == {"maxTokens": 77}
    assert "inferenceConfig" not in body_of(from_chat())


# --- tools --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), {"auto": {}}),
        (ToolChoice(mode="required"), {"any": {}}),
        (ToolChoice(mode="named", named=ToolName("f")), {"tool": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: Object) -> None:
    request = conversation(Turn("user", (TextBlock("a"),)), tools=(FUNCTION,), tool_choice=choice)
    assert body_of(request)["toolConfig"]["toolChoice"] == expected
    assert "toolChoice" not in body_of(request, unsupported=frozenset({"tool_choice"}))["toolConfig"]


def test_a_choice_of_some_tools_offers_those() -> None:
    choice = ToolChoice(mode="auto", allowed=(ToolName("g"),))
    tools = (FUNCTION, FunctionTool(name="g", cache=CacheMark()))
    config = body_of(conversation(Turn("user", (TextBlock("a"),)), tools=tools, tool_choice=choice))["toolConfig"]
    assert [tool.get("toolSpec", {}).get("name") for tool in config["tools"]] == ["g", None]
    assert config["tools"][1] == {"cachePoint": {"type": "default"}}


def test_a_tool_of_another_provider_cannot_be_chosen() -> None:
    named = ToolChoice(mode="named", named=ToolName("web_search", "server"))
    with pytest.raises(InvalidRequest, match="tool_choice"):
        written(conversation(Turn("user", (TextBlock("a"),)), tools=(FUNCTION,), tool_choice=named))
    server = ServerTool(dialect="responses", type="web_search", raw=as_json({}))
    assert written(conversation(Turn("user", (TextBlock("a"),)), tools=(server,))).dropped == ("tools.web_search",)


def test_without_tools_calls_and_results_become_words() -> None:
    """The API refuses calls in a conversation without tools; a choice of none offers none."""
    turns = (
        Turn("user", (TextBlock("a"),)),
        Turn("assistant", (ToolUseBlock(call_id="x", name="f", arguments='{"a":1}'),)),
        Turn(
            "user",
            (ToolResultBlock(call_id="x", blocks=(TextBlock("r"), ImageBlock(data=PNG, media_type="image/png"))),),
        ),
    )
    for request in (conversation(*turns), conversation(*turns, tools=(FUNCTION,), tool_choice=ToolChoice(mode="none"))):
        body = body_of(request)
        assert "toolConfig" not in body
        assert body["messages"][1]["content"] == [{"text": '[called f with {"a":1}]'}]
        assert body["messages"][2]["content"] == [
            {"text": "[result: r]"},
            {"image": {"format": "png", "source": {"bytes": PNG}}},
        ]


def test_schemas_of_tools_are_objects() -> None:
    def schema(parameters: Any) -> Any:
        tool = FunctionTool(name="f", parameters=None if parameters is None else as_json(parameters))
        body = body_of(conversation(Turn("user", (TextBlock("a"),)), tools=(tool,)))
        return body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]

    assert schema(None) == {"type": "object", "properties": {}}
    assert schema({"anyOf": []}) == {"type": "object", "properties": {}, "anyOf": []}
    assert schema({"type": "object", "title": "t"}) == {"type": "object", "title": "t"}
    with pytest.raises(InvalidRequest, match="must be an object"):
        schema([])


def test_custom_tools_and_namespaces() -> None:
    tools = (CustomTool(name="patch", format=as_json({})), FunctionTool(name="f", namespace="n", deferred=True))
    request = conversation(Turn("user", (TextBlock("a"),)), tools=tools)
    specs = [tool["toolSpec"] for tool in body_of(request)["toolConfig"]["tools"]]
    assert specs[0]["inputSchema"]["json"]["required"] == ["input"]
    assert specs[1]["name"] == "n__f"
    assert written(request).dropped == ("tools.format", "tools.defer_loading")


def test_ids_of_calls() -> None:
    for call_id, expected in (
        (f"a__thought__{SIGNATURE}", "a"),
        ("tooluse_a.b:c-d", "tooluse_a.b:c-d"),
        ("é" * 99, None),
    ):
        call, result = ToolUseBlock(call_id=call_id, name="f"), ToolResultBlock(call_id=call_id)
        body = body_of(conversation(Turn("assistant", (call,)), Turn("user", (result,)), tools=(FUNCTION,)))
        used = body["messages"][0]["content"][0]["toolUse"]["toolUseId"]
        assert used == body["messages"][1]["content"][0]["toolResult"]["toolUseId"]
        assert used == expected or (expected is None and used.startswith("call_"))


def test_results() -> None:
    image = ImageBlock(data=PNG, media_type="image/png")
    result = ToolResultBlock(call_id="x", blocks=(TextBlock("r"), image), is_error=True, cache=CacheMark("1h"))
    found = content(TextBlock("and?"), result, tools=(FUNCTION,))
    assert [next(iter(part)) for part in found] == ["toolResult", "cachePoint", "text"]
    assert found[0]["toolResult"]["status"] == "error"
    assert [next(iter(part)) for part in found[0]["toolResult"]["content"]] == ["text", "image"]
    assert found[1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    other = content(result, tools=(FUNCTION,), model=LLAMA)
    assert [next(iter(part)) for part in other] == ["toolResult", "image"]
    assert "status" not in other[0]["toolResult"]
    request = conversation(Turn("user", (result,)), tools=(FUNCTION,))
    assert written(request, LLAMA).dropped == ("messages.is_error", "messages.cache_control")


# --- blocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (TextBlock("a"), {"text": "a"}),
        (RefusalBlock("no"), {"text": "no"}),
        (ImageBlock(data=PNG, media_type="image/jpg"), {"image": {"format": "jpeg", "source": {"bytes": PNG}}}),
        (
            ImageBlock(url="s3://b/a.png"),
            {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
        ),
        (AudioBlock(data=PNG, media_type="audio/x-wav"), {"audio": {"format": "wav", "source": {"bytes": PNG}}}),
        (AudioBlock(audio_id="a", transcript="said"), {"text": "said"}),
        (
            FileBlock(data=PNG, media_type="video/quicktime"),
            {"video": {"format": "mov", "source": {"bytes": PNG}}},
        ),
        (FileBlock(data=PNG, media_type="image/png"), {"image": {"format": "png", "source": {"bytes": PNG}}}),
        (
            FileBlock(data=PNG, name="t.xlsx", context="c", cite=True),
            {
                "document": {
                    "format": "xlsx",
                    "name": "t xlsx",
                    "source": {"bytes": PNG},
                    "context": "c",
                    "citations": {"enabled": True},
                }
            },
        ),
        (FileBlock(text="words"), {"document": {"format": "txt", "name": "document", "source": {"text": "words"}}}),
    ],
)
def test_blocks(block: Block, expected: Object) -> None:
    words = [{"text": "."}] if "document" in expected else []  # the API wants some beside a document
    assert content(block) == [expected, *words]


def test_names_of_documents_differ() -> None:
    block = FileBlock(data=PNG, media_type="application/pdf", name="a.pdf")
    found = content(TextBlock("a"), block, block, block)
    assert [part["document"]["name"] for part in found[1:]] == ["a pdf", "a pdf 2", "a pdf 3"]


@pytest.mark.parametrize(
    "block",
    [
        ImageBlock(url="https://a.example/a.png"),
        ImageBlock(data=PNG, media_type="image/tiff"),
        FileBlock(file_id="file-1"),
        FileBlock(data=PNG, media_type="application/zip"),
        RawBlock(dialect="messages", type="server_tool_use", raw=as_json({})),
    ],
)
def test_blocks_that_are_refused(block: Block) -> None:
    request = conversation(Turn("user", (TextBlock("a"), block)))
    with pytest.raises(InvalidRequest, match="messages"):
        written(request)
    assert written(request, drop_params=True).dropped == ("messages",)


@pytest.mark.parametrize(
    ("block", "model", "dropped"),
    [
        (ThinkingBlock(text="a", signature="s", origin="gemini"), CLAUDE, "messages.thinking"),
        (ThinkingBlock(text="a"), CLAUDE, "messages.thinking"),
        (ThinkingBlock(text="a", signature="s"), NOVA, "messages.thinking"),
        (RedactedThinkingBlock(data="a"), NOVA, "messages.thinking"),
        (TextBlock("a", cache=CacheMark()), LLAMA, "messages.cache_control"),
        (TextBlock("a", citations=(Citation(url="u"),)), CLAUDE, "messages.citations"),
        (ImageBlock(data=PNG, detail="high"), CLAUDE, "messages.detail"),
        (AudioBlock(audio_id="a"), CLAUDE, "messages.audio"),
    ],
)
def test_blocks_that_are_dropped_and_named(block: Block, model: str, dropped: str) -> None:
    request = conversation(Turn("user", (TextBlock("a"),)), Turn("assistant", (TextBlock("b"), block)))
    assert written(request, model).dropped == (dropped,)


def test_guarded_text_of_litellm_s_clients() -> None:
    request = from_chat(messages=[{"role": "user", "content": [{"type": "guarded_text", "text": "a"}]}])
    assert body_of(request)["messages"][0]["content"] == [{"guardContent": {"text": {"text": "a"}}}]


def test_blank_text_is_left_out() -> None:
    assert content(TextBlock(" \n", cache=CacheMark()), TextBlock("a"), RefusalBlock("")) == [{"text": "a"}]


def test_the_beginning_of_an_answer_does_not_end_in_white_space() -> None:
    request = from_chat(messages=[USER, {"role": "assistant", "content": "It is \n"}])
    assert body_of(request)["messages"][-1]["content"] == [{"text": "It is"}]


def test_system_turns() -> None:
    asked = [USER, {"role": "assistant", "content": "ok"}, {"role": "system", "content": "Be brief."}, USER]
    request = from_chat(messages=asked)
    assert body_of(request)["messages"][2]["content"][0] == {"text": "<system>\nBe brief.\n</system>"}
    in_place = body_of(request, system_turns=True)["messages"]
    assert [message["role"] for message in in_place] == ["user", "assistant", "system", "user"]


def test_system_alone_is_asked_as_the_user_s_words() -> None:
    request = from_chat(messages=[{"role": "system", "content": "What is the weather in Paris?"}])
    assert body_of(request) == {"messages": [ASKED]}
    with pytest.raises(InvalidRequest, match="is empty"):
        written(from_chat(messages=[]))


# --- other fields -------------------------------------------------------------------------------------------------


def test_fields_of_the_api_in_a_caller_s_request() -> None:
    request = from_chat(
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
        requestMetadata={"a": "b"},
        performanceConfig={"latency": "optimized"},
        additionalModelRequestFields={"anthropic_beta": ["x"]},
        something=1,
    )
    body = body_of(request)
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    assert body["requestMetadata"] == {"a": "b"}
    assert body["additionalModelRequestFields"] == {"anthropic_beta": ["x"]}
    assert written(request).dropped == ("something",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"stop": [" "]}, "stop"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"audio": {}}, "audio"),
    ],
)
def test_fields_that_are_refused(fields: Object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        written(from_chat(**fields))
    assert caught.value.param == param
    assert written(from_chat(**fields), drop_params=True).dropped == (param,)


def test_values_that_change_nothing() -> None:
    assert body_of(from_chat(n=1, logprobs=False, presence_penalty=0, store=False, modalities=["text"])) == {
        "messages": [ASKED]
    }


def test_output() -> None:
    json_object = from_chat(response_format={"type": "json_object"})
    assert "JSON" in body_of(json_object)["system"][0]["text"]
    spec = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "minProperties": 1}}}
    request = from_chat(response_format=spec)
    with pytest.raises(InvalidRequest, match="response_format"):
        written(request, structured_output=False)
    words = body_of(request, structured_output=False, drop_params=True)["system"][0]["text"]
    assert '{"type":"object","minProperties":1}' in words  # better than nothing
    (other,) = body_of(request, NOVA)["outputConfig"]["textFormat"]["structure"].values()
    assert json.loads(other["schema"]) == {"type": "object", "minProperties": 1}


def test_a_previous_response_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="previous_id"):
        written(conversation(Turn("user", (TextBlock("a"),)), previous_id="r"))


def test_reasoning_for_models_that_cannot() -> None:
    request = conversation(Turn("user", (TextBlock("a"),)), reasoning=Reasoning(effort="high"))
    for model in (CLAUDE, NOVA2):
        assert written(request, model, reasons=False).dropped == ("reasoning",)
