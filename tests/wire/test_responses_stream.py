"""Streams of the Responses API: what callers of it get, and what is read of upstreams that have it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError, OpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire import chat, responses
from gatewayd.wire.conversation import (
    CacheMark,
    Citation,
    ImageBlock,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from gatewayd.wire.events import (
    BlockStart,
    BlockStop,
    Cited,
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
from tests.wire.test_chat import call, stream_of
from tests.wire.test_responses import NAMESPACE, ask

_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CHAT = chat.read_request(b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}')
PLAIN = responses.read_request(ask(stream=True))
START = Start(dialect="chat", answer_id="chatcmpl-1", model="m", created=5)


def decoded(stream: bytes, *cuts: int) -> list[tuple[bytes, bytes]]:
    decoder = Decoder()
    places = [0, *cuts, len(stream)]
    found = [event for a, b in pairwise(places) for event in decoder.feed(stream[a:b])]
    return [(event.type, event.data) for event in found if event.data is not None]


def read(stream: bytes, *cuts: int) -> list[StreamEvent]:
    reader = responses.Reader()
    return [event for type, data in decoded(stream, *cuts) for event in reader.feed(type, data)] + reader.end()


def read_chat(stream: bytes) -> list[StreamEvent]:
    reader = chat.Reader()
    return [event for type, data in decoded(stream) for event in reader.feed(type, data)] + reader.end()


def write(events: Sequence[StreamEvent], **fields: Any) -> bytes:
    writer = responses.Writer(responses.read_request(ask(stream=True, **fields)))
    return b"".join(piece for event in events for piece in writer.feed(event))


def checked(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, of which OpenAI's types and the rules of the API hold."""
    events = []
    for number, (name, data) in enumerate(decoded(stream)):
        _event.validate_json(data, strict=True)
        event = json.loads(data)
        assert event["type"] == name.decode()
        assert event["sequence_number"] == number
        events.append(event)
    assert b"[DONE]" not in stream
    _check_items(events)
    return events


def _check_items(events: list[dict[str, Any]]) -> None:
    """Every item is added once, then filled, then done as it was filled."""
    added: dict[int, str] = {}
    done: dict[int, dict[str, Any]] = {}
    pieces: dict[tuple[int, str, int], str] = {}
    for event in events:
        kind, at = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            assert at == len(added)
            added[at] = event["item"].get("id", "")
        elif kind == "response.output_item.done":
            assert at in added
            assert at not in done
            assert event["item"].get("id", "") == added[at]
            done[at] = event["item"]
        elif at is not None:
            assert at in added
            assert at not in done
            assert event["item_id"] == added[at]
            part = event.get("content_index", event.get("summary_index", 0))
            key = (at, kind.rpartition(".")[0], part)
            if kind.endswith(".delta"):
                pieces[key] = pieces.get(key, "") + event["delta"]
            elif kind.endswith(".done") and "part" not in event:
                text = next(event[name] for name in ("text", "arguments", "input", "refusal") if name in event)
                assert text == pieces.get(key, "")
    last = events[-1]
    if last["type"] in ("response.completed", "response.incomplete"):
        assert last["response"]["output"] == [done[at] for at in sorted(added)]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def last(stream: bytes) -> dict[str, Any]:
    response = checked(stream)[-1]["response"]
    assert isinstance(response, dict)
    return response


def sdk(stream: bytes) -> OpenAI:
    """OpenAI's own client, to which this stream is the answer."""
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, content=stream))
    return OpenAI(api_key="x", base_url="http://test", max_retries=0, http_client=httpx.Client(transport=transport))


# --- from chat: golden transcripts


def test_text() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    events = checked(write(read_chat(stream_of({"content": "Hel"}, {"content": "lo"}, usage=usage))))
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    response = events[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert response["usage"]["input_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 0}
    assert (response["id"], response["created_at"], response["model"]) == ("resp_1", 5, "m")


def test_tool_and_text_in_one_turn() -> None:
    deltas = [{"content": "I look."}, call(0, name="f"), call(0, arguments='{"a"'), call(0, arguments=":1}")]
    events = checked(write(read_chat(stream_of(*deltas, finish="tool_calls"))))
    assert kinds(events)[6:] == [
        "content_part.done", "output_item.done", "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.delta", "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    message, function = events[-1]["response"]["output"]
    assert message["content"][0]["text"] == "I look."
    assert (function["call_id"], function["name"], function["arguments"]) == ("call_0", "f", '{"a":1}')
    assert events[-1]["response"]["status"] == "completed"


def test_parallel_tools() -> None:
    deltas = [
        call(0, name="f", arguments="{"),
        call(1, name="g", arguments="{"),
        call(0, arguments="}"),
        call(1, arguments="}"),
    ]
    output = last(write(read_chat(stream_of(*deltas, finish="tool_calls"))))["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("call_0", "{}"), ("call_1", "{}")]


def test_no_arguments() -> None:
    for arguments in ({}, {"arguments": ""}, {"arguments": "{}"}):
        events = checked(write(read_chat(stream_of(call(0, name="f", **arguments), finish="tool_calls"))))
        assert events[-1]["response"]["output"][0]["arguments"] == "{}"
        assert kinds(events).count("function_call_arguments.delta") == 1


def test_custom_tool() -> None:
    piece = {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "p", "input": "*** "}}]}
    rest = {"tool_calls": [{"index": 0, "custom": {"input": "Begin"}}]}
    events = checked(write(read_chat(stream_of(piece, rest, finish="tool_calls"))))
    assert kinds(events)[2:7] == [
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.delta",
        "custom_tool_call_input.done", "output_item.done",
    ]  # fmt: skip
    assert events[-1]["response"]["output"][0]["input"] == "*** Begin"


def test_namespace_and_a_custom_tool_called_as_a_function() -> None:
    deltas = [
        call(0, name="mcp__files__read", arguments="{}"),
        call(1, name="mcp__files__patch", arguments='{"input":"a'),
        call(1, arguments='\\nb"}'),
    ]
    stream = write(read_chat(stream_of(*deltas, finish="tool_calls")), tools=[NAMESPACE])
    read_call, patch = last(stream)["output"]
    assert (read_call["namespace"], read_call["name"]) == ("mcp__files", "read")
    assert (patch["type"], patch["namespace"], patch["name"]) == ("custom_tool_call", "mcp__files", "patch")
    assert patch["input"] == "a\nb"


def test_reasoning() -> None:
    """Raw reasoning text survives."""
    events = checked(
        write(read_chat(stream_of({"reasoning_content": "hm"}, {"reasoning_content": "m"}, {"content": "a"})))
    )
    assert kinds(events)[2:9] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "reasoning_text", "text": "hmm"}]


def test_signed_thoughts() -> None:
    thought = ThinkingBlock(origin="messages")
    events: list[StreamEvent] = [
        START, BlockStart(0, thought), Delta(0, "thinking", "h"), Delta(0, "thinking", "m"), Delta(0, "signature", "s"),
        BlockStop(0), BlockStart(1, RedactedThinkingBlock(data="x", origin="messages")), BlockStop(1),
        BlockStart(2, TextBlock("")), Delta(2, "text", "a"), BlockStop(2), Stop(StopReason.END), End(),
    ]  # fmt: skip
    for fields in ({}, {"reasoning": {"summary": "auto"}}):
        output = last(write(events, **fields))["output"]
        (turn,) = responses.read_request(ask(input=output[:2])).turns
        assert turn.blocks == (
            ThinkingBlock(text="hm", signature="s", origin="messages"),
            RedactedThinkingBlock(data="x", origin="messages"),
        )
        shown = output[0].get("content") or output[0]["summary"]
        assert shown[0]["text"] == "hm"
    assert kinds(checked(write(events, reasoning={"summary": "auto"})))[2:8] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
    ]  # fmt: skip


def test_images_citations_and_logprobs() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    chunk = {"content": "a"}
    stream = stream_of(
        chunk, {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}]}
    )
    events = read_chat(
        stream.replace(
            b'"finish_reason": null', b'"finish_reason": null, "logprobs": %b' % json.dumps(logprobs).encode(), 1
        )
    )
    image = ImageBlock(data="aGk=", media_type="image/png")
    events[-2:-2] = [BlockStart(9, image), BlockStop(9)]
    message, drawn = last(write(events))["output"]
    assert message["content"][0]["logprobs"] == logprobs["content"]
    assert drawn["result"] == "aGk="


def test_refusal() -> None:
    output = last(write(read_chat(stream_of({"refusal": "I "}, {"refusal": "won't"}))))["output"]
    assert output[0]["content"] == [{"type": "refusal", "refusal": "I won't"}]
    events: list[StreamEvent] = [START, Stop(StopReason.REFUSAL), End()]
    assert last(write(events))["output"][0]["content"][0]["type"] == "refusal", "never an empty turn"


def test_length() -> None:
    events = checked(write(read_chat(stream_of({"content": "a"}, finish="length"))))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_an_empty_answer_has_an_empty_message() -> None:
    assert last(write([START, Stop(StopReason.END), End()]))["output"][0]["content"][0]["text"] == ""


def test_cut() -> None:
    """The caller of a reader that ended without `End` writes the error; there is one, and no end."""
    writer = responses.Writer(PLAIN)
    events = read_chat(stream_of({"content": "a"}, finish=None, done=False))
    stream = b"".join(piece for event in events for piece in writer.feed(event))
    stream += writer.error(StreamError(message="The stream ended early.", code="upstream_incomplete"))
    assert writer.error(StreamError(message="again")) == b""
    assert writer.feed(End()) == []
    found = checked(stream)
    assert kinds(found)[-1] == "failed"
    assert found[-1]["response"]["error"] == {"code": "server_error", "message": "The stream ended early."}
    assert kinds(found).count("failed") == 1


def test_error_before_and_within() -> None:
    error = (
        b'data: {"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}\n\n'
    )
    begun = stream_of({"content": "a"}, finish=None, done=False)
    for stream in (error, begun + error):
        found = decoded(write(read_chat(stream)))
        assert found[-1][0] == b"response.failed"
        response = json.loads(found[-1][1])["response"]
        assert response["error"]["code"] == "context_length_exceeded", "Codex decides by it"
        assert response["status"] == "failed"


def test_the_fault_of_a_model_is_a_failure() -> None:
    assert last(write([START, Stop(StopReason.FAULT), End()]))["status"] == "failed"


def test_only_the_first_choice_is_written() -> None:
    second: list[StreamEvent] = [
        BlockStart(0, TextBlock("no"), 1),
        Delta(0, "text", "no", 1),
        Cited(0, Citation(), 1),
        BlockStop(0, 1),
    ]
    events: list[StreamEvent] = [
        START,
        BlockStart(0, TextBlock("a")),
        *second,
        BlockStop(0),
        Stop(StopReason.LENGTH, choice=1),
        Ping(),
    ]
    response = last(write([*events, Stop(StopReason.END), End()]))
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == "a"


def test_text_that_goes_on_behind_a_call_is_another_message() -> None:
    events: list[StreamEvent] = [
        START, BlockStart(0, TextBlock("a")), BlockStart(1, ToolUseBlock(call_id="c", name="f")),
        Delta(0, "text", "b"), BlockStop(1), BlockStop(0), Stop(StopReason.TOOL_USE), End(),
    ]  # fmt: skip
    assert [item["type"] for item in last(write(events))["output"]] == ["message", "function_call", "message"]


def test_blocks_that_this_api_does_not_know_are_left_out() -> None:
    raw = RawBlock(dialect="messages", type="server_tool_use", raw=msgspec.Raw(b"{}"))
    events: list[StreamEvent] = [
        START,
        BlockStart(0, raw),
        BlockStop(0),
        BlockStart(1, TextBlock("a", CacheMark())),
        BlockStop(1),
    ]
    assert len(last(write([*events, Stop(StopReason.END), End()]))["output"]) == 1


# --- OpenAI's own client


def test_the_sdk_collects_a_stream() -> None:
    deltas = [{"reasoning_content": "hm"}, {"content": "Hel"}, {"content": "lo"}, call(0, name="f", arguments="{}")]
    with sdk(write(read_chat(stream_of(*deltas, finish="tool_calls")))).responses.stream(
        model="m", input="hi"
    ) as stream:
        found = stream.get_final_response()
    assert found.output_text == "Hello"
    assert [item.type for item in found.output] == ["reasoning", "message", "function_call"]


class Answered(BaseModel):
    a: int


def test_the_sdk_parses_structured_output() -> None:
    stream = write(read_chat(stream_of({"content": '{"a"'}, {"content": ":1}"})))
    with sdk(stream).responses.stream(model="m", input="hi", text_format=Answered) as found:
        assert found.get_final_response().output_parsed == Answered(a=1)


def test_the_sdk_raises_for_a_failure() -> None:
    writer = responses.Writer(PLAIN)
    stream = b"".join(writer.feed(START)) + writer.error(StreamError(message="gone"))
    with pytest.raises(APIError, match="gone"):
        list(sdk(stream).responses.create(model="m", input="hi", stream=True))


# --- to chat: golden transcripts


def sent(kind: str, **members: Any) -> bytes:
    return f"event: response.{kind}\ndata: {json.dumps({'type': f'response.{kind}', **members})}\n\n".encode()


def response(status: str = "completed", output: Sequence[Any] = (), **members: Any) -> dict[str, Any]:
    return {
        "id": "resp_9",
        "object": "response",
        "created_at": 5,
        "model": "m",
        "status": status,
        "output": output,
        **members,
    }


CREATED = sent("created", response=response("in_progress")) + sent("in_progress", response=response("in_progress"))
USAGE = {"input_tokens": 3, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}


def item(kind: str, at: int, **members: Any) -> bytes:
    return sent(f"output_item.{kind}", output_index=at, item=members)


def at(output: int, part: int = 0) -> dict[str, Any]:
    return {"output_index": output, "content_index": part, "item_id": "x"}


def text_item(*pieces: str, output: int = 0) -> bytes:
    whole = "".join(pieces)
    part = {"type": "output_text", "text": whole, "annotations": []}
    return b"".join(
        [
            item("added", output, type="message", id="msg_1", role="assistant", status="in_progress", content=[]),
            sent("content_part.added", **at(output), part={"type": "output_text", "text": "", "annotations": []}),
            *(sent("output_text.delta", **at(output), delta=piece) for piece in pieces),
            sent("output_text.done", **at(output), text=whole),
            sent("content_part.done", **at(output), part=part),
            item("done", output, type="message", id="msg_1", role="assistant", status="completed", content=[part]),
        ]
    )


def call_item(output: int, *pieces: str, name: str = "f", **members: Any) -> bytes:
    head = {"type": "function_call", "id": f"fc_{output}", "call_id": f"call_{output}", "name": name, **members}
    return b"".join(
        [
            item("added", output, **head, arguments=""),
            *(sent("function_call_arguments.delta", output_index=output, delta=piece) for piece in pieces),
            sent("function_call_arguments.done", output_index=output, arguments="".join(pieces)),
            item("done", output, **head, arguments="".join(pieces)),
        ]
    )


def completed(**members: Any) -> bytes:
    return sent("completed", response=response(usage=USAGE, **members))


def as_chat(stream: bytes) -> list[Any]:
    writer = chat.Writer(CHAT)
    pieces = [piece for event in read(stream) for piece in writer.feed(event)]
    return [json.loads(piece[6:]) if piece.startswith(b"data: {") else piece for piece in pieces]


def deltas(stream: bytes) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in as_chat(stream) if isinstance(chunk, dict) and chunk["choices"]]


def test_text_to_chat() -> None:
    chunks = as_chat(CREATED + text_item("Hel", "lo") + completed())
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-2]] == ["", "Hel", "lo", None]
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert chunks[-1] == b"data: [DONE]\n\n"
    assert chunks[0]["id"] == "resp_9"


def test_tools_to_chat() -> None:
    stream = CREATED + text_item("a") + call_item(1, '{"a"', ":1}") + call_item(2) + completed()
    calls = [piece for delta in deltas(stream) for piece in delta.get("tool_calls", ())]
    assert [piece["id"] for piece in calls if "id" in piece] == ["call_1", "call_2"]
    assert "".join(piece["function"]["arguments"] for piece in calls if piece["index"] == 0) == '{"a":1}'
    assert as_chat(stream)[-3]["choices"][0]["finish_reason"] == "tool_calls"


def test_empty_argument_deltas_are_legal() -> None:
    events = read(CREATED + call_item(0, "", '{"a":1}', "") + completed())
    assert [event.text for event in events if isinstance(event, Delta)] == ['{"a":1}']


def test_a_custom_tool_and_a_namespace() -> None:
    head = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "a", "name": "p", "namespace": "n"}
    stream = (
        CREATED + item("added", 0, **head, input="") + sent("custom_tool_call_input.delta", output_index=0, delta="x")
    )
    stream += (
        sent("custom_tool_call_input.done", output_index=0, input="x")
        + item("done", 0, **head, input="x")
        + completed()
    )
    events = read(stream)
    begun = next(event.block for event in events if isinstance(event, BlockStart))
    assert begun == ToolUseBlock(call_id="a", name="p", kind="custom", namespace="n", item_id="ctc_1")
    (piece, _, _) = [piece for delta in deltas(stream) for piece in delta.get("tool_calls", ())] + [None]
    assert piece["custom"]["name"] == "p"


def thought_item(output: int = 0) -> bytes:
    whole = {
        "summary": [{"type": "summary_text", "text": "S1"}, {"type": "summary_text", "text": "S2"}],
        "content": [{"type": "reasoning_text", "text": "raw"}],
        "encrypted_content": "enc",
    }
    return b"".join(
        [
            item("added", output, type="reasoning", id="rs_1", summary=[], encrypted_content="other"),
            sent("reasoning_summary_part.added", output_index=output, summary_index=0, part={"type": "summary_text"}),
            sent("reasoning_summary_text.delta", output_index=output, summary_index=0, delta="S1"),
            sent("reasoning_summary_text.done", output_index=output, summary_index=0, text="S1"),
            sent("reasoning_summary_text.delta", output_index=output, summary_index=1, delta="S2"),
            sent("content_part.added", **at(output), part={"type": "reasoning_text", "text": ""}),
            sent("reasoning_text.delta", **at(output), delta="raw"),
            sent("reasoning_text.done", **at(output), text="raw"),
            sent("content_part.done", **at(output), part={"type": "reasoning_text", "text": "raw"}),
            item("done", output, type="reasoning", id="rs_1", **whole),
        ]
    )


def test_reasoning_to_chat() -> None:
    events = read(CREATED + thought_item() + text_item("a", output=1) + completed())
    assert [(event.kind, event.text, event.part) for event in events if isinstance(event, Delta)] == [
        ("summary", "S1", 0), ("summary", "S2", 1), ("thinking", "raw", 0), ("encrypted", "enc", 0), ("text", "a", 0),
    ]  # fmt: skip
    thoughts = [
        block for delta in deltas(CREATED + thought_item() + completed()) for block in delta.get("thinking_blocks", ())
    ]
    assert [(block["id"], block["signature"], block["origin"]) for block in thoughts] == [("rs_1", "enc", "responses")]


def test_refusal_to_chat() -> None:
    part = {"type": "refusal", "refusal": "no"}
    stream = CREATED + sent("content_part.added", **at(0), part={"type": "refusal", "refusal": ""})
    stream += sent("refusal.delta", **at(0), delta="no") + sent("refusal.done", **at(0), refusal="no")
    stream += item("done", 0, type="message", content=[part]) + completed()
    assert [delta["refusal"] for delta in deltas(stream) if "refusal" in delta] == ["no"]
    assert Stop(StopReason.REFUSAL) in read(stream)


def test_length_and_filter_to_chat() -> None:
    for reason, stop in (("max_output_tokens", StopReason.LENGTH), ("content_filter", StopReason.CONTENT_FILTER)):
        cut = sent("incomplete", response=response("incomplete", incomplete_details={"reason": reason}))
        assert Stop(stop) in read(CREATED + text_item("a") + cut)


def test_images_and_server_tools_to_chat() -> None:
    stream = (
        CREATED
        + item("added", 0, type="web_search_call", id="ws_1")
        + sent("web_search_call.searching", output_index=0)
    )
    stream += item("done", 0, type="web_search_call", id="ws_1") + item(
        "done", 1, type="image_generation_call", result="aGk="
    )
    events = read(stream + completed())
    assert Ping() in events
    blocks = [event.block for event in events if isinstance(event, BlockStart)]
    assert isinstance(blocks[0], RawBlock)
    assert blocks[1] == ImageBlock(data="aGk=", media_type="image/png")


def test_citations_and_logprobs_to_chat() -> None:
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 1}
    tokens = [{"token": "a", "logprob": -1}]
    stream = CREATED + sent("output_text.delta", **at(0), delta="a", logprobs=tokens)
    stream += sent("output_text.annotation.added", **at(0), annotation=note) + completed()
    assert Cited(0, Citation(url="https://a", title="A", start=0, end=1)) in read(stream)
    chunks = as_chat(stream)
    assert chunks[1]["choices"][0]["logprobs"] == {"content": tokens}


def test_a_cut_stream_has_no_end() -> None:
    whole = CREATED + text_item("a") + call_item(1, "{}")
    for end in range(0, len(whole), 50):
        events = read(whole[:end])
        assert not any(isinstance(event, End | Stop | StreamError) for event in events)


def test_an_error_event_and_a_failed_response() -> None:
    """200 with `status: failed` is a failed try."""
    failure = {"code": "rate_limit_exceeded", "message": "slow down"}
    failed = sent("failed", response=response("failed", error=failure))
    flat = b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"slow down","param":null}\n\n'
    nested = b'event: error\ndata: {"type":"error","error":%b}\n\n' % json.dumps(failure).encode()
    like_chat = b'data: {"error":%b}\n\n' % json.dumps(failure).encode()
    wrong = sent("completed", response=response("failed", error=failure))
    for bad in (failed, flat, nested, like_chat, wrong):
        for before in (b"", CREATED, CREATED + text_item("a")):
            events = read(before + bad + text_item("b"))
            error = events[-1]
            assert isinstance(error, StreamError)
            assert (error.message, error.code, error.status) == ("slow down", "rate_limit_exceeded", 429)
            assert sum(isinstance(event, StreamError) for event in events) == 1


def test_servers_that_leave_events_out() -> None:
    """What only the end has is made up for."""
    output: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}]},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "Hello"}, {"type": "refusal", "refusal": "no"}],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]
    events = read(sent("completed", response=response(output=output)))
    assert [event.text for event in events if isinstance(event, Delta)] == ["s", "Hello", "no", "{}"]
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], End)
    done = CREATED + b"".join(item("done", index, **one) for index, one in enumerate(output))
    again = read(done + sent("completed", response=response(output=output)))
    assert [event.text for event in again if isinstance(event, Delta)] == ["s", "Hello", "no", "{}"]
    partly = (
        CREATED + sent("output_text.delta", **at(1), delta="Hel") + sent("completed", response=response(output=output))
    )
    assert "".join(e.text for e in read(partly) if isinstance(e, Delta) and e.kind == "text") == "Hello"


def test_what_is_new_or_empty_is_passed_over() -> None:
    stream = CREATED + sent("shiny.new", text={"a": 1}, delta={}) + sent("output_item.added", output_index=0, item=None)
    stream += b"data: [DONE]\n\n" + sent("content_part.added", **at(0), part={"type": "hologram"}) + completed()
    events = read(stream)
    assert isinstance(events[-1], End)
    assert read(stream + sent("output_text.delta", **at(0), delta="late")) == events


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {broken\n\n",
        b"data: []\n\n",
        sent("output_text.delta", output_index="x"),
        sent("function_call_arguments.delta", output_index=0, delta="x"),
        item("added", 0, type="function_call"),
        item("done", 0, type="message", content=[{"type": "output_text", "text": 5}]),
    ],
)
def test_what_is_not_of_this_api(bad: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        read(CREATED + bad)


WHOLE = CREATED + thought_item() + text_item("Hé", "llo", output=1) + call_item(2, '{"a"', ":1}") + completed()


@given(st.sets(st.integers(1, len(WHOLE) - 1), max_size=8))
def test_any_split_of_the_bytes_gives_the_same_events(cuts: set[int]) -> None:
    assert read(WHOLE, *sorted(cuts)) == read(WHOLE)


pieces = st.lists(st.text(max_size=4), max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> list[StreamEvent]:
    """Answers of which Responses can say everything."""
    events: list[StreamEvent] = [Start(dialect="responses", answer_id="resp_1", model="m", created=5)]
    kinds = draw(st.lists(st.sampled_from(["text", "thinking", "call", "refusal"]), max_size=4))
    found: set[str] = set()
    for index, kind in enumerate(kinds):
        texts = [text for text in draw(pieces) if text] or ["x"]
        if kind == "text":
            block: Any = TextBlock("")
        elif kind == "refusal":
            block = RefusalBlock("")
        elif kind == "thinking":
            block = ThinkingBlock(item_id=f"rs_{index}", origin="responses")
        else:
            block = ToolUseBlock(call_id=f"call_{index}", name="f", item_id=f"fc_{index}")
        found.add(kind)
        name: Any = "arguments" if kind == "call" else kind
        events += [BlockStart(index, block), *(Delta(index, name, text) for text in texts), BlockStop(index)]
    stop = StopReason.TOOL_USE if "call" in found else StopReason.REFUSAL if "refusal" in found else StopReason.END
    if kinds:
        events.append(UsageReport(TokenUsage(input=1, output=2, cache_read=0, cache_write=0, reasoning=0)))
        events += [Stop(stop), End()]
    return events


@given(answers())
def test_a_stream_that_is_written_and_read_says_the_same(events: list[StreamEvent]) -> None:
    stream = write(events)
    checked(stream)
    found = [event for event in read(stream) if not isinstance(event, Start)]
    assert found == [event for event in events if not isinstance(event, Start)]
