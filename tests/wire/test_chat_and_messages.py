"""Golden transcripts: chat clients of Anthropic's models, and Anthropic's clients of chat servers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidRequest
from gatewayd.wire import chat, messages
from gatewayd.wire.conversation import ModelTarget, WrittenRequest
from tests.wire import chat_cases, test_chat, test_messages
from tests.wire.chat_cases import Object, base64, names, schema, some, words
from tests.wire.test_chat import call, stream_of, written_stream
from tests.wire.test_messages import (
    CITATION,
    PING,
    START,
    STOP,
    STREAMS,
    begin,
    call_block,
    done,
    end,
    piece,
    sse,
    text_block,
    thinking_block,
    write_stream,
)

CLAUDE = ModelTarget(model="claude", adaptive_thinking=True)
OLDER = ModelTarget(model="claude")
SERVER = ModelTarget(model="gpt", developer_role=True)


def to_messages(body: bytes, target: ModelTarget = CLAUDE) -> WrittenRequest:
    return messages.write_request(chat.read_request(body), target)


def to_chat(body: bytes, target: ModelTarget = SERVER) -> WrittenRequest:
    return chat.write_request(messages.read_request(body), target)


def as_messages(target: ModelTarget = CLAUDE, **fields: Any) -> Any:
    return json.loads(to_messages(test_chat.ask(**fields), target).body)


def as_chat(target: ModelTarget = SERVER, **fields: Any) -> Any:
    return json.loads(to_chat(test_messages.ask(**fields), target).body)


def use(call_id: str, arguments: str = "{}") -> Object:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


# --- requests: chat to messages


def test_text_and_system() -> None:
    said = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, {"role": "user", "content": "c"}]
    assert as_messages(messages=said, stop="x", stream=True, user="u") == {
        "model": "claude",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "messages": [{"role": "user", "content": "c"}],
        "stop_sequences": ["x"],
        "stream": True,
        "metadata": {"user_id": "u"},
    }


def test_tools_parallel_calls_and_calls_without_arguments() -> None:
    said = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [use("call.1", '{"a": 1.0}'), use("call_2", "")]},
        {"role": "tool", "tool_call_id": "call.1", "content": "b"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "c"}]},
        {"role": "user", "content": "d"},
    ]
    tool = {"type": "function", "function": {"name": "f", "description": "e"}}
    written = as_messages(messages=said, tools=[tool], tool_choice="required", parallel_tool_calls=False)
    assert written["messages"] == [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1.0}},
                {"type": "tool_use", "id": "call_2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "b"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "c"},
                {"type": "text", "text": "d"},
            ],
        },
    ]
    assert written["tools"] == [{"name": "f", "description": "e", "input_schema": {"type": "object", "properties": {}}}]
    assert written["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_ids_that_differ_stay_different() -> None:
    said = [{"role": "assistant", "content": None, "tool_calls": [use("a.b"), use("a_b"), use("a:b")]}]
    ids = [block["id"] for block in as_messages(messages=said)["messages"][0]["content"]]
    assert len(set(ids)) == 3


def test_arguments_that_are_no_object_are_carried_inside_one() -> None:
    said = [{"role": "assistant", "content": None, "tool_calls": [use("a", '{"x":'), use("b", "[1]")]}]
    content = as_messages(messages=said)["messages"][0]["content"]
    assert [block["input"] for block in content] == [{"arguments": '{"x":'}, {"arguments": "[1]"}]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_a_tool(choice: Any, written: Any) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    assert as_messages(tools=[tool], tool_choice=choice)["tool_choice"] == written
    assert "tool_choice" not in as_messages(tool_choice=choice)


def test_a_choice_of_some_tools_leaves_the_others_out() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "fgh"]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": name}} for name in "hf"]}
    written = as_messages(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool["name"] for tool in written["tools"]] == ["f", "h"]
    assert written["tool_choice"] == {"type": "any"}


def test_a_tool_of_anthropic_s_in_a_chat_request() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    assert as_messages(tools=[tool])["tools"] == [tool]
    assert to_messages(test_chat.ask(tools=[{"type": "web_search"}])).dropped == ("tools.web_search",)


def test_images_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "file", "file": {"filename": "a.png", "file_data": "data:image/png;base64,aGk="}},
        {"type": "file", "file": {"file_id": "file_1"}},
    ]
    request = test_chat.ask(messages=[{"role": "user", "content": parts}])
    base = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert json.loads(to_messages(request).body)["messages"][0]["content"] == [
        {"type": "image", "source": base},
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "document", "source": {**base, "media_type": "application/pdf"}, "title": "a.pdf"},
        {"type": "image", "source": base},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]
    assert to_messages(request).dropped == ("messages.detail",)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "video_url", "video_url": "a"},
    ],
)
def test_content_that_anthropic_does_not_take_is_refused_or_dropped(part: Object) -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]
    with pytest.raises(InvalidRequest) as caught:
        to_messages(test_chat.ask(messages=said))
    assert caught.value.param == "messages"
    written = to_messages(test_chat.ask(messages=said), ModelTarget(model="m", drop_params=True))
    assert written.dropped == ("messages",)
    assert json.loads(written.body)["messages"] == [{"role": "user", "content": "a"}]


def test_thoughts_that_a_chat_client_sends_back_are_accepted() -> None:
    thought = {"type": "thinking", "thinking": "h", "signature": "s"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    message = {"role": "assistant", "content": "a", "reasoning_content": "h", "thinking_blocks": [thought, redacted]}
    content = as_messages(messages=[message])["messages"][0]["content"]
    assert content == [thought, redacted, {"type": "text", "text": "a"}]


@pytest.mark.parametrize(
    "thoughts",
    [
        {"reasoning_content": "h"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": "s", "origin": "gemini"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": ""}]},
    ],
)
def test_thoughts_without_anthropic_s_signature_are_dropped_and_named(thoughts: Object) -> None:
    written = to_messages(test_chat.ask(messages=[{"role": "assistant", "content": "a", **thoughts}]))
    assert json.loads(written.body)["messages"] == [{"role": "assistant", "content": "a"}]
    assert written.dropped == ("messages.thinking",)


def test_a_refusal_is_no_empty_turn() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
    assert as_messages(messages=[message])["messages"] == [{"role": "assistant", "content": "I will not."}]


def test_empty_turns_are_left_out_and_roles_take_turns() -> None:
    said = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c  \n"},
    ]
    assert as_messages(messages=said)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
    ]


def test_system_turns_in_the_middle_stay_in_place() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "assistant", "content": "c"}]
    assert as_messages(ModelTarget(model="m", system_turns=True), messages=said)["messages"] == said
    assert as_messages(messages=said)["messages"][0] == {
        "role": "user",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "<system>\nb\n</system>"}],
    }


def test_a_conversation_of_system_messages_only_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_messages(test_chat.ask(messages=[{"role": "system", "content": "a"}]))
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"frequency_penalty": 0.5},
        {"logit_bias": {"1": 5}},
        {"logprobs": True},
        {"modalities": ["text", "audio"]},
        {"web_search_options": {}},
        {"functions": []},
        {"stop": ["  "]},
    ],
)
def test_what_changes_the_answer_is_refused_by_name_or_dropped(fields: Object) -> None:
    (name,) = fields
    with pytest.raises(InvalidRequest) as caught:
        to_messages(test_chat.ask(**fields))
    assert name in str(caught.value.param)
    written = to_messages(test_chat.ask(**fields), ModelTarget(model="m", drop_params=True))
    assert len(written.dropped) == 1


def test_what_is_advisory_is_dropped_and_named() -> None:
    fields = {"seed": 1, "store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k", "verbosity": "low"}
    written = to_messages(test_chat.ask(**fields, service_tier="flex", brand_new=1))
    assert set(written.dropped) == {*fields, "service_tier", "brand_new"}


def test_defaults_that_say_nothing_are_neither_refused_nor_named() -> None:
    fields = {"n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "logprobs": False}
    assert to_messages(test_chat.ask(**fields, modalities=["text"], stream_options={})).dropped == ()


def test_temperatures() -> None:
    assert as_messages(temperature=0.5)["temperature"] == 0.5
    hot = to_messages(test_chat.ask(temperature=1.5))
    assert json.loads(hot.body)["temperature"] == 1
    assert hot.dropped == ("temperature",)
    both = to_messages(test_chat.ask(temperature=0.5, top_p=0.5))
    assert "top_p" not in json.loads(both.body)
    assert both.dropped == ("top_p",)
    assert to_messages(test_chat.ask(temperature=0.5, top_p=1)).dropped == ()


# --- reasoning


def test_an_effort_for_a_model_that_adapts() -> None:
    written = as_messages(reasoning_effort="minimal", temperature=0.5)
    assert written["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert written["output_config"] == {"effort": "low"}
    assert "temperature" not in written


def test_an_effort_for_a_model_with_a_budget() -> None:
    assert as_messages(OLDER, reasoning_effort="high")["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    assert as_messages(OLDER, reasoning_effort="high")["max_tokens"] == 8192
    capped = as_messages(OLDER, reasoning_effort="high", max_tokens=2000)
    assert (capped["thinking"]["budget_tokens"], capped["max_tokens"]) == (1999, 2000)


def test_no_room_to_think() -> None:
    written = to_messages(test_chat.ask(reasoning_effort="high", max_tokens=500), OLDER)
    assert "thinking" not in json.loads(written.body)
    assert written.dropped == ("reasoning_effort",)


@pytest.mark.parametrize("target", [CLAUDE, OLDER])
def test_a_call_that_is_forced_excludes_thoughts(target: ModelTarget) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    written = to_messages(test_chat.ask(tools=[tool], tool_choice="required", reasoning_effort="low"), target)
    assert "thinking" not in json.loads(written.body)
    assert written.dropped == ("reasoning_effort",)


def test_a_tool_loop_whose_thoughts_were_not_kept_goes_on_without() -> None:
    loop: list[Object] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [use("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "b"},
    ]
    assert "thinking" not in as_messages(OLDER, messages=loop, reasoning_effort="low")
    assert "thinking" in as_messages(CLAUDE, messages=loop, reasoning_effort="low")
    assert "thinking" in as_messages(OLDER, messages=[*loop, {"role": "user", "content": "c"}], reasoning_effort="low")
    loop[1]["thinking_blocks"] = [{"type": "thinking", "thinking": "h", "signature": "s"}]
    assert "thinking" in as_messages(OLDER, messages=loop, reasoning_effort="low")


def test_thinking_may_be_switched_off() -> None:
    assert as_messages(reasoning_effort="none")["thinking"] == {"type": "disabled"}
    written = to_messages(test_chat.ask(reasoning_effort="low"), ModelTarget(model="m", reasons=False))
    assert written.dropped == ("reasoning_effort",)


def test_thinking_in_anthropic_s_words_from_a_chat_client() -> None:
    written = as_messages(OLDER, thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000)
    assert written["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    adaptive = as_messages(thinking={"type": "enabled", "budget_tokens": 2048})
    assert adaptive["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert adaptive["output_config"] == {"effort": "medium"}


@pytest.mark.parametrize(
    ("thinking", "config", "effort"),
    [
        ({"type": "adaptive"}, {"effort": "medium"}, "medium"),
        ({"type": "adaptive"}, {"effort": "max"}, "xhigh"),
        ({"type": "adaptive"}, None, None),
        ({"type": "enabled", "budget_tokens": 2048}, None, "medium"),
        ({"type": "enabled", "budget_tokens": 31999}, None, "xhigh"),
        (None, {"effort": "low"}, "low"),
        ({"type": "disabled"}, None, None),
    ],
)
def test_thinking_as_an_effort(thinking: Any, config: Any, effort: str | None) -> None:
    assert as_chat(thinking=thinking, output_config=config).get("reasoning_effort") == effort


# --- formats of answers


def test_a_schema_for_the_answer() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1, "description": "b"}}}
    spec = {"name": "n", "schema": inner, "strict": True}
    written = as_messages(response_format={"type": "json_schema", "json_schema": spec})
    plain = {"type": "integer", "description": "b (minimum: 1)"}
    assert written["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {"a": plain}, "additionalProperties": False},
    }


def test_a_schema_for_a_model_that_takes_none() -> None:
    spec = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    with pytest.raises(InvalidRequest) as caught:
        to_messages(test_chat.ask(response_format=spec), ModelTarget(model="m", structured_output=False))
    assert caught.value.param == "response_format"


def test_any_json_is_asked_for_in_words() -> None:
    written = as_messages(response_format={"type": "json_object"})
    assert written["system"] == "Answer with one JSON object and nothing else."


def test_claude_code_s_title_request_for_a_chat_server() -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    written = as_chat(tools=[], output_config={"effort": "low", "format": form})
    spec = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert written["response_format"] == {"type": "json_schema", "json_schema": spec}
    assert "tools" not in written


# --- requests: messages to chat


def test_claude_code_for_a_chat_server() -> None:
    body = test_messages.ask(
        max_tokens=32000,
        system=[
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
            {"role": "system", "content": "e"},
        ],
        tools=[{"name": "f", "input_schema": {"$schema": "s", "type": "object"}, "defer_loading": True}],
        metadata={"user_id": "u"},
        thinking={"type": "adaptive"},
        context_management={"edits": []},
        output_config={"effort": "medium"},
        stream=True,
    )
    written = to_chat(body)
    assert json.loads(written.body) == {
        "model": "gpt",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
            {"role": "system", "content": "e"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$schema": "s", "type": "object"}}}],
        "max_completion_tokens": 32000,
        "reasoning_effort": "medium",
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert set(written.dropped) == {"messages.cache_control", "tools.defer_loading", "context_management"}


def test_results_of_tools_become_messages_and_their_images_follow() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    content = [
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "text", "text": "a"}, image],
            "is_error": True,
        },
        {"type": "text", "text": "b"},
    ]
    written = to_chat(test_messages.ask(messages=[{"role": "user", "content": content}]))
    url = {"url": "data:image/png;base64,aGk="}
    assert json.loads(written.body)["messages"] == [
        {"role": "tool", "tool_call_id": "t", "content": "a"},
        {"role": "user", "content": [{"type": "image_url", "image_url": url}, {"type": "text", "text": "b"}]},
    ]
    assert written.dropped == ("messages.is_error",)


def test_a_server_tool_and_its_calls_are_dropped_and_named() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    assert to_chat(test_messages.ask(tools=[tool])).dropped == ("tools.web_search",)
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    said = {"type": "text", "text": "It is cold."}
    messages = [
        {"role": "user", "content": "How is it?"},
        {"role": "assistant", "content": [used, found]},
        {"role": "assistant", "content": [used, found, said]},
    ]
    written = to_chat(test_messages.ask(messages=messages))
    assert written.dropped == ("messages.server_tool_use", "messages.web_search_tool_result")
    assert json.loads(written.body)["messages"] == [
        {"role": "user", "content": "How is it?"},
        {"role": "assistant", "content": "It is cold."},
    ]


def test_a_name_that_is_too_long_for_chat_comes_back_whole() -> None:
    long = "mcp__" + "x" * 80
    body = test_messages.ask(tools=[{"name": long, "input_schema": {"type": "object"}}], stream=True)
    short = json.loads(to_chat(body).body)["tools"][0]["function"]["name"]
    assert len(short) == 64
    request = messages.read_request(body)
    answer = chat.read_answer(
        test_chat.answer({"tool_calls": [{**use("a"), "function": {"name": short, "arguments": ""}}]})
    )
    assert json.loads(messages.write_answer(answer, request))["content"][0]["name"] == long
    stream = write_stream(test_chat.read_stream(stream_of(call(0, name=short, arguments="{}"))), body)
    assert stream[2]["content_block"]["name"] == long


# --- answers


def chat_answer(message: Object, finish: str, **fields: Any) -> Any:
    body = test_chat.answer(message, finish, usage=test_chat.USAGE, **fields)
    return json.loads(messages.write_answer(chat.read_answer(body), messages.read_request(test_messages.ask())))


def claude_answer(content: list[Any], reason: str) -> Any:
    body = test_messages.answer(content, reason)
    return json.loads(chat.write_answer(messages.read_answer(body), chat.read_request(test_chat.ask())))


def test_usage_is_neither_counted_twice_nor_lost() -> None:
    assert chat_answer({"content": "a"}, "stop")["usage"] == {
        "input_tokens": 1,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 4,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    assert claude_answer([], "end_turn")["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 8,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 4,
    }


def test_text_and_tools_of_a_chat_server() -> None:
    written = chat_answer({"content": "a", "tool_calls": [use("c", "")]}, "stop")
    assert written["content"] == [
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]
    assert written["stop_reason"] == "tool_use"


def test_text_and_tools_of_claude() -> None:
    tool = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    (choice,) = claude_answer([{"type": "text", "text": "a"}, tool], "tool_use")["choices"]
    assert choice["message"] == {"role": "assistant", "content": "a", "tool_calls": [use("c", '{"a": 1}')]}
    assert choice["finish_reason"] == "tool_calls"


def test_thoughts_of_claude() -> None:
    thought = {"type": "thinking", "thinking": "h", "signature": "s"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    message = claude_answer([thought, redacted, {"type": "text", "text": "a"}], "end_turn")["choices"][0]["message"]
    assert message["reasoning_content"] == "h"
    assert message["thinking_blocks"] == [thought, redacted]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("model_context_window_exceeded", "length"),
        ("a_new_reason", "stop"),
    ],
)
def test_reasons_of_claude(reason: str, finish: str) -> None:
    assert claude_answer([{"type": "text", "text": "a"}], reason)["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": "a"}, "stop", "end_turn"),
        ({"content": "a"}, "length", "max_tokens"),
        ({"content": "a"}, "content_filter", "refusal"),
        ({"content": None, "refusal": "a"}, "stop", "refusal"),
        ({"content": None}, "content_filter", "refusal"),
    ],
)
def test_reasons_of_chat_servers(message: Object, finish: str, reason: str) -> None:
    written = chat_answer(message, finish)
    assert written["stop_reason"] == reason
    assert written["content"][0]["text"]


def test_a_refusal_of_claude_without_a_word() -> None:
    assert claude_answer([], "refusal")["choices"][0]["message"]["refusal"] == "The model declined to answer."


def test_citations() -> None:
    message = claude_answer([{"type": "text", "text": "ab", "citations": [CITATION]}], "end_turn")["choices"][0][
        "message"
    ]
    cited = {"url": "u", "title": "t", "start_index": 0, "end_index": 2}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": cited}]
    written = chat_answer({"content": "ab", "annotations": message["annotations"]}, "stop")
    assert written["content"][0]["citations"] == [{**CITATION, "cited_text": "", "encrypted_index": ""}]


@given(st.sampled_from(["responses", "gemini"]), st.sampled_from(["", "rs_1"]), names, words)
def test_thoughts_of_other_models_survive_an_anthropic_client(origin: str, item: str, proof: str, text: str) -> None:
    thought = {"type": "thinking", "thinking": text, "signature": proof, "origin": origin}
    if origin == "responses" and item:
        thought["id"] = item
    content = chat_answer({"content": "a", "thinking_blocks": [thought]}, "stop")["content"]
    body = test_messages.ask(messages=[{"role": "assistant", "content": content}])
    target = ModelTarget(model="m", thinking_blocks=True)
    assert json.loads(to_chat(body, target).body)["messages"][0]["thinking_blocks"] == [thought]
    again = messages.write_request(messages.read_request(body), CLAUDE)
    assert json.loads(again.body)["messages"] == [{"role": "assistant", "content": "a"}]
    assert again.dropped == ("messages.thinking",)


def test_the_signature_of_a_call_survives_an_anthropic_client() -> None:
    signed = {**use("c"), "extra_content": {"google": {"thought_signature": "s"}}}
    content = chat_answer({"content": None, "tool_calls": [signed]}, "tool_calls")["content"]
    assert content == [{"type": "tool_use", "id": "c__thought__s", "name": "f", "input": {}}]
    answered = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": content[0]["id"]}]}
    said = as_chat(messages=[{"role": "assistant", "content": content}, answered])["messages"]
    assert said[0] == {"role": "assistant", "content": None, "tool_calls": [signed]}
    assert said[1]["tool_call_id"] == "c"
    stream = write_stream(test_chat.read_stream(stream_of({"tool_calls": [{"index": 0, **signed}]})))
    assert [event["content_block"]["id"] for event in stream if "content_block" in event] == ["c__thought__s"]


# --- streams

COUNTS = {
    "input_tokens": 1,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 4,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 3},
}


def chat_to_messages(stream: bytes) -> list[Any]:
    """Events behind the start and its sign of life."""
    written = write_stream(test_chat.read_stream(stream))
    if written[0]["type"] != "error":
        assert written[0]["type"] == "message_start"
        assert written[1] == PING
    return written[2:] or written


def messages_to_chat(*events: Object) -> list[Any]:
    return written_stream(test_messages.read_stream(sse(*events)))


GOLDEN: dict[str, tuple[bytes, list[Object], str]] = {
    "text": (test_chat.STREAMS["text"], text_block(0, "a", "b"), "end_turn"),
    "tools": (test_chat.STREAMS["text and tools"], [*text_block(0, "a"), *call_block(1, "{}")], "tool_use"),
    "parallel": (test_chat.STREAMS["parallel"], [*call_block(0, "{}"), *call_block(1, "{}", name="g")], "tool_use"),
    "no arguments": (stream_of(call(0, name="f", arguments="")), call_block(0, "{}"), "tool_use"),
    "thinking": (test_chat.STREAMS["thinking"], [*thinking_block(0), *text_block(1, "a")], "end_turn"),
    "redacted": (
        test_chat.STREAMS["redacted"],
        [begin(0, type="redacted_thinking", data="x"), done(0), *text_block(1, "a")],
        "end_turn",
    ),
    "refusal": (test_chat.STREAMS["refusal"], text_block(0, "n", "o"), "refusal"),
    "filter": (stream_of({"content": "a"}, finish="content_filter"), text_block(0, "a"), "refusal"),
    "length": (test_chat.STREAMS["length"], text_block(0, "a"), "max_tokens"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_a_chat_server_s_stream_for_an_anthropic_client(case: str) -> None:
    stream, blocks, reason = GOLDEN[case]
    for block in blocks:
        if block.get("content_block", {}).get("type") == "tool_use":
            block["content_block"]["id"] = f"call_{block['content_block']['name'] == 'g':d}"
    delta = {"stop_reason": reason, "stop_sequence": None}
    none = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    last = {"type": "message_delta", "delta": delta, "usage": none}
    assert chat_to_messages(stream) == [*blocks, last, STOP]


def test_usage_at_the_end_of_a_chat_server_s_stream() -> None:
    assert chat_to_messages(test_chat.STREAMS["usage"])[-2]["usage"] == COUNTS


@pytest.mark.parametrize("case", ["cut", "error within"])
def test_a_chat_server_s_stream_that_breaks(case: str) -> None:
    written = chat_to_messages(test_chat.STREAMS[case])
    assert written[:2] == text_block(0, "a")[:2]
    assert [event["type"] for event in written[2:]] == (["error"] if case == "error within" else [])


def test_an_error_before_a_chat_server_s_stream() -> None:
    written = chat_to_messages(test_chat.STREAMS["error before"])
    assert written == [{"type": "error", "error": {"type": "api_error", "message": "m"}}]


def deltas(stream: list[Any]) -> list[Any]:
    return [choice["delta"] for chunk in stream if isinstance(chunk, dict) for choice in chunk.get("choices", ())]


def function(index: int, **said: Any) -> Object:
    return {"tool_calls": [{"index": index, **said}]}


FOR_CHAT: dict[str, tuple[list[Object], str]] = {
    "text": ([{"content": "a"}, {"content": "b"}], "stop"),
    "tools": (
        [
            {"content": "a"},
            function(0, id="toolu_1", type="function", function={"name": "f", "arguments": ""}),
            function(0, function={"arguments": '{"a"'}),
            function(0, function={"arguments": ":1}"}),
        ],
        "tool_calls",
    ),
    "parallel": (
        [
            function(0, id="toolu_0", type="function", function={"name": "f", "arguments": ""}),
            function(0, function={"arguments": "{}"}),
            function(1, id="toolu_1", type="function", function={"name": "g", "arguments": ""}),
            function(1, function={"arguments": "{}"}),
        ],
        "tool_calls",
    ),
    "thinking": (
        [
            {"reasoning_content": "h"},
            {"reasoning_content": "m"},
            {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]},
            {"content": "a"},
        ],
        "stop",
    ),
    "redacted": ([{"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}, {"content": "a"}], "stop"),
    "length": ([{"content": "a"}], "length"),
    "pause": ([{"content": "a"}], "stop"),
    "window": ([{"content": "a"}], "length"),
    "refusal": ([{"content": "a"}], "content_filter"),
    "stop sequence": ([{"content": "a"}], "stop"),
    "server tool": ([{"content": "a"}], "stop"),
}


@pytest.mark.parametrize("case", FOR_CHAT)
def test_claude_s_stream_for_a_chat_client(case: str) -> None:
    said, finish = FOR_CHAT[case]
    written = messages_to_chat(*STREAMS[case])
    assert deltas(written) == [{"role": "assistant", "content": ""}, *said, {}]
    assert written[-2]["choices"][0]["finish_reason"] == finish
    assert written[-1] == b"data: [DONE]\n\n"


def test_a_call_of_claude_s_without_arguments() -> None:
    stream = [START, *call_block(0), end("tool_use"), STOP]
    said = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas(messages_to_chat(*stream))[1:-1]]
    assert said == ["", "{}"]


@pytest.mark.parametrize("case", ["cut", "error within", "error before"])
def test_claude_s_stream_that_breaks(case: str) -> None:
    written = messages_to_chat(*STREAMS[case])
    assert b"data: [DONE]\n\n" not in written
    error = {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None}
    assert ({"error": error} in written) == (case != "cut")


def test_a_refusal_of_claude_s_in_a_stream_without_a_word() -> None:
    assert deltas(messages_to_chat(START, end("refusal"), STOP))[-1] == {"refusal": "The model declined to answer."}


def test_a_new_delta_is_no_piece_of_an_answer() -> None:
    stream = [START, begin(0, type="a_new_block", a=1), piece(0, type="a_new_delta"), done(0), end("end_turn"), STOP]
    assert deltas(messages_to_chat(*stream)) == [{"role": "assistant", "content": ""}, {}]


# --- what both can say survives the way through the other

text = st.fixed_dictionaries({"type": st.just("text"), "text": words})
image = base64.map(lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
calls = st.fixed_dictionaries(
    {
        "id": chat_cases.ids,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": names, "arguments": st.sampled_from(["{}", '{"a": 1.50}'])}),
    }
)


def _conversation(turns: list[tuple[Any, Any, list[Object]]]) -> list[Object]:
    said: list[Object] = []
    for question, reply, used in turns:
        said.append({"role": "user", "content": question})
        assistant: Object = {"role": "assistant", "content": reply}
        if used:
            assistant["tool_calls"] = [{**one, "id": f"{one['id']}_{at}"} for at, one in enumerate(used)]
        said.append(assistant)
        said += [{"role": "tool", "tool_call_id": one["id"], "content": "r"} for one in assistant.get("tool_calls", ())]
    return [*said, {"role": "user", "content": "end"}] if not said or said[-1]["role"] != "tool" else said


both = some(
    {
        "model": names,
        "max_completion_tokens": st.integers(1, 99),
        "messages": st.lists(
            st.tuples(chat_cases.content(text, image), words, st.lists(calls, max_size=2)), max_size=3
        ).map(_conversation),
    },
    {
        "tools": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.just("function"),
                    "function": some({"name": names, "parameters": schema}, {"description": words}),
                }
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda tool: tool["function"]["name"],
        ),
        "temperature": st.floats(0, 1, width=16),
        "stop": st.lists(names, min_size=1, max_size=2),
        "stream": st.just(True),
        "user": words,
        "reasoning_effort": st.sampled_from(["low", "medium", "high", "xhigh"]),
    },
).map(lambda request: {**request, "stream_options": {"include_usage": True}} if "stream" in request else request)


@given(both)
def test_what_both_can_say_survives_the_way_through_messages(request: Object) -> None:
    if "reasoning_effort" in request:
        request.pop("temperature", None)
    target = ModelTarget(model=request["model"], adaptive_thinking=True)
    through = to_messages(json.dumps(request).encode(), target)
    assert through.dropped == ()
    back = to_chat(through.body, ModelTarget(model=request["model"]))
    assert back.dropped == ()
    assert json.loads(back.body) == request
