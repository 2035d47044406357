from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidJson, InvalidRequest, UpstreamBadResponse
from gatewayd.wire import chat
from gatewayd.wire.conversation import (
    ModelTarget,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from gatewayd.wire.events import BlockStart, BlockStop, Delta, End, Start, Stop, StreamError, StreamEvent, UsageReport
from gatewayd.wire.sse_decoder import Decoder
from tests.wire import chat_cases

EVERYTHING = ModelTarget(model="m", developer_role=True, thinking_blocks=True, cache_marks=True, extended_sampling=True)


def ask(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def rewritten(body: bytes, target: ModelTarget = EVERYTHING) -> dict[str, Any]:
    written = chat.write_request(chat.read_request(body), target)
    document = json.loads(written.body)
    assert isinstance(document, dict)
    return document


def read_stream(stream: bytes, *, at: int | None = None) -> list[StreamEvent]:
    decoder, reader = Decoder(), chat.Reader()
    events: list[StreamEvent] = []
    for chunk in [stream] if at is None else [stream[:at], stream[at:]]:
        for event in decoder.feed(chunk):
            assert event.data is not None
            events += reader.feed(event.type, event.data)
    return events + reader.end()


def stream_of(*deltas: Any, finish: str | None = "stop", done: bool = True, usage: Any = None) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    chunks: list[Any] = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if finish is not None:
        chunks[-1]["choices"][0]["finish_reason"] = finish
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join(lines + ["data: [DONE]\n\n"] * done).encode()


def call(index: int, **function: Any) -> dict[str, Any]:
    named = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
    return {"tool_calls": [{"index": index, **named, "function": function}]}


def written_stream(events: list[StreamEvent], **fields: Any) -> list[Any]:
    """The data of each event that the writer makes of them."""
    writer = chat.Writer(chat.read_request(ask(stream=True, **fields)))
    pieces = [piece for event in events for piece in writer.feed(event)]
    return [
        piece if piece == b"data: [DONE]\n\n" else json.loads(piece.removeprefix(b"data: ").removesuffix(b"\n\n"))
        for piece in pieces
    ]


# --- requests


@given(chat_cases.requests)
def test_a_request_that_is_read_and_written_says_the_same(request: dict[str, Any]) -> None:
    target = ModelTarget(
        model=request["model"], developer_role=True, thinking_blocks=True, cache_marks=True, extended_sampling=True
    )
    written = chat.write_request(chat.read_request(json.dumps(request).encode()), target)
    assert json.loads(written.body) == request
    assert written.dropped == ()


def test_llm_sends_an_assistant_turn_without_content() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    body = ask(messages=[{"role": "assistant", "tool_calls": calls}])
    assert rewritten(body)["messages"] == [{"role": "assistant", "content": None, "tool_calls": calls}]


def test_llm_sends_a_tool_whose_description_is_null() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": None, "parameters": {}}}
    assert rewritten(ask(tools=[tool]))["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def test_qwen_code_sends_results_of_tools_as_lists_of_parts() -> None:
    message = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "a"}]}
    (turn,) = chat.read_request(ask(messages=[message])).turns
    assert turn.blocks == (ToolResultBlock(call_id="call_1", blocks=(TextBlock("a"),)),)
    assert turn.role == "user"


def test_an_empty_list_of_tool_calls_is_none() -> None:
    (turn,) = chat.read_request(ask(messages=[{"role": "assistant", "content": "a", "tool_calls": []}])).turns
    assert turn.blocks == (TextBlock("a"),)


def test_arguments_that_are_an_object_become_text() -> None:
    message = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]}
    (turn,) = chat.read_request(ask(messages=[message])).turns
    assert turn.blocks == (ToolUseBlock(call_id="c", name="f", arguments='{"a":1}'),)


def test_the_order_of_tools_is_kept() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "cab"]
    assert [tool["function"]["name"] for tool in rewritten(ask(tools=tools))["tools"]] == ["c", "a", "b"]


def test_numbers_in_schemas_stay_as_they_were_written() -> None:
    body = ask(tools=[{"type": "function", "function": {"name": "f", "parameters": 7}}]).replace(b"7", b'{"x": 1.50e3}')
    assert b'{"x": 1.50e3}' in chat.write_request(chat.read_request(body), EVERYTHING).body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 5}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": "all"}}, "thinking.budget_tokens"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat.read_request(ask(**fields))
    assert caught.value.param == param
    assert f"'{param}'" in caught.value.message


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":', b'{"model": "\xff"}'])
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        chat.read_request(body)


def test_a_plain_server_gets_what_it_takes() -> None:
    target = ModelTarget(model="x", text_parts=False, completion_tokens=False, reasons=False)
    marked = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    system = {"role": "developer", "content": [marked, {"type": "text", "text": "b"}]}
    thought = {"role": "assistant", "content": "c", "reasoning_content": "d"}
    request = chat.read_request(ask(messages=[system, thought], max_tokens=5, reasoning_effort="low"))
    written = chat.write_request(request, target)
    body = json.loads(written.body)
    assert body["messages"][1] == {"role": "assistant", "content": "c"}
    assert body["messages"][0]["role"] == "system"
    assert body["max_tokens"] == 5
    assert written.dropped == ("messages.thinking", "reasoning_effort")


def test_a_field_that_the_model_does_not_take_is_dropped_and_named() -> None:
    request = chat.read_request(ask(temperature=0.5, store=True))
    written = chat.write_request(request, ModelTarget(model="m", unsupported=frozenset({"temperature", "store"})))
    assert written.dropped == ("temperature", "store")
    assert json.loads(written.body).keys() == {"model", "messages"}


# --- answers


def answer(message: dict[str, Any], finish: str = "stop", **fields: Any) -> bytes:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m", "choices": choices}
    return json.dumps({**head, **fields}).encode()


USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 2},
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 4,
}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "sig"}
FOREIGN = {"type": "thinking", "thinking": "hm", "signature": "sig", "id": "rs_1", "origin": "responses"}
CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
CITED = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"content": "hi"}, "stop"),
    "tools": ({"content": None, "tool_calls": [CALL]}, "tool_calls"),
    "text and tools": ({"content": "hi", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, "tool_calls"),
    "thinking": ({"content": "hi", "reasoning_content": "hm", "thinking_blocks": [SIGNED]}, "stop"),
    "thinking of OpenAI": ({"content": "hi", "reasoning_content": "hm", "thinking_blocks": [FOREIGN]}, "stop"),
    "thinking without proof": ({"content": "hi", "reasoning_content": "hm"}, "stop"),
    "redacted": ({"content": "hi", "thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}, "stop"),
    "refusal": ({"content": None, "refusal": "no"}, "stop"),
    "filter": ({"content": "h"}, "content_filter"),
    "length": ({"content": "h"}, "length"),
    "image": ({"content": None, "images": [IMAGE]}, "stop"),
    "cited": ({"content": "hi", "annotations": [CITED]}, "stop"),
    "signed call": (
        {
            "content": None,
            "tool_calls": [
                {**CALL, "id": "call_1__thought__s", "extra_content": {"google": {"thought_signature": "s"}}}
            ],
        },
        "tool_calls",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_read_and_written_says_the_same(case: str) -> None:
    message, finish = ANSWERS[case]
    body = answer(message, finish, usage=USAGE, service_tier="default", system_fingerprint="fp")
    written = chat.write_answer(chat.read_answer(body), chat.read_request(ask()))
    assert json.loads(written) == json.loads(body)


def test_several_choices() -> None:
    one = json.loads(answer({"content": "a"}))
    one["choices"].append({**one["choices"][0], "index": 1})
    written = chat.write_answer(chat.read_answer(json.dumps(one).encode()), chat.read_request(ask(n=2)))
    assert json.loads(written) == one


@pytest.mark.parametrize("finish", ["stop", "function_call", None])
def test_an_answer_with_calls_ends_with_tool_use_whatever_the_server_says(finish: Any) -> None:
    assert chat.read_answer(answer({"tool_calls": [CALL]}, finish)).choices[0].stop is StopReason.TOOL_USE


def test_an_answer_that_was_filtered_away_says_so() -> None:
    read = chat.read_answer(answer({"content": None}, "content_filter"))
    message = json.loads(chat.write_answer(read, chat.read_request(ask())))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "refusal": "The model declined to answer."}


@pytest.mark.parametrize(
    "usage",
    [{"prompt_cache_hit_tokens": 4}, {"cache_read_input_tokens": 4}, {"prompt_tokens_details": {"cached_tokens": 4}}],
)
def test_cached_tokens_are_found_where_servers_put_them(usage: dict[str, Any]) -> None:
    counts = chat.read_answer(answer({"content": "a"}, usage={"prompt_tokens": 9, **usage})).usage
    assert counts is not None
    assert (counts.input, counts.cache_read) == (9, 4)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": 5}'])
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        chat.read_answer(body)


def test_errors() -> None:
    error = chat.read_error(b'{"error": {"message": "m", "type": "t", "param": "p", "code": 404}}')
    assert error == StreamError(message="m", type="t", param="p", code="404", status=404)
    assert chat.read_error(b'{"error": "m"}') == StreamError(message="m")
    assert chat.read_error(b'{"choices": []}') is None
    assert chat.read_error(b"<html>") is None


# --- streams

THOUGHTS = [{"reasoning_content": "h"}, {"reasoning_content": "m"}, {"thinking_blocks": [SIGNED]}]
STREAMS = {
    "text": stream_of({"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}),
    "tools": stream_of(
        call(0, name="f", arguments=""), call(0, arguments='{"a"'), call(0, arguments=":1}"), finish="tool_calls"
    ),
    "parallel": stream_of(
        call(0, name="f", arguments=""),
        call(0, arguments="{}"),
        call(1, name="g", arguments=""),
        call(1, arguments="{}"),
        finish="tool_calls",
    ),
    "text and tools": stream_of(
        {"content": "a"}, call(0, name="f", arguments=""), call(0, arguments="{}"), finish="tool_calls"
    ),
    "thinking": stream_of(*THOUGHTS, {"content": "a"}),
    "redacted": stream_of({"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}, {"content": "a"}),
    "image": stream_of({"images": [IMAGE]}),
    "refusal": stream_of({"refusal": "n"}, {"refusal": "o"}),
    "length": stream_of({"content": "a"}, finish="length"),
    "usage": stream_of({"content": "a"}, usage=USAGE),
    "error before": b'data: {"error": {"message": "m", "type": "t", "param": null, "code": "c"}}\n\n',
    "error within": stream_of({"content": "a"}, finish=None, done=False) + b'data: {"error": {"message": "m"}}\n\n',
    "cut": stream_of({"content": "a"}, finish=None, done=False),
}  # fmt: skip


def joined(stream: list[Any]) -> list[Any]:
    """The chunks of a stream that say something, with the pieces of one kind that follow each other joined."""
    said: list[Any] = []
    for chunk in stream:
        for choice in chunk.get("choices", ()) if isinstance(chunk, dict) else ():
            delta = {name: value for name, value in choice["delta"].items() if name != "role" and value != ""}
            for entry in delta.get("tool_calls", ()):
                entry["function"].setdefault("arguments", "")
            if delta:
                said.append(delta)
            if choice["finish_reason"]:
                said.append(choice["finish_reason"])
        if not isinstance(chunk, dict):
            said.append("done")
        elif chunk.get("error") or chunk.get("usage"):
            said.append(chunk.get("error") or chunk.get("usage"))
    return said


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_is_read_and_written_says_the_same(case: str) -> None:
    chunks = [
        json.loads(line.removeprefix(b"data: ")) if b"[DONE]" not in line else line
        for line in STREAMS[case].split(b"\n\n")[:-1]
    ]
    for chunk in chunks:
        if isinstance(chunk, dict) and "error" in chunk:
            chunk["error"] = {"type": "upstream_error", "param": None, "code": None, **chunk["error"]}
    written = written_stream(read_stream(STREAMS[case]), stream_options={"include_usage": True})
    assert joined(written) == joined(chunks)


@pytest.mark.parametrize("case", STREAMS)
@given(data=st.data())
def test_any_split_of_the_bytes_gives_the_same_events(case: str, data: st.DataObject) -> None:
    stream = STREAMS[case]
    assert read_stream(stream, at=data.draw(st.integers(0, len(stream)))) == read_stream(stream)


@pytest.mark.parametrize("case", STREAMS)
def test_blocks_are_stopped_once_before_the_answer_stops(case: str) -> None:
    opened: list[int] = []
    stopped: list[int] = []
    for event in read_stream(STREAMS[case]):
        match event:
            case BlockStart(index):
                assert index == len(opened)
                opened.append(index)
            case Delta(index):
                assert index in opened
                assert index not in stopped
            case BlockStop(index):
                stopped.append(index)
            case Stop():
                assert sorted(stopped) == opened
            case _:
                pass


def kinds(events: list[StreamEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_stream_that_was_cut_has_no_end() -> None:
    assert kinds(read_stream(STREAMS["cut"])) == ["Start", "BlockStart", "Delta"]
    assert written_stream(read_stream(STREAMS["cut"]))[-1] != b"data: [DONE]\n\n"


def test_a_server_without_an_end_mark_ends_with_its_reason() -> None:
    assert read_stream(stream_of({"content": "a"}, done=False))[-1] == End()


def test_nothing_follows_an_error() -> None:
    within = STREAMS["error within"] + b"data: [DONE]\n\n"
    assert read_stream(within)[-1] == StreamError(message="m")
    writer = chat.Writer(chat.read_request(ask()))
    assert writer.feed(StreamError(message="m"))
    assert writer.feed(End()) == []


def test_a_chunk_without_choices_does_not_end_the_stream() -> None:
    azure = b'data: {"id": "", "model": "", "choices": [], "prompt_filter_results": []}\n\n'
    assert read_stream(azure + STREAMS["text"]) == read_stream(STREAMS["text"])


def test_an_empty_list_of_tool_calls_in_a_delta_is_no_call() -> None:
    events = read_stream(stream_of({"content": "a", "tool_calls": []}))
    assert Stop(StopReason.END) in events


def test_the_chunk_with_the_reason_may_hold_the_last_piece_of_arguments() -> None:
    events = read_stream(stream_of(call(0, name="f", arguments="{"), call(0, arguments="}"), finish="stop"))
    assert [event.text for event in events if isinstance(event, Delta)] == ["{", "}"]
    assert Stop(StopReason.TOOL_USE) in events


def test_a_call_is_stopped_when_the_next_begins_and_it_is_complete() -> None:
    events = read_stream(STREAMS["parallel"])
    assert events.index(BlockStop(0)) < events.index(BlockStart(1, ToolUseBlock(call_id="call_1", name="g")))


def test_calls_that_come_in_turns_are_kept_apart() -> None:
    pieces = [
        call(0, name="f", arguments="{"),
        call(1, name="g", arguments="{"),
        call(0, arguments="}"),
        call(1, arguments="}"),
    ]
    events = read_stream(stream_of(*pieces, finish="tool_calls"))
    said = [(event.index, event.text) for event in events if isinstance(event, Delta)]
    assert said == [(0, "{"), (1, "{"), (0, "}"), (1, "}")]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    pieces = [{"tool_calls": [{"id": name, "function": {"name": name, "arguments": "{}"}}]} for name in "ab"]
    same = [{"tool_calls": [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}}]} for name in "ab"]
    for deltas in (pieces, same):
        calls = [event.block for event in read_stream(stream_of(*deltas)) if isinstance(event, BlockStart)]
        assert [block.call_id for block in calls if isinstance(block, ToolUseBlock)] == ["a", "b"]


def test_a_name_that_comes_after_the_id() -> None:
    pieces = [{"tool_calls": [{"index": 0, "id": "a"}]}, {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}]
    starts = [event.block for event in read_stream(stream_of(*pieces)) if isinstance(event, BlockStart)]
    assert starts == [ToolUseBlock(call_id="a", name="f")]


def test_litellm_repeats_thoughts_in_thinking_blocks() -> None:
    pieces: list[Any] = [
        {"reasoning_content": "h", "thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": ""}]},
        {"reasoning_content": "", "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
        {"content": "a"},
    ]
    events = read_stream(stream_of(*pieces))
    said = [(event.kind, event.text) for event in events if isinstance(event, Delta)]
    assert said == [("thinking", "h"), ("signature", "s"), ("text", "a")]


def test_thoughts_that_come_only_in_thinking_blocks() -> None:
    events = read_stream(stream_of({"thinking_blocks": [SIGNED]}))
    said = [(event.kind, event.text) for event in events if isinstance(event, Delta)]
    assert said == [("thinking", "hm"), ("signature", "sig")]


def test_a_signed_thought_is_given_whole_when_it_is_complete() -> None:
    chunks = written_stream(read_stream(STREAMS["thinking"]))
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:4]] == [
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [SIGNED]},
    ]


def test_several_choices_of_a_stream() -> None:
    chunk = {"id": "1", "model": "m", "choices": [{"index": at, "delta": {"content": "ab"[at]}} for at in (0, 1)]}
    last: dict[str, Any] = {"choices": [{"index": at, "delta": {}, "finish_reason": "stop"} for at in (0, 1)]}
    stream = f"data: {json.dumps(chunk)}\n\ndata: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode()
    written = written_stream(read_stream(stream), n=2)
    said = [(choice["index"], choice["delta"].get("content")) for part in written[:-1] for choice in part["choices"]]
    assert said == [(0, ""), (0, "a"), (1, "b"), (0, None), (1, None)]


@pytest.mark.parametrize("arguments", ["", None])
def test_a_call_without_arguments_has_an_empty_object(arguments: str | None) -> None:
    """SDKs parse them as JSON."""
    silent = {**CALL, "function": {"name": "f", "arguments": arguments}}
    written = chat.write_answer(chat.read_answer(answer({"tool_calls": [silent]})), chat.read_request(ask()))
    assert json.loads(written)["choices"][0]["message"]["tool_calls"] == [CALL]
    chunks = written_stream(read_stream(stream_of(call(0, name="f", arguments=arguments), finish="tool_calls")))
    pieces = [choice["delta"].get("tool_calls") for chunk in chunks[:-1] for choice in chunk["choices"]]
    said = "".join(call["function"]["arguments"] for piece in pieces if piece for call in piece)
    assert said == "{}"


def test_calls_without_an_id_get_one() -> None:
    bare = {"function": {"name": "f", "arguments": "{}"}}
    (use,) = chat.read_answer(answer({"tool_calls": [bare]})).choices[0].blocks
    assert isinstance(use, ToolUseBlock)
    assert use.call_id == "call_1_0"
    (start,) = [event for event in read_stream(stream_of({"tool_calls": [bare]})) if isinstance(event, BlockStart)]
    assert start.block == ToolUseBlock(call_id="call_1_0", name="f")


def test_a_server_that_knows_no_custom_tools_gets_functions() -> None:
    tool = {"type": "custom", "custom": {"name": "f"}}
    before = {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "a"}}]}
    request = chat.read_request(ask(tools=[tool], tool_choice=tool, messages=[before]))
    body = json.loads(chat.write_request(request, ModelTarget(model="m", custom_tools=False)).body)
    assert body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["messages"][0]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"input":"a"}'}
    answered = {"id": "d", "type": "function", "function": {"name": "f", "arguments": '{"input": "b"}'}}
    written = json.loads(chat.write_answer(chat.read_answer(answer({"tool_calls": [answered]})), request))
    restored = {"id": "d", "type": "custom", "custom": {"name": "f", "input": "b"}}
    assert written["choices"][0]["message"]["tool_calls"] == [restored]
    events = read_stream(stream_of(call(0, name="f", arguments='{"inp'), call(0, arguments='ut": "b"}')))
    writer = chat.Writer(request)
    stream = b"".join(piece for event in events for piece in writer.feed(event))
    assert b'"custom":{"name":"f","input":""}' in stream
    assert b'"custom":{"input":"b"}' in stream


def test_usage_is_written_only_where_it_was_asked_for() -> None:
    events = read_stream(STREAMS["usage"])
    assert [event for event in events if isinstance(event, UsageReport)]
    assert "usage" not in json.dumps(written_stream(events)[:-1])
    assert written_stream(events, stream_options={"include_usage": True})[-2]["usage"] == USAGE


@pytest.mark.parametrize("data", [b"x", b"[]", b'{"choices": [5]}', b'{"choices": [{"delta": {"tool_calls": [5]}}]}'])
def test_an_event_that_is_of_no_chat_stream(data: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        chat.Reader().feed(b"", data)


def test_blocks_of_other_apis_are_left_out_of_answers() -> None:
    raw = RawBlock(dialect="messages", type="server_tool_use", raw=msgspec.Raw(b"{}"))
    writer = chat.Writer(chat.read_request(ask()))
    assert writer.feed(Start(dialect="messages", answer_id="1", model="m"))
    assert writer.feed(BlockStart(0, raw)) == []
    assert writer.feed(BlockStop(0)) == []


def test_blocks_that_begin_with_their_text() -> None:
    events: list[StreamEvent] = [
        Start(dialect="messages", answer_id="1", model="m"),
        BlockStart(0, ThinkingBlock(text="h", signature="s", origin="messages")),
        BlockStop(0),
        BlockStart(1, RedactedThinkingBlock(data="x", origin="messages")),
        BlockStop(1),
        BlockStart(2, TextBlock("a")),
        BlockStop(2),
        BlockStart(3, RefusalBlock("n")),
        BlockStop(3),
    ]
    assert [list(chunk["choices"][0]["delta"]) for chunk in written_stream(events)[1:]] == [
        ["reasoning_content"],
        ["thinking_blocks"],
        ["thinking_blocks"],
        ["content"],
        ["refusal"],
    ]
