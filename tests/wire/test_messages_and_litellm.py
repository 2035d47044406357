"""Our requests for Anthropic beside litellm's. Each difference is a decision, and has its reason here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatewayd.wire import chat, messages
from gatewayd.wire.conversation import ModelTarget

Object = dict[str, Any]
OF_LITELLM = {"json_mode", "stream"}
"""What litellm removes or adds later."""
SCRIPT = Path(__file__).with_name("ask_litellm_anthropic.py")
OLDER, NEWER = "claude-haiku-4-5-20251001", "claude-opus-4-6"


def user(content: Any = "a") -> Object:
    return {"role": "user", "content": content}


def tool(name: str = "f", **spec: Any) -> Object:
    return {"type": "function", "function": {"name": name, **spec}}


def called(*names: str, arguments: str = "{}") -> Object:
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}} for name in names
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answer_form(schema: Object) -> Object:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


def result(name: str, content: Any = "r") -> Object:
    return {"role": "tool", "tool_call_id": f"call_{name}", "content": content}


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
BOUND = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}}
MARK = {"cache_control": {"type": "ephemeral"}}
TEXT = {"type": "text", "text": "r"}
MARKED = {"type": "text", "text": "a", **MARK}
TOOLS = [tool(parameters=SCHEMA), tool("g")]
THOUGHT = {"type": "thinking", "thinking": "h", "signature": "s"}
CASES: dict[str, Object] = {
    "text": {"messages": [user()]},
    "system": {"messages": [{"role": "system", "content": "s"}, user()]},
    "developer": {"messages": [{"role": "developer", "content": "s"}, user()]},
    "system in the middle": {"messages": [user(), {"role": "system", "content": "s"}, user("b")]},
    "marks": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", **MARK}]},
            user([{"type": "text", "text": "a", **MARK}]),
        ]
    },
    "users in a row": {"messages": [user("a"), user("b")]},
    "empty text": {"messages": [user("a"), {"role": "assistant", "content": ""}, user("b")]},
    "prefill": {"messages": [user(), {"role": "assistant", "content": "b "}]},
    "sampling": {"messages": [user()], "temperature": 0.5, "top_k": 3, "max_tokens": 7, "stop": ["x"], "stream": True},
    "hot": {"messages": [user()], "temperature": 1.5},
    "temperature and top_p": {"messages": [user()], "temperature": 0.5, "top_p": 0.5},
    "user": {"messages": [user()], "user": "u-1"},
    "tools": {
        "messages": [user()],
        "tools": [tool(description="d", parameters=SCHEMA), tool("g")],
        "tool_choice": "auto",
    },
    "strict": {"messages": [user()], "tools": [tool(parameters=SCHEMA, strict=True)]},
    "tool mark": {"messages": [user()], "tools": [{**tool(parameters=SCHEMA), **MARK}]},
    "required": {"messages": [user()], "tools": [tool(parameters=SCHEMA)], "tool_choice": "required"},
    "named": {"messages": [user()], "tools": [tool(parameters=SCHEMA)], "tool_choice": tool()},
    "none": {"messages": [user()], "tools": [tool(parameters=SCHEMA)], "tool_choice": "none"},
    "not parallel": {"messages": [user()], "tools": [tool(parameters=SCHEMA)], "parallel_tool_calls": False},
    "parallel": {"messages": [user()], "tools": [tool(parameters=SCHEMA)], "parallel_tool_calls": True},
    "loop": {
        "messages": [user(), called("f", "g"), result("f"), result("g"), user("b")],
        "tools": [tool(parameters=SCHEMA), tool("g")],
    },
    "no arguments": {"messages": [user(), called("f", arguments=""), result("f")], "tools": [tool(parameters=SCHEMA)]},
    "result with image": {
        "messages": [user(), called("f"), result("f", [{"type": "text", "text": "r"}, IMAGE])],
        "tools": [tool(parameters=SCHEMA)],
    },
    "images": {"messages": [user([{"type": "text", "text": "a"}, IMAGE])]},
    "image at an address": {"messages": [user([{"type": "image_url", "image_url": {"url": "https://a/b.png"}}])]},
    "pdf": {"messages": [user([PDF])]},
    "thinking": {"messages": [user(), {"role": "assistant", "content": "b", "thinking_blocks": [THOUGHT]}, user("c")]},
    "effort": {"messages": [user()], "reasoning_effort": "medium", "max_tokens": 9000},
    "minimal effort": {"messages": [user()], "reasoning_effort": "minimal", "max_tokens": 9000},
    "high effort without a limit": {"messages": [user()], "reasoning_effort": "high"},
    "no room": {"messages": [user()], "reasoning_effort": "high", "max_tokens": 2000},
    "no thinking": {"messages": [user()], "reasoning_effort": "none"},
    "budget": {"messages": [user()], "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 9000},
    "schema": {
        "messages": [user()],
        "response_format": answer_form(SCHEMA),
    },
    "constraints": {
        "messages": [user()],
        "response_format": answer_form(BOUND),
    },
    "json": {"messages": [user()], "response_format": {"type": "json_object"}},
}


def plain(body: Object) -> Object:
    """Both forms of content are the same, and what says nothing is left out."""
    body = dict(body)

    def blocks(content: Any) -> Any:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    body["messages"] = [{**message, "content": blocks(message["content"])} for message in body["messages"]]
    if "system" in body:
        body["system"] = blocks(body["system"])
    for tool in body.get("tools", ()):
        tool.pop("type", None)  # `custom` is the default
    return {name: value for name, value in body.items() if value is not None and name not in OF_LITELLM}


NOTES = {
    ("developer", "older newer", "request"): "litellm renames the role before this step, and fails without it",
    ("system in the middle", "older newer", "messages"): "one block instead of two; both keep the place",
    ("empty text", "older newer", "messages"): "no words are invented: the users' turns around it are joined",
    (
        "sampling",
        "older newer",
        "top_k",
    ): "litellm adds it later, as a parameter of the provider's",
    ("hot", "older newer", "temperature"): "Anthropic refuses more than 1; the field is named as changed",
    ("temperature and top_p", "older newer", "top_p"): "Claude models since 4.1 refuse both together",
    ("strict", "older newer", "tools"): "litellm leaves strict out for these models; they take it",
    ("parallel", "older newer", "tool_choice"): "parallel calls are the default, so nothing is said",
    ("pdf", "older newer", "messages"): "the file's name is kept, as the title",
    ("high effort without a limit", "newer", "max_tokens"): "the default is the caller's business (`ModelTarget`)",
    ("no room", "older", "thinking"): "Anthropic refuses a budget that is not below max_tokens",
    ("no thinking", "older newer", "thinking"): "said outright, because newer models think if nothing is said",
    ("budget", "newer", "thinking"): "a budget is refused by models after this one; an effort is taken by all of them",
    ("budget", "newer", "output_config"): "the effort for the budget",
    ("schema", "older newer", "output_config"): "`output_format` was its name in the beta",
    ("schema", "older newer", "output_format"): "`output_config.format` is its name now",
    ("constraints", "older newer", "output_config"): "as schema, and with the keyword itself in the description",
    ("constraints", "older newer", "output_format"): "as schema",
    ("json", "older newer", "system"): "Anthropic has no such mode; litellm says nothing to the model",
}
"""Case, models and field of each difference, and why it is one."""


@pytest.fixture(scope="module")
def litellm_says() -> Object:
    cases = {f"{case} {age}": (model, request) for case, age, model, request in each()}
    run = subprocess.run(
        [sys.executable, str(SCRIPT)], input=json.dumps(cases), capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return found


def each() -> list[tuple[str, str, str, Object]]:
    """Each case for each model, with a limit if it has none: litellm takes its own from its price table."""
    return [
        (case, age, model, request if "limit" in case else {"max_tokens": 4096, **request})
        for case, request in CASES.items()
        for age, model in (("older", OLDER), ("newer", NEWER))
    ]


def test_requests_differ_from_litellm_s_only_by_decision(litellm_says: Object) -> None:
    different: dict[tuple[str, str], list[str]] = {}
    for case, age, model, request in each():
        target = ModelTarget(model=model, drop_params=True, adaptive_thinking=age == "newer")
        asked = {"model": model, **request}
        ours = plain(json.loads(messages.write_request(chat.read_request(json.dumps(asked).encode()), target).body))
        theirs = litellm_says[f"{case} {age}"]
        if isinstance(theirs, str):
            different.setdefault((case, "request"), []).append(age)
            continue
        theirs = plain(theirs)
        for field in ours.keys() | theirs.keys():
            if ours.get(field) != theirs.get(field):
                different.setdefault((case, field), []).append(age)
    assert {(case, " ".join(ages), field) for (case, field), ages in different.items()} == NOTES.keys()
