from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from gatewayd.errors import InvalidJson, InvalidRequest, UpstreamBadResponse
from gatewayd.wire import chat, gemini, messages, responses
from gatewayd.wire.conversation import (
    Answer,
    Choice,
    Citation,
    CustomTool,
    FunctionTool,
    ImageBlock,
    ModelTarget,
    RawBlock,
    Reasoning,
    RedactedThinkingBlock,
    RefusalBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolName,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from tests.wire import chat_cases, responses_cases

TARGET = ModelTarget(model="m")
CHAT = ModelTarget(model="m", developer_role=True, thinking_blocks=True)
NAMESPACE = {
    "type": "namespace",
    "name": "mcp__files",
    "description": "Files of the project.",
    "tools": [
        {"type": "function", "name": "read", "parameters": {"type": "object"}},
        {"type": "custom", "name": "patch"},
    ],
}


def ask(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def rewritten(body: bytes, target: ModelTarget = TARGET) -> dict[str, Any]:
    document = json.loads(responses.write_request(responses.read_request(body), target).body)
    assert isinstance(document, dict)
    return document


def to_chat(target: ModelTarget = CHAT, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = chat.write_request(responses.read_request(ask(**fields)), target)
    return json.loads(written.body), written.dropped


def from_chat(target: ModelTarget = TARGET, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    written = responses.write_request(chat.read_request(body), target)
    return json.loads(written.body), written.dropped


# --- requests


@given(responses_cases.requests)
def test_a_request_that_is_read_and_written_says_the_same(request: dict[str, Any]) -> None:
    target = ModelTarget(model=request["model"])
    written = responses.write_request(responses.read_request(json.dumps(request).encode()), target)
    assert json.loads(written.body) == request
    assert written.dropped == ()


@given(responses_cases.requests, st.booleans())
def test_no_request_breaks_the_way_to_chat(request: dict[str, Any], drop_params: bool) -> None:
    """It is written, or refused with the name of a field of the caller's."""
    neutral = responses.read_request(json.dumps(request).encode())
    param = None
    try:
        written = chat.write_request(neutral, ModelTarget(model="m", drop_params=drop_params))
        assert isinstance(json.loads(written.body)["messages"], list)
    except InvalidRequest as error:
        param = error.param
    assert param is None or (not drop_params and param in {*request, "text.format"})


@given(chat_cases.requests)
def test_what_chat_and_responses_both_say_survives_the_way_through_responses(request: dict[str, Any]) -> None:
    neutral = chat.read_request(json.dumps(request).encode())
    written = responses.write_request(neutral, ModelTarget(model="m", drop_params=True))
    back = responses.read_request(written.body)
    assert [tool.name for tool in back.tools or () if isinstance(tool, FunctionTool | CustomTool)] == [
        tool.name for tool in neutral.tools or () if isinstance(tool, FunctionTool | CustomTool)
    ]
    assert _said(back.turns) == _said(neutral.turns)
    assert back.sampling.temperature == neutral.sampling.temperature
    assert back.sampling.top_p == neutral.sampling.top_p
    assert back.verbosity == neutral.verbosity
    assert back.user == neutral.user
    assert back.stream == neutral.stream


def _said(turns: tuple[Turn, ...]) -> list[Any]:
    """Texts and calls in their order, results apart: they stand before what a user says."""
    found: list[Any] = []
    for turn in turns:
        for block in turn.blocks:
            match block:
                case TextBlock(text) if text:
                    found.append((turn.role, text))
                case ToolUseBlock():
                    found.append((block.call_id, block.name, block.arguments or "{}", block.kind))
                case ToolResultBlock():
                    found.append(
                        (block.call_id, [inner.text for inner in block.blocks if isinstance(inner, TextBlock)])
                    )
                case _:
                    pass
    return found


def test_input_may_be_a_string() -> None:
    (turn,) = responses.read_request(ask(input="hi")).turns
    assert turn == Turn("user", (TextBlock("hi"),))
    assert rewritten(ask(input="hi"))["input"] == [{"type": "message", "role": "user", "content": "hi"}]
    assert responses.read_request(b'{"model":"m","previous_response_id":"resp_1"}').turns == ()


def test_a_message_without_type_and_with_an_id() -> None:
    item = {
        "role": "assistant",
        "id": "msg_1",
        "status": "completed",
        "content": [{"type": "output_text", "text": "a"}],
    }
    (turn,) = responses.read_request(ask(input=[item])).turns
    assert turn == Turn("assistant", (TextBlock("a"),))


def test_the_items_of_one_turn_are_one_turn() -> None:
    """Chat and Anthropic want the calls of a turn in one message, and their results next."""
    items = [
        {"role": "user", "content": "read both"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": "I will."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
        {"role": "user", "content": "and?"},
        {"role": "user", "content": "well?"},
    ]
    turns = responses.read_request(ask(input=items)).turns
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "user", "user"]
    assert [type(block) for block in turns[1].blocks] == [ThinkingBlock, TextBlock, ToolUseBlock, ToolUseBlock]
    assert [type(block) for block in turns[2].blocks] == [ToolResultBlock, ToolResultBlock]
    messages = to_chat(input=items)[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["a", "b"]


def test_codex() -> None:
    """What Codex sends: everything that chat can say arrives there, and the rest is named."""
    body, dropped = to_chat(
        input=[
            {
                "type": "message",
                "id": "msg_1",
                "role": "developer",
                "content": [{"type": "input_text", "text": "rules"}],
            },
            {
                "type": "message",
                "id": "msg_2",
                "role": "user",
                "content": [{"type": "input_text", "text": "go"}],
                "internal_chat_message_metadata_passthrough": {"turn_id": "t"},
            },
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "shell", "arguments": '{"a":1}'},
            {"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "ok"},
        ],
        tools=[
            {"type": "function", "name": "shell", "strict": True, "parameters": {}},
            NAMESPACE,
            {"type": "web_search"},
        ],
        tool_choice="auto",
        parallel_tool_calls=True,
        reasoning={"summary": "auto"},
        store=False,
        stream=True,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        client_metadata={"session": "s"},
        instructions="Be brief.",
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "shell", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]
    assert [tool[tool["type"]]["name"] for tool in body["tools"]] == ["shell", "mcp__files__read", "mcp__files__patch"]
    assert body["stream_options"] == {"include_usage": True}
    assert body["prompt_cache_key"] == "k"
    assert set(dropped) == {
        "tools.web_search", "client_metadata", "input.internal_chat_message_metadata_passthrough"
    }  # fmt: skip


def test_developer_reaches_native_upstreams() -> None:
    item = {"type": "message", "role": "developer", "content": "rules"}
    assert rewritten(ask(input=[item]))["input"] == [item]
    assert from_chat(messages=[{"role": "developer", "content": "rules"}])[0]["input"] == [item]


def test_strict_is_false_unless_the_caller_asks_for_it() -> None:
    """The API makes schemas strict that do not say it."""
    for strict, expected in (({}, False), ({"strict": True}, True), ({"strict": False}, False)):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}, **strict}}
        body, _ = from_chat(tools=[tool])
        assert body["tools"] == [{"type": "function", "name": "f", "parameters": {}, "strict": expected}]


def test_namespaces_are_flattened_for_chat_and_put_together_for_responses() -> None:
    body, _ = to_chat(
        tools=[NAMESPACE],
        tool_choice={"type": "namespace", "name": "mcp__files"},
        input=[{"type": "function_call", "call_id": "a", "name": "read", "namespace": "mcp__files", "arguments": "{}"}],
    )
    assert body["messages"][0]["tool_calls"][0]["function"]["name"] == "mcp__files__read"
    allowed = body["tool_choice"]["allowed_tools"]["tools"]
    assert [tool[tool["type"]]["name"] for tool in allowed] == ["mcp__files__read", "mcp__files__patch"]
    written = rewritten(ask(tools=[NAMESPACE]))["tools"]
    assert [tool["name"] for tool in written] == ["mcp__files"]
    assert written[0]["description"] == "Files of the project."
    assert [tool["name"] for tool in written[0]["tools"]] == ["read", "patch"]


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"type": "function", "name": "f"}, ToolName("f")),
        ({"type": "custom", "name": "c"}, ToolName("c", "custom")),
        ({"type": "function", "name": "f", "namespace": "n"}, ToolName("f", "function", "n")),
        ({"type": "file_search"}, ToolName("file_search", "server")),
    ],
)
def test_tool_choices(choice: Any, named: ToolName) -> None:
    found = responses.read_request(ask(tool_choice=choice)).tool_choice
    assert found is not None
    assert (found.mode, found.named) == ("named", named)


def test_what_the_other_side_cannot_say() -> None:
    """Advisory fields are dropped and named as the caller calls them; others are refused."""
    body, dropped = from_chat(
        seed=1,
        frequency_penalty=0.5,
        max_tokens=1,
        tools=[{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
    )
    assert set(dropped) == {"seed", "frequency_penalty", "tools.cache_control"}
    assert body["max_output_tokens"] == 16, "the API takes no less"
    assert body["store"] is False, "chat keeps nothing unless it is asked to"
    only_chats: dict[str, Any] = {"stop": ["x"], "n": 2, "logit_bias": {"1": 1.0}, "modalities": ["audio"]}
    for field in only_chats:
        with pytest.raises(InvalidRequest) as caught:
            from_chat(TARGET, **{field: only_chats[field]})
        assert caught.value.param == field
        assert field in from_chat(ModelTarget(model="m", drop_params=True), **{field: only_chats[field]})[1]
    only_ours: dict[str, Any] = {"background": True, "conversation": "conv_1", "previous_response_id": "resp_1"}
    for field in only_ours:
        with pytest.raises(InvalidRequest) as caught:
            to_chat(CHAT, **{field: only_ours[field]})
        assert caught.value.param == field
    _, dropped = to_chat(background=False, truncation="disabled", stream_options={"include_obfuscation": False})
    assert dropped == ()


def test_what_refers_to_the_servers_memory_is_refused_by_others() -> None:
    for item in ({"type": "item_reference", "id": "msg_1"}, {"type": "compaction", "encrypted_content": "x"}):
        with pytest.raises(InvalidRequest) as caught:
            to_chat(input=[item])
        assert caught.value.param == "input"


@pytest.mark.parametrize("write", [chat.write_request, messages.write_request, gemini.write_request])
def test_what_server_tools_have_done_is_dropped_and_named_by_others(write: Any) -> None:
    items = [
        {"role": "user", "content": "How is it in Bern?"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Cold."}]},
        {"type": "computer_call", "id": "cu_1", "call_id": "c", "action": {"type": "wait"}},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": "x"}},
        {"role": "user", "content": "And now?"},
    ]
    written = write(responses.read_request(ask(input=items)), CHAT)
    assert written.dropped == ("input.web_search_call", "input.computer_call", "input.computer_call_output")
    for said in ("How is it in Bern?", "Cold.", "And now?"):
        assert said in written.body.decode()
    assert b"_call" not in written.body
    with pytest.raises(InvalidRequest, match="input_video"):
        write(responses.read_request(ask(input=[{"role": "user", "content": [{"type": "input_video"}]}])), CHAT)


def test_reasoning_both_ways() -> None:
    assert from_chat(reasoning_effort="low")[0]["reasoning"] == {"effort": "low"}
    body, _ = from_chat(thinking={"type": "enabled", "budget_tokens": 4096})
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content"], "who keeps the conversation keeps the thoughts"
    assert from_chat(thinking={"type": "disabled"})[0]["reasoning"] == {"effort": "none"}
    assert to_chat(reasoning={"effort": "high", "summary": "auto"})[0]["reasoning_effort"] == "high"
    assert from_chat(ModelTarget(model="m", reasons=False), reasoning_effort="low")[1] == ("reasoning_effort",)


def test_structured_output_both_ways() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    body, _ = to_chat(text={"format": form, "verbosity": "low"})
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert body["verbosity"] == "low"
    assert from_chat(response_format=body["response_format"], verbosity="low")[0]["text"] == {
        "format": form,
        "verbosity": "low",
    }


def test_images_and_files_both_ways() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
    ]
    message = {"type": "message", "role": "user", "content": parts}
    (written,) = to_chat(input=[message])[0]["messages"]
    assert written["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    (back,) = from_chat(messages=[written])[0]["input"]
    assert back["content"] == [parts[0], {**parts[1]}, parts[2]]


def test_a_result_with_an_image_stays_one() -> None:
    output = [
        {"type": "input_text", "text": "seen"},
        {"type": "input_image", "image_url": "https://a/b.png", "detail": "auto"},
    ]
    item = {"type": "function_call_output", "call_id": "a", "output": output}
    assert rewritten(ask(input=[item]))["input"] == [item]


def test_results_of_custom_tools_are_recognized_by_their_call() -> None:
    messages = [
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "p", "input": "x"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ]
    assert [item["type"] for item in from_chat(messages=messages)[0]["input"]] == [
        "custom_tool_call",
        "custom_tool_call_output",
    ]


def test_thoughts_of_another_provider_stay_away() -> None:
    """A provider refuses the proof of another one."""
    thoughts = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    body, dropped = from_chat(messages=[{"role": "assistant", "content": "a", "thinking_blocks": thoughts}])
    assert [item["type"] for item in body["input"]] == ["message"]
    assert dropped == ("messages.thinking",)


def test_thoughts_of_responses_come_back_through_chat() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "s"}],
        "encrypted_content": "x",
    }
    message = {"role": "assistant", "content": "a"}
    body, _ = to_chat(input=[item, message])
    back, _ = from_chat(messages=body["messages"])
    assert back["input"][0]["id"] == "rs_1"
    assert back["input"][0]["encrypted_content"] == "x"


def test_empty_texts_are_left_out() -> None:
    parts = [{"type": "output_text", "text": ""}, {"type": "output_text", "text": "a"}]
    body = rewritten(ask(input=[{"type": "message", "role": "assistant", "content": parts}]))
    assert body["input"][0]["content"] == [{"type": "output_text", "text": "a"}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": 5}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "call_id": "a"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"text": "x"}, "text"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"verbosity": 5}}, "text.verbosity"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
        ({"reasoning": {"summary": 5}}, "reasoning.summary"),
        ({"max_output_tokens": "x"}, "max_output_tokens"),
        ({"instructions": []}, "instructions"),
    ],
)
def test_a_bad_request_names_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        responses.read_request(ask(**fields))
    assert caught.value.param == param


def test_a_body_that_is_no_object() -> None:
    with pytest.raises(InvalidJson):
        responses.read_request(b"[]")


# --- answers

REQUEST = responses.read_request(
    ask(
        instructions="Be brief.",
        tools=[NAMESPACE, {"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
        temperature=0.5,
        metadata={"a": "b"},
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        tool_choice={"type": "function", "name": "f"},
        previous_response_id="resp_0",
    )
)


def answer(*blocks: Any, stop: StopReason = StopReason.END, **members: Any) -> Answer:
    usage = TokenUsage(input=10, output=5, cache_read=4, reasoning=2)
    choice = Choice(blocks=blocks, stop=stop)
    return Answer(
        dialect="chat", answer_id="chatcmpl-abc", model="m", created=7, choices=(choice,), usage=usage, **members
    )


def written(*blocks: Any, stop: StopReason = StopReason.END) -> dict[str, Any]:
    """Of which OpenAI's SDK agrees that it is a response."""
    body = responses.write_answer(answer(*blocks, stop=stop), REQUEST)
    Response.model_validate_json(body, strict=True)
    document = json.loads(body)
    assert isinstance(document, dict)
    return document


def test_a_response_has_all_that_sdks_read() -> None:
    body = written(TextBlock("Hello"))
    assert body["id"] == "resp_abc"
    assert (body["object"], body["status"], body["created_at"]) == ("response", "completed", 7)
    assert body["output"] == [
        {
            "id": "msg_abc_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }
    ]
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    assert body["instructions"] == "Be brief."
    assert body["temperature"] == 0.5
    assert body["metadata"] == {"a": "b"}
    assert body["previous_response_id"] == "resp_0"
    assert body["tools"][0]["tools"][0]["name"] == "read"
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert body["text"]["format"]["name"] == "n"


def test_calls_get_the_names_that_the_caller_knows() -> None:
    """Namespaces come back; a custom tool that was called as a function is one again."""
    body = written(
        ToolUseBlock(call_id="a", name="mcp__files__read", arguments='{"p":1}'),
        ToolUseBlock(call_id="b", name="mcp__files__patch", arguments='{"input":"*** Begin"}'),
        ToolUseBlock(call_id="c", name="f", arguments=""),
        ToolUseBlock(call_id="", name="unknown", arguments="{"),
        stop=StopReason.TOOL_USE,
    )
    read, patch, plain, unknown = body["output"]
    assert (read["type"], read["name"], read["namespace"], read["arguments"]) == (
        "function_call",
        "read",
        "mcp__files",
        '{"p":1}',
    )
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "patch", "*** Begin")
    assert plain["arguments"] == "{}", "clients parse it"
    assert unknown["call_id"]
    assert body["status"] == "completed"


def test_thoughts_survive_the_way_through_the_caller() -> None:
    """Thinking with its signature comes back unchanged, even if the client keeps `encrypted_content` only."""
    thoughts = (
        ThinkingBlock(text="I think. \u00e9", signature="sig", origin="messages"),
        RedactedThinkingBlock(data="secret", origin="messages"),
        ThinkingBlock(text="x", signature="g", origin="gemini"),
    )
    output = written(*thoughts, TextBlock("Hello"))["output"]
    items = [
        {"type": "reasoning", "id": item["id"], "summary": [], "encrypted_content": item["encrypted_content"]}
        for item in output[:3]
    ]
    (turn,) = responses.read_request(ask(input=items)).turns
    assert turn.blocks == thoughts
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "I think. \u00e9"}]
    forged = [{"type": "reasoning", "summary": [], "encrypted_content": "gwd1.x"}]
    assert responses.read_request(ask(input=forged)).turns[0].blocks == (ThinkingBlock(origin="responses"),)


def test_geminis_signature_of_a_call_comes_back_with_its_id() -> None:
    (item,) = written(ToolUseBlock(call_id="a", name="f", signature="s"), stop=StopReason.TOOL_USE)["output"]
    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "1"}
    turns = responses.read_request(ask(input=[item, output])).turns
    assert [block for turn in turns for block in turn.blocks] == [
        ToolUseBlock(call_id="a", name="f", arguments="{}", signature="s", item_id=item["id"]),
        ToolResultBlock(call_id="a", blocks=(TextBlock("1"),)),
    ]


def test_a_summary_is_what_the_caller_asked_for() -> None:
    asking = responses.read_request(ask(reasoning={"summary": "auto"}))
    thought = ThinkingBlock(text="I think.", signature="s", origin="messages")
    (item, _) = json.loads(responses.write_answer(answer(thought, TextBlock("a")), asking))["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "I think."}]
    assert "content" not in item


def test_raw_reasoning_text_survives() -> None:
    (item, _) = written(ThinkingBlock(text="raw"), TextBlock("a"))["output"]
    assert item["content"] == [{"type": "reasoning_text", "text": "raw"}]
    body = {"id": "resp_1", "model": "m", "status": "completed", "output": [item]}
    (block,) = responses.read_answer(json.dumps(body).encode()).choices[0].blocks
    assert isinstance(block, ThinkingBlock)
    assert block.text == "raw"


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        (StopReason.END, "completed", None),
        (StopReason.STOP_SEQUENCE, "completed", None),
        (StopReason.LENGTH, "incomplete", "max_output_tokens"),
        (StopReason.CONTEXT_WINDOW, "incomplete", "max_output_tokens"),
        (StopReason.CONTENT_FILTER, "incomplete", "content_filter"),
        (StopReason.PAUSE, "completed", None),
        (StopReason.FAULT, "failed", None),
    ],
)
def test_how_an_answer_ends(stop: StopReason, status: str, reason: str | None) -> None:
    body = written(TextBlock("a"), stop=stop)
    assert body["status"] == status
    assert (body["incomplete_details"] or {}).get("reason") == reason
    assert (body["error"] is not None) == (status == "failed")


def test_a_refusal_is_never_an_empty_answer() -> None:
    for blocks in ((), (RefusalBlock("I will not."),), (TextBlock("I beg"),)):
        body = written(*blocks, stop=StopReason.REFUSAL)
        parts = body["output"][0]["content"]
        assert parts[-1]["type"] == "refusal"
        assert parts[-1]["refusal"]
        back = responses.read_answer(json.dumps(body).encode())
        assert back.choices[0].stop is StopReason.REFUSAL
    assert written()["output"][0]["content"][0]["text"] == "", "clients look at the first item"


def test_images_and_citations() -> None:
    cited = TextBlock("as said", citations=(Citation(url="https://a", title="A"), Citation(cited="no address")))
    body = written(cited, ImageBlock(data="aGk=", media_type="image/png"))
    assert body["output"][0]["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 7}
    ]
    assert body["output"][1]["result"] == "aGk="
    blocks = responses.read_answer(json.dumps(body).encode()).choices[0].blocks
    assert blocks == (
        TextBlock("as said", citations=(Citation(url="https://a", title="A", start=0, end=7),)),
        ImageBlock(data="aGk=", media_type="image/png"),
    )


def upstream(*output: Any, **members: Any) -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}, "total_tokens": 5}
    return json.dumps(
        {
            "id": "resp_1", "object": "response", "created_at": 5.0, "model": "m", "status": "completed",
            "error": None, "incomplete_details": None, "output": output, "usage": usage, **members,
        }
    ).encode()  # fmt: skip


def message(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts}


def test_an_answer_for_a_caller_of_chat() -> None:
    body = upstream(
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "s"}],
            "encrypted_content": "x",
        },
        message(
            {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": [{"token": "H", "logprob": -1.0}]}
        ),
        {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "call_id": "b", "name": "f", "arguments": '{"x": 1}'},
    )
    found = responses.read_answer(body)
    assert found.usage == TokenUsage(input=3, output=2, cache_read=1)
    assert found.created == 5
    request = chat.read_request(b'{"model":"m","messages":[]}')
    choice = json.loads(chat.write_answer(found, request))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["logprobs"] == {"content": [{"token": "H", "logprob": -1.0}]}
    assert choice["message"]["content"] == "Hello"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["a", "b"]
    assert choice["message"]["thinking_blocks"] == [
        {"type": "thinking", "thinking": "s", "signature": "x", "id": "rs_1", "origin": "responses"}
    ]


def test_how_a_response_has_ended() -> None:
    text = message({"type": "output_text", "text": "a"})
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    filtered = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    for members, expected in (({}, StopReason.END), (cut, StopReason.LENGTH), (filtered, StopReason.CONTENT_FILTER)):
        assert responses.read_answer(upstream(text, **members)).choices[0].stop is expected
    refused = responses.read_answer(upstream(message({"type": "refusal", "refusal": "no"})))
    assert refused.choices[0].stop is StopReason.REFUSAL
    assert refused.choices[0].blocks == (RefusalBlock("no"),)


def test_calls_of_server_tools_are_kept_raw() -> None:
    action = {"type": "search", "query": "q"}
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    (block,) = responses.read_answer(upstream(item)).choices[0].blocks
    assert isinstance(block, RawBlock)
    assert json.loads(bytes(block.raw)) == item
    assert written(block)["output"] == [item]


def test_a_response_that_failed_is_no_answer() -> None:
    """200 with `status: failed` is a failed try."""
    body = upstream(status="failed", error={"code": "rate_limit_exceeded", "message": "slow down"})
    with pytest.raises(UpstreamBadResponse, match="slow down"):
        responses.read_answer(body)
    error = responses.read_error(body)
    assert error is not None
    assert (error.message, error.code, error.status) == ("slow down", "rate_limit_exceeded", 429)


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"x", b'{"output":5}', b'{"output":[5]}', upstream(status="in_progress"),
        upstream({"type": "function_call"}), upstream(message({"type": "output_text"})),
    ],
)  # fmt: skip
def test_what_is_no_response(body: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        responses.read_answer(body)


@pytest.mark.parametrize(
    ("body", "message", "status"),
    [
        (b'{"error":{"message":"m","type":"invalid_request_error","code":null,"param":"input"}}', "m", 400),
        (b'{"error":{"message":"m","code":"context_length_exceeded"}}', "m", 400),
        (b'{"error":{"message":"m","code":"server_error"}}', "m", 500),
        (b'{"error":{"message":"m","code":429}}', "m", 429),
        (b'{"error":"m"}', "m", None),
        (b'{"type":"error","message":"m","code":null}', "m", None),
        (b'{"error":{}}', "The response failed.", None),
    ],
)
def test_errors(body: bytes, message: str, status: int | None) -> None:
    error = responses.read_error(body)
    assert error is not None
    assert (error.message, error.status) == (message, status)


def test_what_is_no_error() -> None:
    for body in (upstream(), b"x", b"{}", b'{"error":null}'):
        assert responses.read_error(body) is None


def test_the_neutral_form_of_a_request() -> None:
    assert REQUEST.reasoning == Reasoning(effort="low")
    assert [tool.namespace for tool in REQUEST.tools or () if isinstance(tool, FunctionTool)] == ["mcp__files", None]
    assert REQUEST.namespaces == {"mcp__files": "Files of the project."}
