"""The Messages dialect by itself. What becomes of it in chat and back is in test_chat_and_messages.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidRequest, UpstreamBadResponse
from gatewayd.wire import messages
from gatewayd.wire.conversation import ModelTarget, StopReason, TextBlock, TokenUsage, ToolUseBlock
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Delta,
    End,
    Ping,
    Start,
    Stop,
    StreamError,
    StreamEvent,
    UsageReport,
)
from gatewayd.wire.sse_decoder import Decoder
from tests.wire import messages_cases

NEWEST = ModelTarget(model="m", adaptive_thinking=True, system_turns=True)


def ask(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    ).encode()


def rewritten(body: bytes, target: ModelTarget = NEWEST) -> Any:
    return json.loads(messages.write_request(messages.read_request(body), target).body)


def read_stream(stream: bytes, *, at: int | None = None) -> list[StreamEvent]:
    decoder, reader = Decoder(), messages.Reader()
    events: list[StreamEvent] = []
    for chunk in [stream] if at is None else [stream[:at], stream[at:]]:
        for event in decoder.feed(chunk):
            assert event.data is not None
            events += reader.feed(event.type, event.data)
    return events + reader.end()


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def write_stream(events: list[StreamEvent], body: bytes | None = None) -> list[dict[str, Any]]:
    writer = messages.Writer(messages.read_request(body or ask(stream=True)))
    stream = b"".join(piece for event in events for piece in writer.feed(event))
    return [json.loads(event.data or b"") for event in Decoder().feed(stream)]


USAGE = {
    "input_tokens": 1,
    "cache_creation_input_tokens": 2,
    "cache_read_input_tokens": 4,
    "output_tokens": 8,
    "service_tier": "standard",
}
START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    },
}
PING: dict[str, Any] = {"type": "ping"}
STOP: dict[str, Any] = {"type": "message_stop"}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def done(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str, sequence: str | None = None) -> dict[str, Any]:
    counts = {name: count for name, count in USAGE.items() if name != "service_tier"}
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": sequence}, "usage": counts}


def text_block(index: int, *pieces: str) -> list[dict[str, Any]]:
    said = [piece(index, type="text_delta", text=text) for text in pieces]
    return [begin(index, type="text", text=""), *said, done(index)]


def call_block(index: int, *pieces: str, name: str = "f") -> list[dict[str, Any]]:
    said = [piece(index, type="input_json_delta", partial_json=text) for text in pieces]
    return [begin(index, type="tool_use", id=f"toolu_{index}", name=name, input={}), *said, done(index)]


def thinking_block(index: int, signature: str = "sig") -> list[dict[str, Any]]:
    return [
        begin(index, type="thinking", thinking="", signature=""),
        piece(index, type="thinking_delta", thinking="h"),
        piece(index, type="thinking_delta", thinking="m"),
        piece(index, type="signature_delta", signature=signature),
        done(index),
    ]


ERROR: dict[str, Any] = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
CITATION = {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "c", "encrypted_index": "e"}
STREAMED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "text": (text_block(0, "a", "b"), "end_turn"),
    "tools": ([*text_block(0, "a"), *call_block(1, '{"a"', ":1}")], "tool_use"),
    "parallel": ([*call_block(0, "{}"), *call_block(1, "{}", name="g")], "tool_use"),
    "thinking": ([*thinking_block(0), *text_block(1, "a")], "end_turn"),
    "redacted": ([begin(0, type="redacted_thinking", data="x"), done(0), *text_block(1, "a")], "end_turn"),
    "length": (text_block(0, "a"), "max_tokens"),
    "pause": (text_block(0, "a"), "pause_turn"),
    "window": (text_block(0, "a"), "model_context_window_exceeded"),
    "refusal": (text_block(0, "a"), "refusal"),
    "cited": (
        [*text_block(0, "a")[:2], piece(0, type="citations_delta", citation=CITATION), done(0)],
        "end_turn",
    ),
    "server tool": (
        [
            begin(0, type="server_tool_use", id="s", name="web_search", input={}),
            piece(0, type="input_json_delta", partial_json="{}"),
            done(0),
            *text_block(1, "a"),
        ],
        "end_turn",
    ),
}
STREAMS: dict[str, list[dict[str, Any]]] = {
    case: [START, PING, *blocks, end(reason), STOP] for case, (blocks, reason) in STREAMED.items()
}
STREAMS["stop sequence"] = [START, PING, *text_block(0, "a"), end("stop_sequence", "x"), STOP]
STREAMS["error before"] = [ERROR]
STREAMS["error within"] = [START, PING, *text_block(0, "a")[:2], ERROR]
STREAMS["cut"] = [START, PING, *text_block(0, "a")]


# --- requests


@given(messages_cases.requests)
def test_a_request_that_is_read_and_written_says_the_same(request: dict[str, Any]) -> None:
    target = ModelTarget(model=request["model"], adaptive_thinking=True, system_turns=True)
    written = messages.write_request(messages.read_request(json.dumps(request).encode()), target)
    assert json.loads(written.body) == request
    assert written.dropped == ()


def test_claude_code_s_request_says_the_same() -> None:
    request = {
        "model": "claude-opus-5-5",
        "max_tokens": 32000,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "reminder"}, {"type": "text", "text": "hi"}]},
            {"role": "system", "content": "Agents: none."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "go on"},
        ],
        "tools": [
            {
                "name": "Bash",
                "description": "Runs",
                "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
                "defer_loading": True,
            }
        ],
        "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "stream": True,
    }
    target = ModelTarget(model="claude-opus-5-5", adaptive_thinking=True, system_turns=True)
    written = messages.write_request(messages.read_request(json.dumps(request).encode()), target)
    assert json.loads(written.body) == request


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": ["hi"]}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"tools": [{}]}, "tools[0].name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"thinking": {"type": "deep"}}, "thinking"),
        ({"output_config": {"effort": "heroic"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"system": 5}, "system"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages.read_request(ask(**fields))
    assert caught.value.param == param


def test_arguments_stay_as_they_were_written() -> None:
    body = ask(messages=[{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": 7}]}])
    body = body.replace(b"7}", b'{"x": 1.50e3}}')
    (turn,) = messages.read_request(body).turns
    assert turn.blocks == (ToolUseBlock(call_id="a", name="f", arguments='{"x": 1.50e3}'),)
    assert b'{"x": 1.50e3}' in messages.write_request(messages.read_request(body), NEWEST).body


def test_empty_text_is_left_out_when_a_conversation_is_sent_again() -> None:
    blocks = [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]
    assert rewritten(ask(messages=[{"role": "assistant", "content": blocks}]))["messages"][0]["content"] == "a"


def test_results_of_tools_come_first() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "t", "content": "b"}]
    (message,) = rewritten(ask(messages=[{"role": "user", "content": blocks}]))["messages"]
    assert [block["type"] for block in message["content"]] == ["tool_result", "text"]


def test_an_older_model_gets_a_budget_and_no_system_turns() -> None:
    body = ask(
        max_tokens=5000,
        thinking={"type": "adaptive"},
        output_config={"effort": "low"},
        messages=[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
    )
    written = messages.write_request(messages.read_request(body), ModelTarget(model="m"))
    document = json.loads(written.body)
    assert document["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert document["messages"][1] == {"role": "user", "content": "<system>\nb\n</system>"}
    assert written.dropped == ("output_config.effort",)


# --- answers

CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
ANSWERS: dict[str, tuple[list[Any], str]] = {
    "text": ([{"type": "text", "text": "a"}], "end_turn"),
    "tools": ([{"type": "text", "text": "a"}, CALL, {**CALL, "id": "toolu_2", "input": {}}], "tool_use"),
    "thinking": ([{"type": "thinking", "thinking": "h", "signature": "s"}, {"type": "text", "text": "a"}], "end_turn"),
    "redacted": ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}], "end_turn"),
    "cited": ([{"type": "text", "text": "a", "citations": [CITATION]}], "end_turn"),
    "server tool": ([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}], "pause_turn"),
    "refusal": ([{"type": "text", "text": "a"}], "refusal"),
    "length": ([{"type": "text", "text": "a"}], "max_tokens"),
    "window": ([{"type": "text", "text": "a"}], "model_context_window_exceeded"),
    "empty": ([], "end_turn"),
}


def answer(content: list[Any], reason: str, **fields: Any) -> bytes:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content}
    return json.dumps({**head, "stop_reason": reason, "stop_sequence": None, "usage": USAGE, **fields}).encode()


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_read_and_written_says_the_same(case: str) -> None:
    body = answer(*ANSWERS[case], container={"id": "c"})
    written = messages.write_answer(messages.read_answer(body), messages.read_request(ask()))
    assert json.loads(written) == json.loads(body)


def test_cached_tokens_are_counted_once() -> None:
    read = messages.read_answer(answer([], "end_turn"))
    assert read.usage == TokenUsage(input=7, output=8, cache_read=4, cache_write=2)


def test_more_about_usage_is_kept() -> None:
    usage = {
        **USAGE,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1},
        "output_tokens_details": {"thinking_tokens": 3},
        "server_tool_use": {"web_search_requests": 1},
    }
    body = answer([], "end_turn", usage=usage)
    read = messages.read_answer(body)
    assert read.usage is not None
    assert (read.usage.cache_write_1h, read.usage.reasoning) == (1, 3)
    assert json.loads(messages.write_answer(read, messages.read_request(ask()))) == json.loads(body)


def test_a_refusal_without_a_word_is_no_empty_turn() -> None:
    written = messages.write_answer(messages.read_answer(answer([], "refusal")), messages.read_request(ask()))
    assert json.loads(written)["content"] == [{"type": "text", "text": "The model declined to answer."}]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"content": 5}', b'{"content": [{"type": "text"}]}', b'{"content":"\xff"}']
)
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        messages.read_answer(body)


def test_errors() -> None:
    read = messages.read_error(json.dumps(ERROR).encode())
    assert read == StreamError(message="Overloaded", type="overloaded_error", status=529)
    assert messages.read_error(b'{"type": "message"}') is None
    assert messages.read_error(b"<html>") is None


# --- streams


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_is_read_and_written_says_the_same(case: str) -> None:
    assert (
        write_stream(read_stream(sse(*STREAMS[case])))[2:]
        == [event for event in [*STREAMS[case][:1], PING, *STREAMS[case][1:]] if event is not None][
            2 : None if case != "error before" else 2
        ]
        or case == "error before"
    )


@pytest.mark.parametrize("case", STREAMS)
@given(data=st.data())
def test_any_split_of_the_bytes_gives_the_same_events(case: str, data: st.DataObject) -> None:
    stream = sse(*STREAMS[case])
    assert read_stream(stream, at=data.draw(st.integers(0, len(stream)))) == read_stream(stream)


def test_a_stream_that_was_cut_has_no_end() -> None:
    assert End() not in read_stream(sse(*STREAMS["cut"]))
    assert STOP not in write_stream(read_stream(sse(*STREAMS["cut"])))


def test_a_reason_without_the_end_mark_is_a_cut_too() -> None:
    assert End() not in read_stream(sse(*STREAMS["text"][:-1]))


def test_nothing_follows_the_end() -> None:
    events = read_stream(sse(*STREAMS["text"], ERROR))
    assert events[-1] == End()
    assert write_stream([*events, StreamError(message="late")])[-1] == STOP


def test_nothing_follows_an_error() -> None:
    events = read_stream(sse(*STREAMS["error within"], STOP))
    assert events[-1] == StreamError(message="Overloaded", type="overloaded_error", status=529)
    assert write_stream([*events, End()])[-1] == ERROR


def test_events_and_deltas_of_new_kinds_are_passed_over() -> None:
    new = [{"type": "a_new_event"}, piece(0, type="a_new_delta", a=1)]
    stream = [START, PING, *text_block(0, "a")[:2], *new, *text_block(0, "a")[2:], end("end_turn"), STOP]
    assert read_stream(sse(*stream)) == read_stream(sse(START, PING, *text_block(0, "a"), end("end_turn"), STOP))


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"[]",
        json.dumps(piece(3, type="text_delta", text="a")).encode(),
        b'{"type":"message_start"}',
        b'{"type":"message_stop"}',
        b'{"type":"error"}',
    ],
)
def test_an_event_that_is_of_no_message(data: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        messages.Reader().feed(b"", data)


def test_the_usage_at_the_end_completes_that_of_the_start() -> None:
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}}
    events = read_stream(sse(START, last, STOP))
    assert events[1] == UsageReport(TokenUsage(input=7, output=20, cache_read=4, cache_write=2))


def test_a_call_that_comes_whole_is_read() -> None:
    block = begin(0, type="tool_use", id="a", name="f", input={"x": 1})
    events = read_stream(sse(START, block, done(0), end("tool_use"), STOP))
    assert Delta(0, "arguments", '{"x":1}') in events


def start() -> Start:
    return Start(dialect="chat", answer_id="1", model="m")


def test_a_call_that_comes_whole_has_a_delta_between_start_and_stop() -> None:
    for arguments, said in (("", "{}"), ('{"a":1}', '{"a":1}')):
        block = ToolUseBlock(call_id="c", name="f", arguments=arguments)
        written = write_stream([start(), BlockStart(0, block), BlockStop(0)])[2:]
        assert [event["type"] for event in written] == [
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
        ]
        assert written[0]["content_block"]["input"] == {}
        assert written[1]["delta"] == {"type": "input_json_delta", "partial_json": said}


def test_a_stream_begins_with_usage_that_clients_record() -> None:
    (begun, _) = write_stream([start()])
    assert begun["message"]["usage"] == {
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }


def test_blocks_that_overlap_are_written_one_after_the_other() -> None:
    one, two = ToolUseBlock(call_id="a", name="f"), ToolUseBlock(call_id="b", name="g")
    pieces = [
        Delta(0, "arguments", "1"),
        Delta(1, "arguments", "2"),
        Delta(0, "arguments", "3"),
        Delta(1, "arguments", "4"),
    ]
    overlapping: list[StreamEvent] = [
        start(),
        BlockStart(0, one),
        BlockStart(1, two),
        *pieces,
        BlockStop(0),
        BlockStop(1),
    ]
    written = write_stream(overlapping)[2:]
    assert [event["index"] for event in written] == [0, 0, 0, 0, 1, 1, 1, 1]
    said = [event["delta"]["partial_json"] for event in written if "delta" in event]
    assert said == ["1", "3", "2", "4"]


def test_a_block_that_waited_and_is_open_goes_on() -> None:
    blocks = [ToolUseBlock(call_id=name, name=name) for name in "abc"]
    events: list[StreamEvent] = [start(), *(BlockStart(at, block) for at, block in enumerate(blocks))]
    events += [Delta(2, "arguments", "x"), BlockStop(0), Delta(1, "arguments", "y"), BlockStop(2), BlockStop(1)]
    written = [event for event in write_stream(events)[2:] if event["type"] == "content_block_delta"]
    assert [(event["index"], event["delta"]["partial_json"]) for event in written] == [(0, "{}"), (1, "y"), (2, "x")]


def test_an_empty_text_block_is_not_begun() -> None:
    events: list[StreamEvent] = [start(), BlockStart(0, TextBlock("")), BlockStop(0), Stop(StopReason.END), End()]
    assert [event["type"] for event in write_stream(events)[2:]] == ["message_delta", "message_stop"]


def test_a_refusal_without_a_word_is_given_words() -> None:
    written = write_stream([start(), Stop(StopReason.CONTENT_FILTER), End()])
    assert written[3]["delta"]["text"] == "The model declined to answer."
    assert written[-2]["delta"]["stop_reason"] == "refusal"


def test_only_the_first_of_several_choices_is_written() -> None:
    events: list[StreamEvent] = [
        start(),
        BlockStart(0, TextBlock("a"), 1),
        BlockStop(0, 1),
        Stop(StopReason.LENGTH, None, 1),
    ]
    assert write_stream([*events, End()])[-2]["delta"]["stop_reason"] == "end_turn"


def test_a_sign_of_life_is_passed_on() -> None:
    assert write_stream([start(), Ping()])[2:] == [PING]
    assert messages.Reader().feed(b"ping", b'{"type": "ping"}') == [Ping()]


def test_an_error_of_another_api_gets_a_type_of_this_one() -> None:
    for error, kind in (
        (StreamError(message="m"), "api_error"),
        (StreamError(message="m", type="server_error", status=429), "rate_limit_error"),
        (StreamError(message="m", type="bad", status=422), "invalid_request_error"),
    ):
        assert write_stream([error]) == [{"type": "error", "error": {"type": kind, "message": "m"}}]
