"""Requests of the chat completions API for property tests, in the form in which gatewayd writes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Object = dict[str, Any]

words = st.text(min_size=1, max_size=8)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
ids = st.from_regex(r"call_[a-z0-9]{1,6}", fullmatch=True)
base64 = st.sampled_from(["aGk=", "iVBORw0KGgo="])
urls = st.sampled_from(["https://example.com/a.png", "https://example.com/b.jpg"])


def some(required: Object, optional: Object) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(required, optional=optional)


text_part = some({"type": st.just("text"), "text": words}, {"cache_control": st.just({"type": "ephemeral"})})
image_part = some(
    {
        "type": st.just("image_url"),
        "image_url": some(
            {"url": urls | base64.map("data:image/png;base64,{}".format)}, {"detail": st.sampled_from(["low", "high"])}
        ),
    },
    {},
)
audio_part = st.fixed_dictionaries(
    {"type": st.just("input_audio"), "input_audio": st.fixed_dictionaries({"data": base64, "format": st.just("wav")})}
)
file_part = st.fixed_dictionaries(
    {
        "type": st.just("file"),
        "file": st.fixed_dictionaries({"filename": words, "file_data": st.just("data:application/pdf;base64,aGk=")})
        | st.fixed_dictionaries({"file_id": names}),
    }
)


def _is_string(parts: list[Object]) -> bool:
    return len(parts) == 1 and parts[0].keys() == {"type", "text"}


def content(*parts: st.SearchStrategy[Object]) -> st.SearchStrategy[Any]:
    lists = st.lists(st.one_of(*parts), min_size=1, max_size=3).filter(lambda found: not _is_string(found))
    return words | lists


arguments = st.sampled_from(["{}", "", '{"a": 1.50}', '{"a":"\\u00e9"}'])
call = st.fixed_dictionaries(
    {
        "id": ids,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": names, "arguments": arguments}),
    }
) | st.fixed_dictionaries(
    {"id": ids, "type": st.just("custom"), "custom": st.fixed_dictionaries({"name": names, "input": words})}
)
signed = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": words, "signature": words})
redacted = st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": words})


def _with_thoughts(message: Object, blocks: list[Object]) -> Object:
    thoughts = "".join(block["thinking"] for block in blocks if "thinking" in block)
    return {**message, "thinking_blocks": blocks, **({"reasoning_content": thoughts} if thoughts else {})}


said = some({"role": st.just("assistant"), "content": content(text_part)}, {"tool_calls": st.lists(call, min_size=1)})
called = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none(), "tool_calls": st.lists(call, min_size=1, max_size=3)}
)
thought = st.builds(_with_thoughts, said | called, st.lists(signed | redacted, min_size=1, max_size=2))
message = st.one_of(
    some({"role": st.sampled_from(["system", "developer"]), "content": content(text_part)}, {"name": names}),
    some({"role": st.just("user"), "content": content(text_part, image_part, audio_part, file_part)}, {"name": names}),
    some({"role": st.just("tool"), "tool_call_id": ids, "content": words}, {"name": names}),
    said,
    called,
    thought,
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none(), "refusal": words}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": words, "new_field": st.just({"a": [1]})}),
)
schema = st.just({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False})
tool = st.one_of(
    some(
        {
            "type": st.just("function"),
            "function": some({"name": names}, {"description": words, "parameters": schema, "strict": st.booleans()}),
        },
        {"cache_control": st.just({"type": "ephemeral", "ttl": "1h"})},
    ),
    st.fixed_dictionaries(
        {"type": st.just("custom"), "custom": some({"name": names}, {"format": st.just({"type": "text"})})}
    ),
    st.just({"type": "web_search", "filters": {"a": 1}}),
)
function_name = st.fixed_dictionaries({"type": st.just("function"), "function": st.fixed_dictionaries({"name": names})})
choice = st.one_of(
    st.sampled_from(["auto", "none", "required"]),
    function_name,
    st.fixed_dictionaries(
        {
            "type": st.just("allowed_tools"),
            "allowed_tools": st.fixed_dictionaries(
                {"mode": st.sampled_from(["auto", "required"]), "tools": st.lists(function_name, max_size=2)}
            ),
        }
    ),
)
output = st.sampled_from([{"type": "text"}, {"type": "json_object"}]) | st.fixed_dictionaries(
    {"type": st.just("json_schema"), "json_schema": some({"name": names, "schema": schema}, {"strict": st.booleans()})}
)
number = st.floats(0, 2, width=16)
requests = some(
    {"model": names, "messages": st.lists(message, min_size=1, max_size=4)},
    {
        "tools": st.lists(tool, min_size=1, max_size=3),
        "temperature": number,
        "top_p": number,
        "top_k": st.integers(1, 9),
        "seed": st.integers(0, 9),
        "frequency_penalty": number,
        "presence_penalty": number,
        "logit_bias": st.dictionaries(names, number, max_size=1),
        "logprobs": st.booleans(),
        "n": st.integers(1, 3),
        "stop": st.lists(words, min_size=1, max_size=2),
        "max_completion_tokens": st.integers(1, 99),
        "response_format": output,
        "verbosity": st.just("low"),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
        "stream": st.just(True),
        "user": words,
        "metadata": st.dictionaries(names, words, min_size=1, max_size=1),
        "prompt_cache_key": words,
        "safety_identifier": words,
        "service_tier": st.just("flex"),
        "store": st.booleans(),
        "a_new_field": st.just({"b": [1, None]}),
        "web_search_options": st.just({}),
    },
).flatmap(
    lambda request: some(
        {name: st.just(value) for name, value in request.items()},
        {"tool_choice": choice, "parallel_tool_calls": st.booleans()} if "tools" in request else {},
    )
)
"""What `read_request` and `write_request` give back unchanged."""
