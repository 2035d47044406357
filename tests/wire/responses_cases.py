"""Requests of the Responses API for property tests, in the form in which gatewayd writes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.wire.chat_cases import Object, base64, names, some, urls, words


def kind(name: str) -> st.SearchStrategy[str]:
    return st.just(name)


ids = st.from_regex(r"call_[a-z0-9]{1,6}", fullmatch=True)
json_text = st.sampled_from(["{}", '{"a": 1.50}', '{"a":"\\u00e9"}', "{broken"])
input_text = some({"type": kind("input_text"), "text": words}, {})
output_text = some({"type": kind("output_text"), "text": words}, {})
refusal = some({"type": kind("refusal"), "refusal": words}, {})
input_image = some(
    {
        "type": kind("input_image"),
        "detail": st.sampled_from(["auto", "low", "original"]),
        "image_url": urls | base64.map("data:image/png;base64,{}".format),
    },
    {},
) | some({"type": kind("input_image"), "detail": kind("auto"), "file_id": names}, {})
input_file = (
    some({"type": kind("input_file"), "filename": words, "file_data": kind("data:application/pdf;base64,aGk=")}, {})
    | some({"type": kind("input_file"), "file_url": urls}, {"filename": words})
    | some({"type": kind("input_file"), "file_id": names}, {})
)
new_part = some({"type": kind("input_hologram"), "data": words}, {})


def _is_string(parts: list[Object]) -> bool:
    return len(parts) == 1 and parts[0]["type"] == "input_text"


def content(*parts: st.SearchStrategy[Object]) -> st.SearchStrategy[Any]:
    lists = st.lists(st.one_of(*parts), min_size=1, max_size=3).filter(lambda found: not _is_string(found))
    return words | lists


message = some(
    {"type": kind("message"), "role": st.sampled_from(["system", "developer"]), "content": content(input_text)}, {}
) | some(
    {
        "type": kind("message"),
        "role": kind("user"),
        "content": content(input_text, input_image, input_file, new_part),
    },
    {},
)
said = some(
    {
        "type": kind("message"),
        "role": kind("assistant"),
        "content": st.lists(output_text | refusal, min_size=1, max_size=2),
    },
    {"phase": kind("commentary")},
)
call = some(
    {"type": kind("function_call"), "call_id": ids, "name": names, "arguments": json_text},
    {"id": names, "namespace": names},
) | some(
    {"type": kind("custom_tool_call"), "call_id": ids, "name": names, "input": words},
    {"id": names, "namespace": names},
)
outputs = content(input_text, input_image)
result = some({"type": kind("function_call_output"), "call_id": ids, "output": outputs}, {"id": names})
summary = st.lists(some({"type": kind("summary_text"), "text": words}, {}), max_size=2)
thought = some(
    {"type": kind("reasoning"), "id": names, "summary": summary},
    {
        "encrypted_content": words,
        "content": st.lists(some({"type": kind("reasoning_text"), "text": words}, {}), min_size=1, max_size=1),
    },
)
server_item = st.sampled_from(
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "compaction", "encrypted_content": "x"},
    ]
)
custom_pair = st.builds(
    lambda call_id, name: [
        {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": "x"},
        {"type": "custom_tool_call_output", "call_id": call_id, "output": "y"},
    ],
    st.from_regex(r"ctc_[a-z0-9]{4}", fullmatch=True),
    names,
)
one = st.one_of(message, said, call, result, thought, server_item).map(lambda item: [item])


def _distinct(items: list[list[Object]]) -> list[Object]:
    """Calls have ids of their own, and results are of functions unless there is a call."""
    found = [item for group in items for item in group]
    for at, item in enumerate(found):
        if item["type"] == "function_call_output":
            found[at] = {**item, "call_id": f"call_of_before_{at}"}
    return found


items = st.lists(one | custom_pair, max_size=6).map(_distinct)
schema = st.sampled_from([{"type": "object", "properties": {"z": {}, "a": {"type": "number"}}}, {}])
function = some(
    {"type": kind("function"), "name": names, "parameters": schema, "strict": st.booleans()},
    {"description": words, "defer_loading": st.booleans(), "output_schema": schema},
)
custom = some(
    {"type": kind("custom"), "name": names},
    {"description": words, "format": kind("x").map(lambda _: {"type": "text"})},
)
namespace = some(
    {
        "type": kind("namespace"),
        "name": st.from_regex(r"ns_[a-z]{1,5}", fullmatch=True),
        "description": words,
        "tools": st.lists(function | custom, min_size=1, max_size=2),
    },
    {},
)
server_tool = st.sampled_from(
    [{"type": "web_search"}, {"type": "mcp", "server_label": "x", "server_url": "https://example.com"}]
)
tools = st.lists(
    function | custom | namespace | server_tool, max_size=4, unique_by=lambda tool: tool.get("name", tool["type"])
)
choice = st.sampled_from(["auto", "none", "required"]) | st.sampled_from(
    [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "c"},
        {"type": "web_search"},
        {"type": "mcp", "server_label": "x"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "c"}]},
        {"type": "function", "name": "f", "namespace": "n"},
    ]
)  # fmt: skip
text = some(
    {},
    {
        "format": st.sampled_from([{"type": "text"}, {"type": "json_object"}])
        | some(
            {"type": kind("json_schema"), "name": names, "schema": schema},
            {"strict": st.booleans(), "description": words},
        ),
        "verbosity": st.sampled_from(["low", "high"]),
        "new": st.booleans(),
    },
).filter(bool)
reasoning = some(
    {},
    {
        "effort": st.sampled_from(["none", "low", "xhigh"]),
        "summary": st.sampled_from(["auto", "concise"]),
        "mode": words,
    },
).filter(bool)
requests = some(
    {"model": names, "input": items},
    {
        "instructions": words,
        "tools": tools,
        "reasoning": reasoning,
        "text": text,
        "max_output_tokens": st.integers(1, 99),
        "temperature": st.sampled_from([0.0, 0.5, 2.0]),
        "top_p": st.sampled_from([0.1, 1.0]),
        "metadata": st.dictionaries(names, words, min_size=1, max_size=2),
        "user": words,
        "safety_identifier": words,
        "prompt_cache_key": words,
        "service_tier": st.sampled_from(["auto", "flex"]),
        "truncation": kind("auto"),
        "include": st.sampled_from(
            [["reasoning.encrypted_content"], ["file_search_call.results"], ["message.output_text.logprobs"]]
        ),
        "store": st.booleans(),
        "previous_response_id": words,
        "client_metadata": st.dictionaries(names, words, max_size=1),
        "stream": kind("x").map(lambda _: True),
        "max_tool_calls": st.integers(1, 9),
        "prompt": st.fixed_dictionaries({"id": names}),
    },
)
