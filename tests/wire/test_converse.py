"""Chat clients of Bedrock deployments: recorded conversations both ways, checked by botocore's own model of the API."""

from __future__ import annotations

import base64
import json
from typing import Any

import botocore.session
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.parsers import EventStreamJSONParser
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire import chat, converse
from gatewayd.wire.conversation import Answer, ModelTarget, Request, StopReason, TextBlock
from gatewayd.wire.events import BlockStart, BlockStop, Cited, Delta, End, Start, Stop, StreamError, StreamEvent
from gatewayd.wire.eventstream import Frame, FrameDecoder
from tests.wire.converse_cases import CASES, USAGE, Case, Object, call, events, said, stream
from tests.wire.frames import frame
from tests.wire.gemini_cases import USER
from tests.wire.test_gemini import assembled

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="module")
def service() -> Any:
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def chat_request(asked: Object, **more: Any) -> Request:
    return chat.read_request(json.dumps({"model": "group", **asked, **more}).encode())


def sent(case: Case) -> Any:
    target = ModelTarget(model=case.model, drop_params=True, **case.target)
    return json.loads(converse.write_request(chat_request(case.asked), target).body)


def read_answer(answer: Any) -> Answer:
    return converse.read_answer(json.dumps(answer).encode(), answer_id="r1", model="m")


def events_of(*pieces: bytes) -> list[StreamEvent]:
    decoder, reader = FrameDecoder(), converse.Reader(answer_id="r1", model="m")
    found: list[StreamEvent] = []
    for piece in pieces:
        for one in decoder.feed(piece):
            found += reader.feed(*converse.frame_event(one))
    return found + reader.end()


def chat_stream(found: list[StreamEvent]) -> list[Any]:
    writer = chat.Writer(chat_request({"messages": [USER]}, stream=True, stream_options={"include_usage": True}))
    lines = b"".join(piece for event in found for piece in writer.feed(event)).split(b"\n\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line and line != b"data: [DONE]"]


# --- chat -> converse -> chat -------------------------------------------------------------------------------------


@cases
def test_request(case: Case, service: Any) -> None:
    body = sent(case)
    assert body == case.sent
    shape = service.operation_model("ConverseStream").input_shape
    assert ParamValidator().validate({"modelId": case.model, **body}, shape).generate_report() == ""


@cases
def test_whole_answer(case: Case) -> None:
    found = json.loads(chat.write_answer(read_answer(case.answered), chat_request(case.asked)))
    (choice,) = found["choices"]
    assert choice["message"] == case.message
    assert choice["finish_reason"] == case.finish
    assert found["usage"] == case.usage
    assert (found["id"], found["model"]) == ("r1", "m")


@cases
def test_stream(case: Case) -> None:
    found = chat_stream(events_of(stream(case.answered)))
    message, finish = assembled(found)
    assert (message, finish) == (case.message, case.finish)
    assert found[-1]["usage"] == case.usage


@cases
def test_every_split_gives_the_same_events(case: Case) -> None:
    data = stream(case.answered)
    whole = events_of(data)
    assert isinstance(whole[-1], End)
    for at in range(0, len(data), 11):
        assert events_of(data[:at], data[at:]) == whole


@cases
def test_botocore_reads_the_same_stream(case: Case, service: Any) -> None:
    """The recorded streams are Bedrock's: botocore finds in them what was put in."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream(case.answered))
    parser = EventStreamJSONParser()
    shape = service.operation_model("ConverseStream").output_shape.members["stream"]
    found = [parser.parse(message.to_response_dict(), shape) for message in buffer]
    assert [next(iter(one)) for one in found] == [name for name, _ in events(case.answered)]
    text = "".join(one["contentBlockDelta"]["delta"].get("text", "") for one in found if "contentBlockDelta" in one)
    assert text == "".join(part.get("text", "") for part in case.answered["output"]["message"]["content"])


def test_an_answer_that_is_sent_back() -> None:
    case = CASES["thinking"]
    (choice,) = json.loads(chat.write_answer(read_answer(case.answered), chat_request(case.asked)))["choices"]
    again = {**case.asked, "messages": [USER, choice["message"], USER]}
    body = json.loads(converse.write_request(chat_request(again), ModelTarget(model=case.model)).body)
    assert body["messages"][1] == {"role": "assistant", "content": case.answered["output"]["message"]["content"]}


# --- streams that break ------------------------------------------------------------------------------------------


def test_a_cut_stream_has_no_end() -> None:
    whole = events(said({"text": "It is sunny."}))
    for stop in range(len(whole) - 2):
        data = b"".join(frame(name, payload) for name, payload in whole[: stop + 1])
        assert not any(isinstance(one, End) for one in events_of(data))
    without_counts = b"".join(frame(name, payload) for name, payload in whole[:-1])
    assert isinstance(events_of(without_counts)[-1], End)
    assert events_of() == []


@pytest.mark.parametrize("before", [0, 2])
def test_an_exception_in_a_stream(before: int) -> None:
    data = b"".join(frame(name, payload) for name, payload in events(said({"text": "It is sunny."}))[:before])
    data += frame("throttlingException", {"message": "Too many tokens."}, message="exception")
    data += frame("messageStop", {"stopReason": "end_turn"})
    expected = StreamError(
        message="Too many tokens.", type="ThrottlingException", code="ThrottlingException", status=429
    )
    found = events_of(data)
    assert found[-1] == expected
    assert len(found) == 1 or before


def test_an_error_frame() -> None:
    (decoded,) = FrameDecoder().feed(frame("x", {}, message="error"))
    broken = {**decoded.headers, ":error-code": "InternalServer", ":error-message": "Broken."}
    reader = converse.Reader()
    assert reader.feed(*converse.frame_event(Frame(broken, b""))) == [
        StreamError(message="Broken.", type="InternalServerException", code="InternalServerException", status=500)
    ]
    assert reader.feed(b"messageStart", b"{}") == reader.end() == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"contentBlockDelta", b"nothing"),
        (b"contentBlockDelta", b"[]"),
        (b"contentBlockDelta", b'{"delta":{"toolUse":{"input":"{"}},"contentBlockIndex":0}'),
        (b"messageStop", b'{"stopReason":3}'),
    ],
)
def test_events_that_are_none(name: bytes, data: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        converse.Reader().feed(name, data)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"output":{}}', b'{"output":{"message":{"content":3}}}', b"\xff"]
)
def test_answers_that_are_none(body: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        converse.read_answer(body)


# --- what is new or rare ------------------------------------------------------------------------------------------


def test_events_and_blocks_that_are_new_are_passed_over() -> None:
    reader = converse.Reader()
    assert reader.feed(b"somethingNew", b"{}") == []
    assert [type(one) for one in reader.feed(b"contentBlockStart", b'{"start":{},"contentBlockIndex":0}')] == [Start]
    text = reader.feed(b"contentBlockDelta", b'{"delta":{"text":"a"},"contentBlockIndex":0}')
    assert [type(one) for one in text] == [BlockStart, Delta]
    assert reader.feed(b"contentBlockDelta", b'{"delta":{"somethingNew":1},"contentBlockIndex":0}') == []


def test_tools_that_bedrock_runs_itself_are_passed_over() -> None:
    server = {"toolUse": {"toolUseId": "a", "name": "nova_grounding", "type": "server_tool_use", "input": {}}}
    result = {"toolResult": {"toolUseId": "a", "content": [], "status": "success"}}
    answer = read_answer(said(server, result, {"text": "Sunny."}))
    (choice,) = json.loads(chat.write_answer(answer, chat_request({"messages": [USER]})))["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Sunny."}
    reader = converse.Reader()
    found: list[StreamEvent] = []
    for index, start in enumerate(({"toolUse": {**server["toolUse"]}}, {"toolResult": {"toolUseId": "a"}})):
        found += reader.feed(b"contentBlockStart", json.dumps({"start": start, "contentBlockIndex": index}).encode())
        delta = {"delta": {"toolUse": {"input": "{}"}}, "contentBlockIndex": index}
        found += reader.feed(b"contentBlockDelta", json.dumps(delta).encode())
        found += reader.feed(b"contentBlockStop", json.dumps({"contentBlockIndex": index}).encode())
    assert [type(one) for one in found] == [Start]


CITATION = {
    "title": "A",
    "sourceContent": [{"text": "sunny"}],
    "location": {"web": {"url": "https://a.example", "domain": "a.example"}},
}


def test_sources() -> None:
    answer = read_answer(said({"citationsContent": {"content": [{"text": "Sunny."}], "citations": [CITATION]}}))
    (block,) = answer.choices[0].blocks
    assert isinstance(block, TextBlock)
    (citation,) = block.citations
    assert (block.text, citation.url, citation.title, citation.cited) == ("Sunny.", "https://a.example", "A", "sunny")
    reader = converse.Reader()
    reader.feed(b"contentBlockDelta", b'{"delta":{"text":"Sunny."},"contentBlockIndex":0}')
    data = json.dumps({"delta": {"citation": CITATION}, "contentBlockIndex": 0}).encode()
    (cited,) = reader.feed(b"contentBlockDelta", data)
    assert isinstance(cited, Cited)
    assert (cited.index, cited.citation) == (0, citation)


def test_counts_of_caches() -> None:
    details = [{"ttl": "1h", "inputTokens": 2}, {"ttl": "5m", "inputTokens": 1}]
    usage = read_answer(said({"text": "a"}, usage={**USAGE, "cacheWriteInputTokens": 3, "cacheDetails": details})).usage
    assert usage is not None
    assert (usage.input, usage.cache_read, usage.cache_write, usage.cache_write_1h) == (12, None, 3, 2)
    assert read_answer(said({"text": "a"}, usage={"inputTokens": "x"})).usage is None


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("content_filtered", StopReason.CONTENT_FILTER),
        ("malformed_tool_use", StopReason.FAULT),
        ("model_context_window_exceeded", StopReason.CONTEXT_WINDOW),
        ("something_new", StopReason.END),
    ],
)
def test_reasons_to_stop(stop: str, reason: StopReason) -> None:
    assert read_answer(said({"text": "a"}, stop=stop)).choices[0].stop is reason


def test_an_answer_without_an_id_gets_one() -> None:
    assert converse.read_answer(json.dumps(said({"text": "a"})).encode()).answer_id.startswith("converse-")
    (start,) = converse.Reader().feed(b"messageStart", b'{"role":"assistant"}')
    assert isinstance(start, Start)
    assert start.answer_id.startswith("converse-")


# --- whole and streamed -------------------------------------------------------------------------------------------

_words = st.text(min_size=1, max_size=6)
_base64 = st.binary(min_size=1, max_size=6).map(lambda data: base64.b64encode(data).decode())
_parts: st.SearchStrategy[Object] = st.one_of(
    st.builds(lambda text: {"text": text}, _words),
    st.builds(
        lambda text, signature: {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}},
        _words,
        _base64,
    ),
    st.builds(lambda data: {"reasoningContent": {"redactedContent": data}}, _base64),
    st.builds(lambda given: call("a", "f", given), st.dictionaries(_words, _words, max_size=2)),
    st.builds(lambda data: {"image": {"format": "png", "source": {"bytes": data}}}, _base64),
)


@given(st.lists(_parts, max_size=5))
def test_a_stream_says_what_the_whole_answer_says(parts: list[Object]) -> None:
    answer = said(*parts)
    found = events_of(stream(answer))
    blocks: list[Any] = []
    open_blocks = 0
    for one in found:
        match one:
            case BlockStart(index, block):
                assert index == len(blocks)
                blocks.append({name: getattr(block, name) for name in block.__struct_fields__})
                open_blocks += 1
            case Delta(index, kind, text):
                name = {"thinking": "text"}.get(kind, kind)
                blocks[index][name] = (blocks[index][name] or "") + text
            case BlockStop():
                open_blocks -= 1
            case Stop():
                assert open_blocks == 0
            case _:
                pass
    whole = read_answer(answer).choices[0].blocks
    assert blocks == [{name: getattr(block, name) for name in block.__struct_fields__} for block in whole]
