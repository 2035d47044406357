"""Requests of the Gemini API: what google-genai sends, and what is written for each kind of model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import InvalidJson, InvalidRequest
from gatewayd.wire import chat, gemini
from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    CacheMark,
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
from tests.wire.gemini_cases import PNG, SCHEMA, SIGNATURE, TOOL, USER, Object

FLASH3, PRO3, FLASH25, OLD = "gemini-3-flash", "gemini-3.1-pro-preview", "gemini-2.5-flash", "gemini-1.5-pro"
PLACEHOLDER = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="


def written(request: Request, model: str = FLASH3, **target: Any) -> WrittenRequest:
    return gemini.write_request(request, ModelTarget(model=model, **target))


def body_of(request: Request, model: str = FLASH3, **target: Any) -> Any:
    return json.loads(written(request, model, **target).body)


def from_chat(**fields: Any) -> Request:
    return chat.read_request(json.dumps({"model": "group", "messages": [USER], **fields}).encode())


def from_genai(**fields: Any) -> Request:
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}
    return gemini.read_request(json.dumps(body).encode(), model="m")


def turns(*blocks: Block, role: Any = "user") -> Request:
    return Request(dialect="messages", model="m", turns=(Turn(role, blocks),))


def parts(*blocks: Block, model: str = FLASH3, role: Any = "user") -> list[Object]:
    contents = body_of(turns(*blocks, role=role), model)["contents"]
    return [part for content in contents for part in content["parts"]]


# --- write(read(x)) -----------------------------------------------------------------------------------------------

_words = st.text(min_size=1, max_size=8)
_names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


def _some(required: Object, optional: Object | None = None) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(required, optional=optional or {})


_text = _some({"text": _words}, {"partMetadata": st.just({"a": 1.5})})
_media = _some(
    {"inlineData": _some({"mimeType": st.sampled_from(["image/png", "audio/wav", "video/mp4"]), "data": st.just(PNG)})},
    {"videoMetadata": st.just({"fps": 2})},
) | _some({"fileData": _some({"mimeType": st.just("video/mp4"), "fileUri": st.just("gs://b/a.mp4")})})
_arguments = st.dictionaries(_names, _words | st.integers() | st.none(), max_size=2)
_signed = {"thoughtSignature": st.just(SIGNATURE)}
_said = st.one_of(
    _some({"text": _words}, _signed),
    _some({"text": _words, "thought": st.just(True)}, _signed),
    _some({"functionCall": _some({"id": _names, "name": _names, "args": _arguments})}, _signed),
    _some({"executableCode": st.just({"language": "PYTHON", "code": "1"})}, _signed),
)
_result = _some(
    {
        "functionResponse": _some(
            {
                "id": _names,
                "name": _names,
                "response": _arguments
                | _some({"output": _words})
                | _some({"error": _words})
                | _some({"result": _words}),
            },
            {"willContinue": st.just(False), "parts": st.lists(_media, min_size=1, max_size=1)},
        )
    }
)


def _content(role: str, part: st.SearchStrategy[Object]) -> st.SearchStrategy[Object]:
    return _some({"role": st.just(role), "parts": st.lists(part, min_size=1, max_size=3)})


_config = _some(
    {},
    {
        "temperature": st.just(0.5), "topP": st.just(0.25), "topK": st.just(40), "candidateCount": st.just(2),
        "maxOutputTokens": st.integers(1, 9), "stopSequences": st.just(["x"]), "seed": st.integers(-5, 5),
        "responseLogprobs": st.booleans(), "logprobs": st.integers(0, 5), "speechConfig": st.just({"voiceConfig": {}}),
        "responseModalities": st.just(["TEXT", "AUDIO"]), "mediaResolution": st.just("MEDIA_RESOLUTION_LOW"),
        "thinkingConfig": _some({"includeThoughts": st.booleans()}, {"thinkingLevel": st.just("low")}),
    },
)  # fmt: skip
_function = _some(
    {"name": _names}, {"description": _words, "parametersJsonSchema": st.just(SCHEMA), "behavior": st.just("BLOCKING")}
)
_group: st.SearchStrategy[Object] = st.lists(_function, min_size=1, max_size=2).map(
    lambda found: {"functionDeclarations": found}
)
_servers: st.SearchStrategy[Object] = st.sampled_from([{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}])
_tools: st.SearchStrategy[list[Object]] = st.builds(lambda group, server: [group, server], _group, _servers)
_requests = _some(
    {
        "contents": st.tuples(
            _content("user", _text | _media), _content("model", _said), _content("user", _result)
        ).map(list)
    },
    {
        "systemInstruction": _some({"parts": st.lists(_text, min_size=1, max_size=2)}),
        "tools": _tools,
        "toolConfig": st.just({"retrievalConfig": {"languageCode": "de"}}),
        "generationConfig": _config.filter(bool),
        "safetySettings": st.just([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]),
        "cachedContent": st.just("cachedContents/1"),
        "labels": st.just({"team": "a"}),
        "serviceTier": st.sampled_from(["standard", "flex"]),
    },
)


def _plain(request: Object) -> Object:
    """Without the placeholder, which is added to a call that nobody has signed."""
    return json.loads(json.dumps(request).replace(f', "thoughtSignature": "{PLACEHOLDER}"', ""))  # type: ignore[no-any-return]


@given(_requests)
def test_a_request_is_written_as_it_was_read(request: Object) -> None:
    read = gemini.read_request(json.dumps(request).encode(), model="m")
    assert _plain(body_of(read)) == request
    assert written(read).dropped == ()


def _snake(value: Any) -> Any:
    if isinstance(value, list):
        return [_snake(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = ("args", "response", "parametersJsonSchema", "partMetadata")
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in key): one if key in kept else _snake(one)
        for key, one in value.items()
    }


@given(_some({"contents": st.lists(_content("model", _said), min_size=1)}, {"generationConfig": _config}))
def test_names_in_snake_case_are_the_same(request: Object) -> None:
    read = [gemini.read_request(json.dumps(one).encode(), model="m") for one in (request, _snake(request))]
    assert (read[0].turns, read[0].sampling, read[0].reasoning) == (read[1].turns, read[1].sampling, read[1].reasoning)


# --- reading ------------------------------------------------------------------------------------------------------


def test_schemas_of_google_genai() -> None:
    subset = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    read = from_genai(
        tools=[{"functionDeclarations": [{"name": "f", "parameters": subset}]}],
        generationConfig={"responseMimeType": "application/json", "responseSchema": subset},
    )
    expected = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    (tool,) = read.tools or ()
    assert isinstance(tool, FunctionTool)
    assert json.loads(bytes(tool.parameters or b"")) == expected
    assert read.output is not None
    assert json.loads(bytes(read.output.schema or b"")) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mode": "AUTO"}, ToolChoice(mode="auto")),
        ({"mode": "none"}, ToolChoice(mode="none")),
        ({"mode": "ANY"}, ToolChoice(mode="required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice(mode="named", named=ToolName("f"))),
        (
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
            ToolChoice(mode="required", allowed=(ToolName("f"), ToolName("g"))),
        ),
        ({}, ToolChoice(mode="auto")),
    ],
)
def test_tool_choice(config: Object, expected: ToolChoice) -> None:
    assert from_genai(toolConfig={"functionCallingConfig": config}).tool_choice == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"thinkingBudget": 0}, Reasoning(mode="disabled", display="omitted")),
        ({"thinkingBudget": -1, "includeThoughts": True}, Reasoning(mode="adaptive", display="summarized")),
        ({"thinkingBudget": 500}, Reasoning(mode="enabled", budget=500, display="omitted")),
        ({"thinkingLevel": "HIGH"}, Reasoning(effort="high", display="omitted")),
    ],
)
def test_thinking_config(config: Object, expected: Reasoning) -> None:
    assert from_genai(generationConfig={"thinkingConfig": config}).reasoning == expected


def test_calls_without_ids_get_them_by_their_order() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    result = {"functionResponse": {"name": "f", "response": {"output": "1"}}}
    other = {"functionCall": {"name": "g"}}
    contents = [
        {"role": "model", "parts": [call, other, call]},
        {"role": "function", "parts": [result, {"functionResponse": {"name": "g", "response": {}}}, result]},
        {"role": "user", "parts": [result]},
    ]
    read = gemini.read_request(json.dumps({"contents": contents}).encode(), model="m")
    calls = [block.call_id for block in read.turns[0].blocks if isinstance(block, ToolUseBlock)]
    results = [block.call_id for turn in read.turns[1:] for block in turn.blocks if isinstance(block, ToolResultBlock)]
    assert len(set(calls)) == 3
    assert results[:3] == calls
    assert results[3] not in calls


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "a"}, "a", None),
        ({"result": "a"}, "a", None),
        ({"output": {"a": 1.0}}, '{"a": 1.0}', None),
        ({"error": "no"}, "no", True),
        ({"a": 1, "b": 2}, '{"a": 1, "b": 2}', None),
        ({}, "{}", None),
    ],
)
def test_results(response: Object, text: str, is_error: bool | None) -> None:
    contents = [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": response}}]}]
    (turn,) = gemini.read_request(json.dumps({"contents": contents}).encode(), model="m").turns
    (block,) = turn.blocks
    assert isinstance(block, ToolResultBlock)
    assert ("".join(one.text for one in block.blocks if isinstance(one, TextBlock)), block.is_error) == (text, is_error)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": 3}, "contents"),
        ({"contents": [{"role": "nobody"}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"text": 3}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [{"parts": [{"file_data": {}}]}]}, "contents[0].parts[0].fileData.fileUri"),
        ({"contents": [{"parts": [{"functionCall": 1}]}]}, "contents[0].parts[0].functionCall"),
        (
            {"contents": [{"parts": [{"functionResponse": {"response": 1}}]}]},
            "contents[0].parts[0].functionResponse.response",
        ),
        ({"contents": [], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"contents": [], "toolConfig": {"functionCallingConfig": {"mode": "X"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"contents": [], "generationConfig": {"temperature": "x"}}, "generationConfig.temperature"),
        (
            {"contents": [], "generationConfig": {"responseMimeType": "text/x.enum"}},
            "generationConfig.responseMimeType",
        ),
    ],
)
def test_bad_requests_name_the_field(body: Object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gemini.read_request(json.dumps(body).encode(), model="m")
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"contents": "\xff"}'])
def test_no_json(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        gemini.read_request(body, model="m")


def test_what_only_gemini_knows_is_named_or_refused_elsewhere() -> None:
    request = from_genai(safetySettings=[], generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW", "topK": 4})
    dropped = chat.write_request(request, ModelTarget(model="m", drop_params=True)).dropped
    assert {"safetySettings", "generationConfig.mediaResolution", "generationConfig.topK"} <= set(dropped)
    with pytest.raises(InvalidRequest, match="'cachedContent'"):
        chat.write_request(from_genai(cachedContent="c"), ModelTarget(model="m"))


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        (FLASH3, "none", {"includeThoughts": False, "thinkingLevel": "minimal"}),
        (PRO3, "none", {"includeThoughts": False, "thinkingLevel": "low"}),
        (FLASH3, "minimal", {"includeThoughts": True, "thinkingLevel": "minimal"}),
        (PRO3, "minimal", {"includeThoughts": True, "thinkingLevel": "low"}),
        (PRO3, "medium", {"includeThoughts": True, "thinkingLevel": "medium"}),
        (PRO3, "xhigh", {"includeThoughts": True, "thinkingLevel": "high"}),
        ("gemini-flash-latest", "high", {"includeThoughts": True, "thinkingLevel": "high"}),
        (FLASH25, "none", {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", "none", {"includeThoughts": False, "thinkingBudget": 0}),
        (FLASH25, "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        (FLASH25, "medium", {"includeThoughts": True, "thinkingBudget": 8192}),
        (FLASH25, "max", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("publishers/google/models/gemini-2.5-pro", "max", {"includeThoughts": True, "thinkingBudget": 32768}),
        ("1234567890", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
    ],
)
def test_effort(model: str, effort: str, expected: Object) -> None:
    body = body_of(from_chat(reasoning_effort=effort), model)
    assert body["generationConfig"]["thinkingConfig"] == expected


@pytest.mark.parametrize(
    ("model", "thinking", "expected"),
    [
        (FLASH25, {"type": "enabled", "budget_tokens": 31999}, {"includeThoughts": True, "thinkingBudget": 24576}),
        (FLASH25, {"type": "adaptive"}, {"includeThoughts": True, "thinkingBudget": -1}),
        (FLASH25, {"type": "adaptive", "display": "omitted"}, {"includeThoughts": False, "thinkingBudget": -1}),
        (FLASH25, {"type": "disabled"}, {"includeThoughts": False, "thinkingBudget": 0}),
        (
            "gemini-2.5-flash-lite",
            {"type": "enabled", "budget_tokens": 100},
            {"includeThoughts": True, "thinkingBudget": 512},
        ),
        (FLASH3, {"type": "adaptive"}, {"includeThoughts": True}),
        (FLASH3, {"type": "enabled", "budget_tokens": 4096}, {"includeThoughts": True, "thinkingLevel": "high"}),
    ],
)
def test_thinking_of_anthropic_s_clients(model: str, thinking: Object, expected: Object) -> None:
    assert body_of(from_chat(thinking=thinking), model)["generationConfig"]["thinkingConfig"] == expected


@pytest.mark.parametrize(("model", "target"), [("gemini-2.0-flash", {}), (FLASH3, {"reasons": False})])
def test_models_that_cannot_think(model: str, target: Any) -> None:
    request = from_chat(reasoning_effort="high")
    assert "generationConfig" not in body_of(request, model, **target)
    assert written(request, model, **target).dropped == ("reasoning_effort",)


def test_a_responses_client_sees_thoughts_if_it_asked_for_a_summary() -> None:
    for summary, shown in ((None, False), ("auto", True)):
        reasoning = Reasoning(effort="low", summary=summary)
        request = Request(dialect="responses", model="m", turns=(), reasoning=reasoning)
        assert body_of(request)["generationConfig"]["thinkingConfig"]["includeThoughts"] is shown


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"n": 2, "stop": "x", "top_p": 0.5}, {"candidateCount": 2, "stopSequences": ["x"], "topP": 0.5}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"seed": 2**40 + 3}, {"seed": 3}),
        ({"seed": -5}, {"seed": -5}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        ({"response_format": {"type": "text"}}, {"responseMimeType": "text/plain"}),
        ({"top_k": 5}, {"topK": 5}),
    ],
)
def test_configuration(fields: Object, config: Object) -> None:
    assert body_of(from_chat(**fields))["generationConfig"] == config


def test_penalties_are_for_models_before_3() -> None:
    request = from_chat(presence_penalty=0.5)
    assert body_of(request, FLASH25)["generationConfig"] == {"presencePenalty": 0.5}
    assert written(request, FLASH3).dropped == ("presence_penalty",)


def test_fields_that_cannot_be_said() -> None:
    request = from_chat(
        user="u", metadata={"a": "b"}, store=True, verbosity="low", prompt_cache_key="k", safety_identifier="s",
        parallel_tool_calls=False, service_tier="auto", min_p=0.5, anything=1,
    )  # fmt: skip
    assert set(written(request).dropped) == {
        "user", "metadata", "store", "verbosity", "prompt_cache_key", "safety_identifier", "parallel_tool_calls",
        "service_tier", "min_p", "anything",
    }  # fmt: skip
    assert body_of(from_chat(service_tier="default"))["serviceTier"] == "standard"


@pytest.mark.parametrize(("fields", "param"), [({"logit_bias": {"1": 2}}, "logit_bias"), ({"audio": {}}, "audio")])
def test_fields_that_are_refused(fields: Object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        written(from_chat(**fields))
    assert caught.value.param == param
    assert written(from_chat(**fields), drop_params=True).dropped == (param,)


def test_a_previous_response_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="previous_id"):
        written(Request(dialect="responses", model="m", turns=(), previous_id="r"))


def test_schemas_by_model() -> None:
    request = from_chat(tools=[TOOL])
    (function,) = body_of(request, OLD)["tools"][0]["functionDeclarations"]
    assert function["parameters"] == {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING"}},
        "required": ["city"],
    }
    for model in (FLASH25, FLASH3, "1234567890"):
        (function,) = body_of(request, model)["tools"][0]["functionDeclarations"]
        assert function["parametersJsonSchema"] == SCHEMA


def test_keywords_that_are_lost_are_named() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 2}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    assert written(from_chat(tools=[tool]), OLD).dropped == ("tools.parameters.multipleOf", "tools.strict")
    assert written(from_chat(tools=[tool]), FLASH3).dropped == ("tools.strict",)


def _server(kind: str, dialect: Any = "messages") -> ServerTool:
    return ServerTool(dialect=dialect, type=kind, raw=as_json({kind: {}}))


def test_tools_of_providers() -> None:
    function = FunctionTool(name="f")
    request = Request(dialect="messages", model="m", turns=(), tools=(_server("web_search_20250305"), _server("mcp")))
    assert body_of(request)["tools"] == [{"googleSearch": {}}]
    assert written(request).dropped == ("tools.mcp",)
    mixed = Request(
        dialect="responses", model="m", turns=(), tools=(function, _server("web_search", "responses"), function)
    )
    assert body_of(mixed)["tools"] == [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]
    assert written(mixed).dropped == ("tools.web_search",)
    own = Request(dialect="gemini", model="m", turns=(), tools=(function, _server("googleMaps", "gemini"), function))
    assert body_of(own)["tools"] == [
        {"functionDeclarations": [{"name": "f"}]},
        {"googleMaps": {}},
        {"functionDeclarations": [{"name": "f"}]},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (
            ToolChoice(mode="named", named=ToolName("f", namespace="n")),
            {"mode": "ANY", "allowedFunctionNames": ["n__f"]},
        ),
        (ToolChoice(mode="required", allowed=(ToolName("f"),)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="auto", allowed=(ToolName("f"),)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_written_tool_choice(choice: ToolChoice, expected: Object) -> None:
    request = Request(
        dialect="responses", model="m", turns=(), tools=(FunctionTool(name="f", namespace="n"),), tool_choice=choice
    )
    body = body_of(request)
    assert body["toolConfig"]["functionCallingConfig"] == expected
    assert body["tools"][0]["functionDeclarations"][0]["name"] == "n__f"


def test_a_choice_without_tools() -> None:
    request = Request(dialect="chat", model="m", turns=(), tool_choice=ToolChoice(mode="required"))
    assert written(request).dropped == ("tool_choice",)
    named = ToolChoice(mode="named", named=ToolName("web_search", "server"))
    with pytest.raises(InvalidRequest, match="tool_choice"):
        written(Request(dialect="responses", model="m", turns=(), tools=(FunctionTool(name="f"),), tool_choice=named))


def test_custom_tools_take_one_string() -> None:
    request = Request(dialect="responses", model="m", turns=(), tools=(CustomTool(name="patch", format=as_json({})),))
    (function,) = body_of(request)["tools"][0]["functionDeclarations"]
    assert function["parametersJsonSchema"]["required"] == ["input"]
    assert written(request).dropped == ("tools.format",)
    (part,) = parts(ToolUseBlock(call_id="a", name="patch", arguments="*** Begin", kind="custom"), role="assistant")
    assert part["functionCall"]["args"] == {"input": "*** Begin"}


@pytest.mark.parametrize("arguments", ["{", "[1]", "3", '"a"'])
def test_arguments_that_are_no_object(arguments: str) -> None:
    (part,) = parts(ToolUseBlock(call_id="a", name="f", arguments=arguments), role="assistant")
    assert part["functionCall"]["args"] == {"arguments": arguments}


def test_ids_of_calls_by_model() -> None:
    call, result = ToolUseBlock(call_id="a", name="f"), ToolResultBlock(call_id="a", blocks=(TextBlock("1"),))
    request = Request(dialect="messages", model="m", turns=(Turn("assistant", (call,)), Turn("user", (result,))))
    for model, has_ids in ((FLASH3, True), (FLASH25, False)):
        text = json.dumps(body_of(request, model))
        assert ('"id": "a"' in text) is has_ids
        assert '"name": "f", "response": {"output": "1"}' in text


def test_the_placeholder_is_for_the_turn_at_hand() -> None:
    def call(name: str, signature: str | None = None) -> ToolUseBlock:
        return ToolUseBlock(call_id=name, name=name, signature=signature)

    conversation = (
        Turn("user", (TextBlock("one"),)),
        Turn("assistant", (call("a"),)),
        Turn("user", (ToolResultBlock(call_id="a"), TextBlock("two"))),
        Turn("assistant", (TextBlock("hm"), call("b"), call("c"))),
        Turn("user", (ToolResultBlock(call_id="b"), ToolResultBlock(call_id="c"))),
        Turn("assistant", (call("d", SIGNATURE), call("e"))),
    )
    request = Request(dialect="messages", model="m", turns=conversation)
    for model, expected in (
        (FLASH3, [None, PLACEHOLDER, None, SIGNATURE, None]),
        (FLASH25, [None, None, None, SIGNATURE, None]),
    ):
        found = [part for content in body_of(request, model)["contents"] for part in content["parts"]]
        assert [part.get("thoughtSignature") for part in found if "functionCall" in part] == expected


def test_results_stay_apart_from_words() -> None:
    request = turns(ToolResultBlock(call_id="a", name="f"), TextBlock("go on"), TextBlock(""))
    assert [[list(part) for part in content["parts"]] for content in body_of(request)["contents"]] == [
        [["functionResponse"]],
        [["text"]],
    ]


def test_results_with_images_and_errors() -> None:
    result = ToolResultBlock(
        call_id="a", name="f", blocks=(TextBlock("no"), ImageBlock(data=PNG, media_type="image/png")), is_error=True
    )
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    (part,) = parts(result)
    assert part["functionResponse"]["response"] == {"error": "no"}
    assert part["functionResponse"]["parts"] == [image]
    first, second = parts(result, model=FLASH25)
    assert "parts" not in first["functionResponse"]
    assert second == image


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            ImageBlock(url="https://a.example/b.webp?c=d"),
            {"fileData": {"fileUri": "https://a.example/b.webp?c=d", "mimeType": "image/webp"}},
        ),
        (ImageBlock(url="https://a.example/b"), {"fileData": {"fileUri": "https://a.example/b"}}),
        (ImageBlock(data=PNG, media_type="image/jpg"), {"inlineData": {"mimeType": "image/jpeg", "data": PNG}}),
        (FileBlock(url="gs://b/a.mp4"), {"fileData": {"fileUri": "gs://b/a.mp4", "mimeType": "video/mp4"}}),
        (FileBlock(data=PNG, name="a.csv"), {"inlineData": {"mimeType": "text/csv", "data": PNG}}),
        (FileBlock(text="words"), {"text": "words"}),
        (AudioBlock(data=PNG, media_type="audio/mpeg"), {"inlineData": {"mimeType": "audio/mp3", "data": PNG}}),
        (AudioBlock(audio_id="a", transcript="said"), {"text": "said"}),
        (RefusalBlock("no"), {"text": "no"}),
        (
            RawBlock(dialect="gemini", type="executableCode", raw=as_json({"executableCode": {}})),
            {"executableCode": {}},
        ),
    ],
)
def test_blocks(block: Block, expected: Object) -> None:
    assert parts(block) == [expected]


@pytest.mark.parametrize("block", [ImageBlock(file_id="file-1"), FileBlock(file_id="file-1"), AudioBlock(audio_id="a")])
def test_files_of_others_are_refused(block: Block) -> None:
    with pytest.raises(InvalidRequest, match="refers to a file"):
        written(turns(block))
    assert written(turns(block), drop_params=True).dropped == ("messages",)


def test_context_of_a_document_stands_before_it() -> None:
    block = FileBlock(data=PNG, media_type="application/pdf", context="From 2020.", cite=True)
    assert [list(part) for part in parts(block)] == [["text"], ["inlineData"]]
    assert written(turns(block)).dropped == ("messages.citations",)


@pytest.mark.parametrize(
    ("block", "dropped"),
    [
        (TextBlock("a", cache=CacheMark()), "messages.cache_control"),
        (ThinkingBlock(text="a", signature="s", origin="messages"), "messages.thinking"),
        (ThinkingBlock(encrypted="s", origin="responses"), "messages.thinking"),
        (RedactedThinkingBlock(data="a"), "messages.thinking"),
        (RawBlock(dialect="messages", type="server_tool_use", raw=as_json({})), "messages.server_tool_use"),
    ],
)
def test_blocks_that_are_dropped_and_named(block: Block, dropped: str) -> None:
    assert written(turns(block, role="assistant")).dropped == (dropped,)


def test_thoughts_of_unknown_origin_are_sent() -> None:
    assert parts(ThinkingBlock(summary=("a", "b")), role="assistant") == [{"text": "a\n\nb", "thought": True}]


def test_resolution_of_images_by_model() -> None:
    blocks = (
        ImageBlock(data=PNG, detail="low"),
        ImageBlock(data=PNG, detail="high"),
        ImageBlock(data=PNG, detail="auto"),
    )
    body = body_of(turns(*blocks), FLASH25)
    assert body["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}
    levels = [part.get("mediaResolution", {}).get("level") for part in parts(*blocks)]
    assert levels == ["MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_HIGH", None]


def test_system_alone_is_asked_as_the_user_s_words() -> None:
    request = from_chat(messages=[{"role": "system", "content": "Say hi."}])
    assert body_of(request) == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


def test_a_system_turn_in_the_middle_keeps_its_place() -> None:
    request = from_chat(
        messages=[USER, {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "ok"}]
    )
    assert [content["role"] for content in body_of(request)["contents"]] == ["user", "model"]
    assert body_of(request)["contents"][0]["parts"][1] == {"text": "<system>\nBe brief.\n</system>"}


def test_pieces_of_streamed_arguments_are_not_asked_for() -> None:
    config = {"functionCallingConfig": {"mode": "AUTO", "streamFunctionCallArguments": True}}
    request = from_genai(tools=[{"functionDeclarations": [{"name": "f"}]}], toolConfig=config)
    assert body_of(request)["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}


# --- through Gemini and back: what chat and Gemini can both say survives -------------------------------------------

_call = st.builds(
    lambda name, call_id, arguments: {
        "id": f"call_{call_id}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, separators=(",", ":"))},
    },
    _names,
    _names,
    _arguments,
)
_chat_parts = st.lists(
    st.one_of(
        _some({"type": st.just("text"), "text": _words}),
        _some(
            {
                "type": st.just("image_url"),
                "image_url": _some(
                    {"url": st.just(f"data:image/png;base64,{PNG}")}, {"detail": st.sampled_from(["low", "high"])}
                ),
            }
        ),
        st.just({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}),
    ),
    min_size=2,
    max_size=3,
)
_chat_turns = st.lists(
    st.tuples(
        _some({"role": st.just("user"), "content": _words | _chat_parts}),
        _some(
            {"role": st.just("assistant"), "content": _words}, {"tool_calls": st.lists(_call, min_size=1, max_size=2)}
        ),
    ),
    min_size=1,
    max_size=3,
)
_chat_requests = st.tuples(
    _chat_turns,
    _some(
        {"model": st.just("m")},
        {
            "temperature": st.just(0.5), "top_p": st.just(0.25), "n": st.just(2), "max_completion_tokens": st.just(9),
            "stop": st.just(["x"]), "seed": st.integers(0, 9), "logprobs": st.booleans(), "top_logprobs": st.just(2),
            "response_format": st.just({"type": "json_object"}), "tools": st.just([TOOL]),
            "reasoning_effort": st.sampled_from(["low", "medium", "high"]), "modalities": st.just(["text", "image"]),
        },
    ),
)  # fmt: skip


def _chat_request(turns: list[tuple[Object, Object]], fields: Object) -> Object:
    """The turns as a conversation: the result of each call follows it."""
    messages: list[Object] = [{"role": "system", "content": "s"}]
    for at, (asked, answered) in enumerate(turns):
        for number, call in enumerate(answered.get("tool_calls", ())):
            call["id"] = f"{call['id']}_{at}_{number}"
        messages += [asked, answered]
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "r"} for call in answered.get("tool_calls", ())
        ]
    return {"messages": messages, **fields}


@given(_chat_requests.map(lambda found: _chat_request(*json.loads(json.dumps(found)))))
def test_nothing_is_lost_on_the_way_through_gemini(asked: Object) -> None:
    target = ModelTarget(model="m")
    way = body_of(chat.read_request(json.dumps(asked).encode()))
    back = gemini.read_request(json.dumps(way).encode(), model="m")
    found = json.loads(chat.write_request(back, target).body)
    for message in found["messages"]:
        for call in message.get("tool_calls", ()):
            assert call.pop("extra_content", None) in (None, {"google": {"thought_signature": PLACEHOLDER}})
    assert found == json.loads(chat.write_request(chat.read_request(json.dumps(asked).encode()), target).body)
