"""Chat clients of Gemini deployments, and google-genai's of others: recorded conversations both ways."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from gatewayd.errors import UpstreamBadResponse
from gatewayd.wire import chat, gemini
from gatewayd.wire.conversation import Answer, ModelTarget, Request, StopReason, TokenUsage
from gatewayd.wire.events import End, StreamError, StreamEvent, UsageReport
from gatewayd.wire.sse_decoder import Decoder
from tests.wire.gemini_cases import (
    CALL,
    CASES,
    SIGNATURE,
    TOOL,
    USAGE,
    USER,
    Case,
    Object,
    called,
    chunks,
    event,
    said,
    stream,
)

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def chat_request(asked: Object, **more: Any) -> Request:
    return chat.read_request(json.dumps({"model": "group", **asked, **more}).encode())


def sent(asked: Object, model: str = "gemini-3-flash") -> Any:
    return json.loads(gemini.write_request(chat_request(asked), ModelTarget(model=model)).body)


def read_answer(answer: Any) -> Answer:
    return gemini.read_answer(json.dumps(answer).encode())


def chat_answer(answer: Any, asked: Object) -> Any:
    return json.loads(chat.write_answer(read_answer(answer), chat_request(asked)))


def events_of(data: bytes) -> list[StreamEvent]:
    decoder, reader = Decoder(), gemini.Reader()
    events: list[StreamEvent] = []
    for one in decoder.feed(data):
        assert one.data is not None
        events += reader.feed(one.type, one.data)
    return events + reader.end()


def chat_stream(events: list[StreamEvent], asked: Object) -> list[Any]:
    """The chunks of the chat stream, without its end mark."""
    writer = chat.Writer(chat_request(asked, stream=True, stream_options={"include_usage": True}))
    lines = b"".join(piece for event in events for piece in writer.feed(event)).split(b"\n\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line and line != b"data: [DONE]"]


def assembled(found: list[Any]) -> tuple[Object, Any]:
    """The message and the finish reason that a client puts together from chunks."""
    message: Object = {"role": "assistant", "content": None}
    finish = None
    for chunk in found:
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for call in value:
                        _add_call(message.setdefault("tool_calls", []), call)
                elif name in ("content", "reasoning_content", "refusal"):
                    message[name] = (message.get(name) or "") + value
                elif isinstance(value, list):
                    message.setdefault(name, []).extend(value)
    return {**message, "content": message["content"] or None}, finish


def _add_call(calls: list[Any], call: Object) -> None:
    index = call.pop("index")
    if index == len(calls):
        calls.append(call)
    else:
        calls[index]["function"]["arguments"] += call["function"]["arguments"]


def without_ids(message: Object) -> Object:
    """Made ids are replaced: `call_` and 24 hexadecimal digits."""
    return json.loads(re.sub(r"call_[0-9a-f]{24}", CALL, json.dumps(message)))  # type: ignore[no-any-return]


# --- chat -> gemini -> chat ---------------------------------------------------------------------------------------


@cases
def test_request(case: Case) -> None:
    assert sent(case.asked, case.model) == case.sent


@cases
def test_whole_answer(case: Case) -> None:
    found = chat_answer(case.answered, case.asked)
    (choice,) = found["choices"]
    assert without_ids(choice["message"]) == case.message
    assert choice["finish_reason"] == case.finish
    assert found["usage"] == case.usage
    assert (found["id"], found["model"]) == ("r1", "gemini-3-flash")


@cases
def test_stream(case: Case) -> None:
    found = chat_stream(events_of(stream(case.answered)), case.asked)
    message, finish = assembled(found)
    assert without_ids(message) == case.message
    assert finish == case.finish
    assert found[-1]["usage"] == case.usage
    assert {chunk["id"] for chunk in found} == {"r1"}


@cases
def test_a_whole_answer_and_its_stream_say_the_same(case: Case) -> None:
    whole = json.loads(chat.write_answer(read_answer(case.answered), chat_request(case.asked)))
    message, _ = assembled(chat_stream(events_of(stream(case.answered)), case.asked))
    assert message == whole["choices"][0]["message"]


def _texts(parts: list[Object]) -> str:
    return "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))


def _calls(parts: list[Object]) -> list[tuple[Any, Any, Any]]:
    calls = [(part["functionCall"], part.get("thoughtSignature")) for part in parts if "functionCall" in part]
    return [(call["name"], call.get("args", {}), signature) for call, signature in calls]


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"blocked answer", "blocked prompt"}))
def test_an_answer_that_is_sent_back(name: str) -> None:
    """What the model said comes back to it as it said it, with its signatures."""
    case = CASES[name]
    (choice,) = chat_answer(case.answered, case.asked)["choices"]
    again = sent({**case.asked, "messages": [*case.asked["messages"], choice["message"], USER]}, case.model)
    turn, before = again["contents"][-2]["parts"], case.answered["candidates"][0]["content"]["parts"]
    assert _texts(turn) == _texts(before)
    assert _calls(turn) == _calls(before)
    assert json.dumps(turn).count(SIGNATURE) == json.dumps(before).count(SIGNATURE)


def test_a_cut_stream_has_no_end() -> None:
    events = events_of(event(said({"text": "It"}, finish=None)))
    assert not any(isinstance(one, End) for one in events)
    assert b"[DONE]" not in b"".join(
        piece for one in events for piece in chat.Writer(chat_request({"messages": [USER]})).feed(one)
    )


def test_a_stream_of_nothing_is_cut() -> None:
    assert gemini.Reader().end() == []
    assert events_of(event({"usageMetadata": USAGE, "responseId": "r1"}))[-1:] != [End()]


def test_an_error_before_the_first_event() -> None:
    error = {"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}}
    expected = StreamError(message="Quota exceeded.", type="RESOURCE_EXHAUSTED", status=429)
    assert events_of(event(error)) == [expected]
    assert events_of(event([error])) == [expected]


def test_an_error_within() -> None:
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    events = events_of(event(said({"text": "It"}, finish=None)) + event(error) + event(said({"text": "more"})))
    assert events[-1] == StreamError(message="Overloaded.", type="UNAVAILABLE", status=503)
    writer = chat.Writer(chat_request({"messages": [USER]}))
    assert b"Overloaded." in [piece for one in events for piece in writer.feed(one)][-1]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b"{}", b'{"candidates":[]}', b'{"candidates":[{"content":3}]}', b'{"candidates":3}']
)
def test_answers_that_are_none(body: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        gemini.read_answer(body)


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"nothing", b'{"candidates":3}', b'{"candidates":[{"content":{"parts":3}}]}']
)
def test_events_that_are_none(data: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        gemini.Reader().feed(b"", data)


# --- what others got wrong ----------------------------------------------------------------------------------------


def test_a_signature_on_a_thought_and_not_on_the_call() -> None:
    answer = said({"text": "Hm.", "thought": True, "thoughtSignature": SIGNATURE}, called("weather", {"city": "Paris"}))
    asked = {"messages": [USER], "tools": [TOOL]}
    (choice,) = chat_answer(answer, asked)["choices"]
    again = sent({**asked, "messages": [USER, choice["message"]]})
    thought, call = again["contents"][1]["parts"]
    assert thought == {"text": "Hm.", "thought": True, "thoughtSignature": SIGNATURE}
    assert "thoughtSignature" not in call  # and no placeholder either: the turn is signed


def test_a_signature_on_an_empty_part_goes_to_the_text_before() -> None:
    answer = said({"text": "Sunny."}, {"text": "", "thoughtSignature": SIGNATURE})
    (block,) = read_answer(answer).choices[0].blocks
    assert (block.text, block.signature) == ("Sunny.", SIGNATURE)  # type: ignore[union-attr]
    again = json.loads(gemini.write_answer(read_answer(answer), chat_request({"messages": [USER]})))
    assert again["candidates"][0]["content"]["parts"] == [{"text": "Sunny.", "thoughtSignature": SIGNATURE}]


def test_the_finish_reason_comes_before_the_last_part() -> None:
    early = said({"text": "Let me see."})
    events = events_of(event(early) + event(said(called("weather", {"city": "Paris"}))))
    message, finish = assembled(chat_stream(events, {"messages": [USER]}))
    assert finish == "tool_calls"
    assert len(message["tool_calls"]) == 1


def test_counts_behind_the_finish_reason() -> None:
    late = {"usageMetadata": {**USAGE, "candidatesTokenCount": 7}, "responseId": "r1"}
    events = events_of(event(said({"text": "Sunny."})) + event(late))
    reports = [one for one in events if isinstance(one, UsageReport)]
    assert [report.usage.output for report in reports] == [4, 7]
    assert isinstance(events[-1], End)


def test_counts_come_with_each_chunk_so_a_left_stream_has_been_counted() -> None:
    reader = gemini.Reader()
    (*_, report) = reader.feed(b"", json.dumps(said({"text": "It"}, finish=None)).encode())
    assert isinstance(report, UsageReport)
    assert (report.usage.input, report.usage.output) == (9, 4)
    again = reader.feed(b"", json.dumps(said({"text": " is"}, finish=None)).encode())
    assert not any(isinstance(one, UsageReport) for one in again)  # the same counts are reported once


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}, (9, 4, None)),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 19},
            (9, 10, 6),
        ),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 10, "thoughtsTokenCount": 6, "totalTokenCount": 19},
            (9, 10, 6),
        ),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 6, "totalTokenCount": 15}, (9, 6, 6)),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 3, "totalTokenCount": 12}, (12, None, None)),
    ],
)
def test_usage(usage: Object, expected: tuple[int, int, int]) -> None:
    counts = read_answer(said({"text": "."}, usage={"promptTokenCount": 9, **usage})).usage
    assert counts is not None
    assert (counts.input, counts.output, counts.reasoning) == expected


def test_what_a_search_found_is_not_billed() -> None:
    usage = {"promptTokenCount": 9, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 16}
    grounded = said({"text": "."}, usage=usage, groundingMetadata={"webSearchQueries": ["weather"]})
    assert (counts := read_answer(grounded).usage) is not None
    assert counts.input == 9
    reports = [one.usage.input for one in events_of(stream(grounded)) if isinstance(one, UsageReport)]
    assert reports[-1] == 9


def test_sources_become_annotations_counted_in_characters() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"other": {}}],
        "groundingSupports": [
            {"segment": {"startIndex": 11, "endIndex": 17}, "groundingChunkIndices": [0, 1, 7]},
            {"segment": {"endIndex": 10}, "groundingChunkIndices": [0]},
        ],
    }
    text = "Füße é. Sunny."
    answer = said({"text": text}, groundingMetadata=grounding)
    (choice,) = chat_answer(answer, {"messages": [USER]})["choices"]
    places = [
        text[note["url_citation"]["start_index"] : note["url_citation"]["end_index"]]
        for note in choice["message"]["annotations"]
    ]
    assert places == ["Sunny.", "Füße é."]
    message, _ = assembled(chat_stream(events_of(stream(answer)), {"messages": [USER]}))
    assert message["annotations"] == choice["message"]["annotations"]


def test_logprobs() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "a", "logProbability": -2}]}
        ],
    }
    answer = said({"text": "é"}, logprobsResult=result)
    (choice,) = chat_answer(answer, {"messages": [USER]})["choices"]
    (token,) = choice["logprobs"]["content"]
    assert (token["token"], token["logprob"], token["bytes"]) == ("é", -0.5, [195, 169])
    assert [top["token"] for top in token["top_logprobs"]] == ["é", "a"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("RECITATION", StopReason.CONTENT_FILTER),
        ("SPII", StopReason.CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", StopReason.FAULT),
        ("FINISH_REASON_UNSPECIFIED", StopReason.END),
        ("SOMETHING_NEW", StopReason.END),
        (None, StopReason.END),
    ],
)
def test_reasons_to_finish(finish: str | None, reason: StopReason) -> None:
    assert read_answer(said({"text": "."}, finish=finish)).choices[0].stop is reason


def test_parts_that_only_gemini_has_are_kept_for_gemini() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": SIGNATURE}
    answer = said(code, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, {"text": "One."})
    again = json.loads(gemini.write_answer(read_answer(answer), chat_request({"messages": [USER]})))
    assert again == answer
    (choice,) = chat_answer(answer, {"messages": [USER]})["choices"]
    assert choice["message"]["content"] == "One."


# --- google-genai's clients ---------------------------------------------------------------------------------------


@cases
def test_an_answer_of_gemini_s_stays_as_it_is(case: Case) -> None:
    request = gemini.read_request(json.dumps(case.sent).encode(), model="m")
    again = json.loads(gemini.write_answer(read_answer(case.answered), request))
    assert read_answer(again) == read_answer(case.answered) or again == case.answered


def _joined(found: list[Object]) -> list[Object]:
    """The parts of all chunks, pieces of text put together."""
    parts: list[Object] = []
    for chunk in found:
        for candidate in chunk.get("candidates", ()):
            for part in candidate["content"]["parts"]:
                kind = {key: value for key, value in part.items() if key != "text"}
                if part == {"text": ""}:
                    continue
                last = parts[-1] if parts else {}
                if "text" in part and "text" in last and {**last, "text": ""} == {**kind, "text": ""}:
                    last["text"] += part["text"]
                elif part.get("text") == "" and "text" in last and "thoughtSignature" not in last:
                    last.update(kind)
                else:
                    parts.append(dict(part))
    return parts


@cases
def test_a_stream_of_gemini_s_says_the_same(case: Case) -> None:
    request = gemini.read_request(json.dumps(case.sent).encode(), model="m", stream=True)
    writer = gemini.Writer(request)
    written = b"".join(piece for one in events_of(stream(case.answered)) for piece in writer.feed(one))
    found = [json.loads(line.removeprefix(b"data: ")) for line in written.split(b"\r\n\r\n") if line]
    whole = json.loads(gemini.write_answer(read_answer(case.answered), request))
    assert _joined(found) == _joined([whole])
    assert found[-1]["usageMetadata"] == whole["usageMetadata"]
    assert found[-1].get("promptFeedback") == whole.get("promptFeedback")
    if "candidates" in whole:
        assert found[-1]["candidates"][0]["finishReason"] == whole["candidates"][0]["finishReason"]
    assert all(line.startswith(b"data: {") for line in written.splitlines() if line)


CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 5,
    "model": "gpt-5.4",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Let me see.",
                "reasoning_content": "Hm.",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{\n "city": "Paris"}'},
                    },
                    {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": ""}},
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}
GEMINI_ANSWER = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "Let me see."},
                    {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Paris"}}},
                    {"functionCall": {"id": "call_2", "name": "clock", "args": {}}},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": USAGE,
    "modelVersion": "gpt-5.4",
    "responseId": "chatcmpl-1",
}


def genai_request(**fields: Any) -> Request:
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}
    return gemini.read_request(json.dumps(body).encode(), model="m")


def test_a_chat_answer_for_google_genai() -> None:
    answer = chat.read_answer(json.dumps(CHAT_ANSWER).encode())
    assert json.loads(gemini.write_answer(answer, genai_request())) == GEMINI_ANSWER


def test_a_chat_stream_for_google_genai() -> None:
    reader, writer = chat.Reader(), gemini.Writer(genai_request())
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "gpt-5.4"}
    message: Any = CHAT_ANSWER["choices"][0]["message"]  # type: ignore[index]
    calls = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
    deltas: list[Any] = [
        {"role": "assistant", "reasoning_content": "Hm."},
        {"content": "Let me"},
        {"content": " see."},
        {"tool_calls": calls[:1]},
        {"tool_calls": calls[1:]},
    ]
    found = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    found.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    found.append({**head, "choices": [], "usage": CHAT_ANSWER["usage"]})
    pieces: list[bytes] = []
    for chunk in found:
        pieces += [piece for one in reader.feed(b"", json.dumps(chunk).encode()) for piece in writer.feed(one)]
    pieces += [piece for one in reader.feed(b"", b"[DONE]") + reader.end() for piece in writer.feed(one)]
    written = [json.loads(piece.removeprefix(b"data: ")) for piece in pieces]
    assert _joined(written) == _joined([GEMINI_ANSWER])
    assert written[-1]["usageMetadata"] == USAGE
    assert all(b"\n" not in piece.removesuffix(b"\r\n\r\n") for piece in pieces)


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        (StopReason.LENGTH, "MAX_TOKENS"),
        (StopReason.CONTENT_FILTER, "SAFETY"),
        (StopReason.REFUSAL, "SAFETY"),
        (StopReason.STOP_SEQUENCE, "STOP"),
        (StopReason.FAULT, "OTHER"),
        (StopReason.CONTEXT_WINDOW, "MAX_TOKENS"),
        (StopReason.PAUSE, "STOP"),
    ],
)
def test_reasons_for_google_genai(stop: StopReason, finish: str) -> None:
    answer = chat.read_answer(json.dumps(CHAT_ANSWER).encode())
    (choice,) = answer.choices
    changed = msgspec.structs.replace(answer, choices=(msgspec.structs.replace(choice, stop=stop),))
    assert json.loads(gemini.write_answer(changed, genai_request()))["candidates"][0]["finishReason"] == finish


def test_counts_for_google_genai() -> None:
    answer = chat.read_answer(json.dumps(CHAT_ANSWER).encode())
    usage = TokenUsage(input=9, output=10, reasoning=6, cache_read=3)
    written = json.loads(gemini.write_answer(msgspec.structs.replace(answer, usage=usage), genai_request()))
    assert written["usageMetadata"] == {
        "promptTokenCount": 9,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 6,
        "totalTokenCount": 19,
        "cachedContentTokenCount": 3,
    }


def test_a_broken_stream_for_google_genai() -> None:
    writer = gemini.Writer(genai_request())
    piece = writer.error(StreamError(message="cut", status=502))
    assert piece.startswith(b'data: {"error":')  # what google-genai looks for
    assert json.loads(piece.removeprefix(b"data: "))["error"] == {
        "code": 502,
        "message": "cut",
        "status": "UNAVAILABLE",
    }
    assert writer.feed(End()) == []


def test_chunks_are_those_of_the_answer() -> None:
    assert len(chunks(CASES["thinking"].answered)) == 3


def test_a_name_with_a_dot_comes_back_from_an_api_that_takes_none() -> None:
    tools = [{"functionDeclarations": [{"name": "a.b"}]}]
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": tools}
    request = gemini.read_request(json.dumps(body).encode(), model="m")
    written = json.loads(chat.write_request(request, ModelTarget(model="m")).body)
    name = written["tools"][0]["function"]["name"]
    assert "." not in name
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    whole = json.loads(gemini.write_answer(chat.read_answer(json.dumps(answer).encode()), request))
    assert whole["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "a.b"
    piece = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}]}
    reader, writer = chat.Reader(), gemini.Writer(request)
    events = [*reader.feed(b"", json.dumps(piece).encode()), *reader.feed(b"", b"[DONE]")]
    assert b'"name":"a.b"' in b"".join(data for event in events for data in writer.feed(event))
