"""The same conversations through litellm: each difference is a decision, with its reason beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.wire import chat, converse
from gatewayd.wire.conversation import ModelTarget
from tests.wire.converse_cases import CASES, chat_call, said
from tests.wire.dialect_differences import ask_litellm, differences, message_of
from tests.wire.gemini_cases import PNG, TOOL, USER, Object

CLAUDE, NOVA = "anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"
SYSTEM = {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "Yes."}
CALLED = {"role": "assistant", "content": None, "tool_calls": [chat_call("a", "weather", '{"city":"Paris"}')]}
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
CACHED = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}

MORE: dict[str, Object] = {
    "sampling": {"messages": [USER], "stop": ["x"], "top_p": 0.5},
    "effort": {"messages": [USER], "reasoning_effort": "low", "max_tokens": 4000},
    "effort without a limit": {"messages": [USER], "reasoning_effort": "high"},
    "named tool": {
        "messages": [USER],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "no tool": {"messages": [USER], "tools": [TOOL], "tool_choice": "none"},
    "strict tool": {"messages": [USER], "tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]},
    "system in the middle": {"messages": [SYSTEM, USER, SAID, SYSTEM, USER]},
    "system alone": {"messages": [SYSTEM]},
    "cached system": {"messages": [{"role": "system", "content": [CACHED]}, USER]},
    "result with an image": {
        "messages": [
            USER,
            CALLED,
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "see"}, IMAGE]},
        ],
        "tools": [TOOL],
    },
    "calls without tools": {"messages": [USER, CALLED, {"role": "tool", "tool_call_id": "a", "content": "sunny"}]},
    "service tier": {"messages": [USER], "service_tier": "flex"},
    "assistant begins": {"messages": [USER, {"role": "assistant", "content": "It is "}]},
}

REASONS: dict[str, list[tuple[str, str, str]]] = {
    "what nobody said is not sent": [("sent", "", "inferenceConfig")],
    "a result without words has none: blank text is refused": [
        ("sent", "", "messages[].content[].toolResult.content"),
    ],
    "a tool needs neither a description nor required arguments": [
        ("sent", "", "toolConfig.tools[].toolSpec.description"),
        ("sent", "", "toolConfig.tools[].toolSpec.inputSchema.json.required"),
    ],
    "Claude refuses `top_k` beside thinking": [("sent", CLAUDE, "additionalModelRequestFields.top_k")],
    "all that is asked is guarded; litellm guards the last message's text only": [
        ("sent", "", "messages[].content[].guardContent"),
        ("sent", "", "messages[].content[].text"),
        ("sent", "", "messages[].content[].cachePoint"),
        ("sent", "", "messages[].content[].image"),
        ("sent", "", "messages[].content[].document"),
    ],
    "Claude is asked which sequence stopped it: messages clients want to know": [
        ("sent", CLAUDE, "additionalModelResponseFieldPaths"),
    ],
    "the API takes temperatures up to 1": [("sent", "", "inferenceConfig.temperature")],
    "the same schema, without blanks": [
        ("sent", CLAUDE, "outputConfig.textFormat.structure.jsonSchema.schema"),
    ],
    "a schema the model cannot be held to is refused, or told with drop_params; litellm asks for a call of a tool": [
        ("sent", NOVA, "toolConfig"),
        ("sent", NOVA, "system"),
    ],
    "a choice of no tool offers none; litellm forgets the choice": [("sent", "", "toolConfig")],
    "a system turn in the middle is marked as such": [("sent", "", "messages[].content")],
    "a system prompt alone is asked as the user's words; litellm refuses it": [
        ("sent", "", ""),
        ("answer", "", "failed"),
    ],
    "calls and results without tools are told in our own words": [("sent", "", "messages[].content[].text")],
    "the beginning of an answer may not end in white space": [("sent", "", "messages[].content[].text")],
    "the total is the sum; what came from a cache is in it": [("answer", "", "usage.total_tokens")],
    "thoughts are in `thinking_blocks`, once": [("answer", "", "message.provider_specific_fields")],
    "images of an answer are shown": [("answer", "", "message.images")],
    "an answer that was blocked says so in words": [("answer", "", "message.refusal")],
}


def _ours(model: str, asked: Object) -> Any:
    request = chat.read_request(json.dumps({"model": "group", **asked}).encode())
    structured = model == CLAUDE
    target = ModelTarget(model=model, drop_params=True, structured_output=structured)
    return json.loads(converse.write_request(request, target).body)


def _our_answer(asked: Object, answered: Object) -> Any:
    request = chat.read_request(json.dumps({"model": "group", **asked}).encode())
    return json.loads(chat.write_answer(converse.read_answer(json.dumps(answered).encode()), request))


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str, str, str]]:
    """Case, kind, model, path of each difference."""
    conversations = {name: (case.asked, case.answered) for name, case in CASES.items()}
    conversations |= {name: (asked, said({"text": "ok"})) for name, asked in MORE.items()}
    cases = [(name, model) for name in conversations for model in (CLAUDE, NOVA)]
    litellm = ask_litellm(
        [
            {"model": f"bedrock/{model}", "asked": conversations[name][0], "answered": conversations[name][1]}
            for name, model in cases
        ]
    )
    paths = []
    for (name, model), theirs in zip(cases, litellm, strict=True):
        asked, answered = conversations[name]
        for path in differences(_ours(model, asked), theirs["sent"]):
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
