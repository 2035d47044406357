"""The same conversations through litellm: each difference is a decision, with its reason beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.wire import chat, gemini
from gatewayd.wire.conversation import ModelTarget
from gatewayd.wire.gemini_parts import camel
from tests.wire.dialect_differences import ask_litellm, differences, message_of
from tests.wire.gemini_cases import CASES, PNG, TOOL, USER, Object, said

FLASH3, FLASH25 = "gemini-3-flash-preview", "gemini-2.5-flash"
SYSTEM = {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "Yes."}
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}}
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
NESTED = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "$defs": {"A": {"type": "string", "minLength": 1}},
}

MORE: dict[str, Object] = {
    "sampling": {"messages": [USER], "n": 2, "stop": ["x"], "seed": 7, "top_p": 0.5, "presence_penalty": 0.5},
    "large seed": {"messages": [USER], "seed": 2**40},
    "effort low": {"messages": [USER], "reasoning_effort": "low"},
    "effort none": {"messages": [USER], "reasoning_effort": "none"},
    "budget": {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 2000}},
    "named tool": {
        "messages": [USER],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    },
    "nested schema": {
        "messages": [USER],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": NESTED}}],
    },
    "json object": {"messages": [USER], "response_format": {"type": "json_object"}},
    "system in the middle": {"messages": [SYSTEM, USER, SAID, SYSTEM, USER]},
    "system alone": {"messages": [SYSTEM]},
    "image alone": {"messages": [{"role": "user", "content": [IMAGE]}]},
    "thought and signature": {
        "messages": [USER, {**SAID, "reasoning_content": "Hm.", "provider_specific_fields": {}}, USER]
    },
    "result with an image": {
        "messages": [
            USER,
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "see"}, IMAGE]},
        ]
    },
    "service tier": {"messages": [USER], "service_tier": "flex"},
    "service tier auto": {"messages": [USER], "service_tier": "auto"},
    "logprobs": {"messages": [USER], "logprobs": True, "top_logprobs": 2},
}

REASONS = {
    "temperature 1 is Google's default for these models; what nobody said is not sent": [
        ("sent", FLASH3, "generationConfig"),
        ("sent", FLASH3, "generationConfig.temperature"),
    ],
    "Google reads JSON Schema as it is; the subset that litellm writes loses keywords and references": [
        ("sent", "", "tools[].functionDeclarations[].parameters"),
        ("sent", "", "tools[].functionDeclarations[].parametersJsonSchema"),
    ],
    "a result stays one string: in an object of Google's, whole numbers above 2**53 are rounded": [
        ("sent", "", "contents[].parts[].functionResponse.response.output"),
        ("sent", "", "contents[].parts[].functionResponse.response.content"),
        ("sent", "", "contents[].parts[].functionResponse.response.id"),
    ],
    "a call without arguments has none; litellm makes up `{type: object}`": [
        ("sent", "", "contents[].parts[].functionCall.args.type"),
    ],
    "signatures are also read where Google's own chat API has them; litellm replaces those by the placeholder": [
        ("sent", "", "contents[].parts[].thoughtSignature"),
    ],
    "budgets are those of Google's own chat API: 1024, 8192, 24576": [
        ("sent", FLASH25, "generationConfig.thinkingConfig.thinkingBudget"),
    ],
    "a budget of Anthropic's becomes the level next to it; litellm forgets it": [
        ("sent", FLASH3, "generationConfig.thinkingConfig.thinkingLevel"),
    ],
    "Google's seed has 32 bits; litellm sends what is then refused": [("sent", "", "generationConfig.seed")],
    "a system message keeps its place, and with it the order and the cached prefix; litellm moves it to the start": [
        ("sent", "", "contents[].parts"),
        ("sent", "", "systemInstruction.parts"),
    ],
    "a system prompt alone is asked as the user's words; litellm adds a user who says a full stop": [
        ("sent", "", "contents[].parts[].text"),
        ("sent", "", "systemInstruction"),
    ],
    "models of today take images without text; litellm adds a blank": [("sent", "", "contents[].parts")],
    "`auto` is a project's own choice, not the dearer `priority`": [("sent", "", "serviceTier")],
    "Google answers calls without arguments without `args`; litellm fails": [("answer", "", "failed")],
    "litellm fetches addresses of images by itself; here the upstream's layer decides whether to": [
        ("sent", "", ""),
        ("answer", "", "failed"),
    ],
    "images in a result are shown beside it to models before 3, which refuse `functionResponse.parts`": [
        ("sent", FLASH25, "contents[].parts"),
    ],
    "signatures of calls are where Google's own chat API has them, besides the id": [
        ("answer", "", "message.tool_calls[].extra_content"),
        ("answer", "", "message.tool_calls[].provider_specific_fields"),
        ("answer", "", "message.provider_specific_fields"),
    ],
    "a thought is one block, as in a stream; litellm makes one of each piece": [
        ("answer", "", "message.thinking_blocks"),
    ],
    "the resolution of an image holds in a result too": [
        ("sent", FLASH3, "contents[].parts[].functionResponse.parts[].mediaResolution"),
        ("sent", FLASH25, "generationConfig"),
    ],
    "Google takes a number of likely tokens; litellm has it for Vertex AI only": [
        ("sent", "", "generationConfig.logprobs"),
    ],
    "an answer that was blocked says so in words": [("answer", "", "message.refusal")],
}  # fmt: skip


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {camel(name): _camel(one) for name, one in value.items()}


def _ours(model: str, asked: Object) -> Any:
    request = chat.read_request(json.dumps({"model": "group", **asked}).encode())
    return json.loads(gemini.write_request(request, ModelTarget(model=model, drop_params=True)).body)


def _our_answer(asked: Object, answered: Object) -> Any:
    request = chat.read_request(json.dumps({"model": "group", **asked}).encode())
    return json.loads(chat.write_answer(gemini.read_answer(json.dumps(answered).encode()), request))


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str, str, str]]:
    """Case, kind, model, path of each difference."""
    conversations = {name: (case.asked, case.answered) for name, case in CASES.items()}
    conversations |= {name: (asked, said({"text": "ok"})) for name, asked in MORE.items()}
    cases = [(name, model) for name in conversations for model in (FLASH3, FLASH25)]
    litellm = ask_litellm(
        [
            {"model": f"gemini/{model}", "asked": conversations[name][0], "answered": conversations[name][1]}
            for name, model in cases
        ]
    )
    paths = []
    for (name, model), theirs in zip(cases, litellm, strict=True):
        asked, answered = conversations[name]
        for path in differences(_ours(model, asked), _camel(theirs["sent"])):
            paths.append((name, "sent", model, path))
        if "failed" in theirs:
            paths.append((name, "answer", model, "failed"))
        elif name not in MORE:
            for path in differences(message_of(_our_answer(asked, answered)), message_of(theirs["answer"])):
                paths.append((name, "answer", model, path))
    return paths


def test_each_difference_has_a_reason(found: list[tuple[str, str, str, str]]) -> None:
    decided = [entry for entries in REASONS.values() for entry in entries]
    unexplained = [one for one in found if not any(one[1] == k and m in one[2] and one[3] == p for k, m, p in decided)]
    assert unexplained == [], "\n".join(map(str, unexplained))


def test_each_reason_has_a_difference(found: list[tuple[str, str, str, str]]) -> None:
    for reason, entries in REASONS.items():
        for kind, model, path in entries:
            assert any(one[1] == kind and model in one[2] and one[3] == path for one in found), (reason, path)
