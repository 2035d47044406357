"""Requests of Anthropic's Messages API for property tests, in the form in which gatewayd writes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.wire.chat_cases import Object, base64, names, schema, some, urls, words

marks = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
ids = st.from_regex(r"toolu_[a-zA-Z0-9]{1,6}", fullmatch=True)

text = some({"type": st.just("text"), "text": words}, {"cache_control": marks})
cited = st.fixed_dictionaries(
    {
        "type": st.just("text"),
        "text": words,
        "citations": st.just(
            [
                {
                    "type": "char_location",
                    "cited_text": "a",
                    "document_index": 0,
                    "start_char_index": 0,
                    "end_char_index": 1,
                }
            ]
        ),
    }
)
sources = st.one_of(
    st.fixed_dictionaries({"type": st.just("base64"), "media_type": st.just("image/png"), "data": base64}),
    st.fixed_dictionaries({"type": st.just("url"), "url": urls}),
    st.fixed_dictionaries({"type": st.just("file"), "file_id": names}),
)
image = some({"type": st.just("image"), "source": sources}, {"cache_control": marks})
document = some(
    {
        "type": st.just("document"),
        "source": sources
        | st.fixed_dictionaries({"type": st.just("text"), "media_type": st.just("text/plain"), "data": words}),
    },
    {"title": words, "context": words, "citations": st.just({"enabled": True}), "cache_control": marks},
)
odd: st.SearchStrategy[Object] = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "a"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "new", "a": 1}]},
        {"type": "document", "source": {"type": "content", "content": "a"}},
        {"type": "a_new_block", "a": [1, None]},
    ]
)
thinking = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": st.text(max_size=5), "signature": names})
redacted = st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": names})
arguments = st.dictionaries(names, st.integers() | words | st.none(), max_size=2)
tool_use = some(
    {"type": st.just("tool_use"), "id": ids, "name": names, "input": arguments},
    {"cache_control": marks, "caller": st.just({"type": "direct"})},
)


def _is_string(content: list[Object]) -> bool:
    return len(content) == 1 and content[0].keys() == {"type", "text"}


def content(*blocks: st.SearchStrategy[Object]) -> st.SearchStrategy[Any]:
    return words | st.lists(st.one_of(*blocks), min_size=1, max_size=3).filter(lambda found: not _is_string(found))


tool_result = some(
    {"type": st.just("tool_result"), "tool_use_id": ids},
    {"content": content(text, image), "is_error": st.booleans(), "cache_control": marks},
)


def _results_first(message: Object) -> Object:
    found = message["content"]
    if not isinstance(found, str):
        found = sorted(found, key=lambda block: block["type"] != "tool_result")
    return {**message, "content": found}


message = st.one_of(
    st.fixed_dictionaries({"role": st.just("user"), "content": content(text, image, document, tool_result, odd)}).map(
        _results_first
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": content(text, cited, thinking, redacted, tool_use, odd)}
    ),
    st.fixed_dictionaries({"role": st.just("system"), "content": content(text)}),
)
tool = st.one_of(
    some(
        {"name": names, "input_schema": schema},
        {
            "description": words,
            "cache_control": marks,
            "defer_loading": st.just(True),
            "strict": st.booleans(),
            "a_new_field": st.just([1]),
        },
    ),
    st.just({"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
)
reasoning = st.sampled_from(
    [
        {"type": "adaptive"},
        {"type": "adaptive", "display": "omitted"},
        {"type": "enabled", "budget_tokens": 2000},
        {"type": "disabled"},
    ]
)
choices = st.one_of(
    st.sampled_from([{"type": "auto"}, {"type": "any"}, {"type": "none"}]),
    st.fixed_dictionaries({"type": st.just("tool"), "name": names}),
    st.just({"type": "auto", "disable_parallel_tool_use": True}),
)
requests = some(
    {
        "model": names,
        "max_tokens": st.integers(1, 9999),
        "messages": st.lists(message, min_size=1, max_size=4),
    },
    {
        "system": content(text),
        "tools": st.lists(tool, min_size=1, max_size=3),
        "metadata": some({}, {"user_id": words, "other": st.just(1)}).filter(bool),
        "thinking": reasoning,
        "output_config": some(
            {},
            {
                "effort": st.sampled_from(["low", "max"]),
                "format": st.fixed_dictionaries({"type": st.just("json_schema"), "schema": schema}),
                "task_budget": st.just({"type": "tokens"}),
            },
        ).filter(bool),
        "context_management": st.just({"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}),
        "container": st.just({"id": "c"}),
        "mcp_servers": st.just([]),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "stop_sequences": st.lists(words, min_size=1, max_size=2),
        "stream": st.just(True),
        "temperature": st.floats(0, 1, width=16),
        "top_k": st.integers(1, 9),
        "top_p": st.floats(0, 1, width=16),
        "a_new_field": st.just({"a": [1, None]}),
    },
).flatmap(
    lambda request: some(
        {name: st.just(value) for name, value in request.items()},
        {"tool_choice": choices} if "tools" in request else {},
    )
)
"""What `read_request` and `write_request` give back unchanged."""
