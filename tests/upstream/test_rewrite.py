"""What configuration changes in a body, and that it changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.upstream.base import Call
from gatewayd.upstream.rewrite import Rewriter
from gatewayd.wire.dialect import EMBEDDINGS, RESPONSES
from gatewayd.wire.openai import peek
from tests.upstream.doubles import call, deployment

BODY = (
    b'{ "model" : "gpt", "messages": [{"role":"user", "content":"\\u00e9 \xc3\xa9"}], "temperature": 1.0 ,"seed":1E2}'
)


def rewritten(body: bytes, model: str = "gpt-real", endpoint: str = "chat/completions", **config: Any) -> bytes:
    one = deployment("http://a", model=model, **config)
    return Rewriter(one).body(call(body, endpoint=endpoint), model)


def test_only_the_model_changes() -> None:
    """Numbers, escapes, order and spaces inside values stay."""
    assert rewritten(BODY) == (
        b'{"model":"gpt-real","messages":[{"role":"user", "content":"\\u00e9 \xc3\xa9"}],"temperature":1.0,"seed":1E2}'
    )


def test_the_very_same_bytes_when_nothing_changes() -> None:
    assert rewritten(BODY, "gpt") is not None
    assert rewritten(BODY, "gpt") == BODY
    assert rewritten(BODY, "gpt", params={"temperature": 0}, additional_drop_params=("absent",)) == BODY


def test_a_model_that_the_caller_left_out() -> None:
    intent = peek(b'{"input":"x"}', default_model="gpt")
    assert Rewriter(deployment("http://a", model="gpt")).body(Call(EMBEDDINGS, intent, "r"), "gpt") == (
        b'{"input":"x","model":"gpt"}'
    )


def test_params_fill_gaps_and_extra_body_wins() -> None:
    out = rewritten(
        BODY, params={"temperature": 0.5, "top_p": 0.9}, extra_body={"seed": 7, "provider": {"order": ["a"]}}
    )
    assert json.loads(out) == {
        "model": "gpt-real",
        "messages": [{"role": "user", "content": "é é"}],
        "temperature": 1.0,
        "seed": 7,
        "top_p": 0.9,
        "provider": {"order": ["a"]},
    }


@pytest.mark.parametrize(
    ("sent", "params", "expected"),
    [
        ({}, {"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
        (
            {},
            {"reasoning_effort": {"effort": "low", "summary": "auto"}},
            {"reasoning": {"effort": "low", "summary": "auto"}},
        ),
        (
            {"reasoning": {"summary": "auto"}},
            {"reasoning_effort": "high"},
            {"reasoning": {"effort": "high", "summary": "auto"}},
        ),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "high"}, {"reasoning": {"effort": "low"}}),
        ({"reasoning": 5}, {"reasoning_effort": "high"}, {"reasoning": 5}),
        (
            {},
            {"reasoning_effort": "high", "reasoning": {"summary": "auto"}},
            {"reasoning": {"effort": "high", "summary": "auto"}},
        ),
        (
            {},
            {"verbosity": "low", "response_format": {"type": "json_object"}},
            {"text": {"verbosity": "low", "format": {"type": "json_object"}}},
        ),
        (
            {"text": {"verbosity": "high"}},
            {
                "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}},
                "verbosity": "low",
            },
            {
                "text": {
                    "verbosity": "high",
                    "format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True},
                }
            },
        ),
    ],
)
def test_parameters_of_chat_that_are_members_of_another_field_in_responses(
    sent: Any, params: Any, expected: Any
) -> None:
    asked = peek(json.dumps({"model": "gpt-real", "input": "x", **sent}).encode())
    rewriter = Rewriter(deployment("http://a", model="gpt-real", params=params))
    assert json.loads(rewriter.body(Call(RESPONSES, asked, "r"), "gpt-real")) == {
        "model": "gpt-real",
        "input": "x",
        **expected,
    }
    drops = Rewriter(deployment("http://a", model="gpt-real", params=params, additional_drop_params=tuple(params)))
    assert json.loads(drops.body(Call(RESPONSES, asked, "r"), "gpt-real")).keys() <= {"model", "input", *sent}


def test_options_of_streams_are_for_streams() -> None:
    """OpenAI answers 400 to a call that has them and does not stream."""
    config: dict[str, Any] = {"params": {"stream_options": {"include_usage": True}, "seed": 1}}
    plain = json.loads(rewritten(b'{"model":"gpt","messages":[],"stream":false}', **config))
    assert plain == {"model": "gpt-real", "messages": [], "stream": False, "seed": 1}
    stream = json.loads(rewritten(b'{"model":"gpt","messages":[],"stream":true}', **config))
    assert stream["stream_options"] == {"include_usage": True}


def test_dropped_fields() -> None:
    out = rewritten(
        BODY,
        params={"top_p": 1, "user": "x"},
        extra_body={"stop": "extra body is not what callers send"},
        additional_drop_params=("temperature", "user", "stop", "a.b", "nothing[*]"),
    )
    assert set(json.loads(out)) == {"model", "messages", "seed", "top_p", "stop"}


TOOLS = {
    "tools": [
        {"type": "function", "function": {"name": "a", "strict": True}, "n": [1, 2]},
        {"type": "function", "function": {"name": "b"}},
        "odd",
    ],
    "response_format": {"json_schema": {"strict": True, "name": "x"}},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tools[*].function.strict", ["tools", 0, "function", "strict"]),
        ("tools[0].function", ["tools", 0, "function"]),
        ("tools[0].n[1]", ["tools", 0, "n", 1]),
        ("response_format.json_schema.strict", ["response_format", "json_schema", "strict"]),
        ("tools[9].x", None),
        ("tools.x", None),
        ("response_format[0]", None),
        ("response_format.a.b", None),
    ],
)
def test_dropped_paths(path: str, expected: list[str | int] | None) -> None:
    want: Any = json.loads(json.dumps({"model": "gpt-real", **TOOLS}))
    if expected is not None:
        place = want
        for step in expected[:-1]:
            place = place[step]
        del place[expected[-1]]
    body = json.dumps({"model": "gpt", **TOOLS}).encode()
    assert json.loads(rewritten(body, additional_drop_params=(path,))) == want


def test_all_items_of_a_list() -> None:
    assert json.loads(rewritten(b'{"model":"m","stop":["a","b"]}', additional_drop_params=("stop[*]",)))["stop"] == []


RENAMES = (("max_completion_tokens", "max_tokens"), ("seed", "random_seed"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5, "max_tokens": 6}, {"max_tokens": 6}),
        ({"seed": 1, "max_tokens": 6}, {"random_seed": 1, "max_tokens": 6}),
        ({}, {"random_seed": 9}),
    ],
)
def test_provider_names_of_fields(fields: dict[str, int], expected: dict[str, int]) -> None:
    body = json.dumps({"model": "m", **fields}).encode()
    params = {"seed": 9} if not fields else {}
    assert json.loads(rewritten(body, provider="mistral", params=params)) == {"model": "gpt-real", **expected}
    assert json.loads(rewritten(body, provider="mistral", endpoint="embeddings")) == {"model": "gpt-real", **fields}


names = st.sampled_from(["messages", "temperature", "seed", "max_tokens", "max_completion_tokens", "x"])
fields = st.dictionaries(names, st.integers() | st.text(max_size=5) | st.lists(st.booleans(), max_size=3))


@given(fields, fields, fields, st.lists(names, max_size=2), st.booleans())
@settings(max_examples=200)
def test_the_order_of_precedence(sent: Any, params: Any, extra: Any, dropped: list[str], renamed: bool) -> None:
    body = json.dumps({"model": "gpt", **sent}).encode()
    out = json.loads(
        rewritten(
            body,
            params=params,
            extra_body=extra,
            additional_drop_params=tuple(dropped),
            provider="mistral" if renamed else "openai",
        )
    )
    limits = ("max_tokens", "max_completion_tokens")
    said = limits if not sent.keys().isdisjoint(limits) else ()
    defaults = {name: value for name, value in params.items() if name not in said}
    want = {name: value for name, value in {**defaults, **sent}.items() if name not in dropped}
    for ours, theirs in RENAMES if renamed else ():
        if ours in want:
            value = want.pop(ours)
            if theirs not in (sent if ours in sent else {**defaults, **sent}) and theirs not in dropped:
                want[theirs] = value
    assert out == {"model": "gpt-real", **want, **extra}


def sent(fields: dict[str, Any], model: str, *, endpoint: str = "chat/completions", **config: Any) -> Any:
    body = json.dumps({"model": model, **fields}).encode()
    out = json.loads(rewritten(body, model, endpoint, **config))
    assert out.pop("model") == model
    return out


def test_what_a_provider_refuses_is_dropped_if_asked_for() -> None:
    """U-A5: drop_params drops what litellm drops for that provider and model; without it the bytes pass."""
    fields = {"temperature": 0.2, "top_p": 0.5, "stop": ["x"], "seed": 1, "tools": []}
    body = json.dumps({"model": "gpt-5", **fields}).encode()
    assert rewritten(body, "gpt-5") == body
    assert sent(fields, "gpt-5", drop_params=True) == {"seed": 1, "tools": []}
    assert sent(fields, "gpt-4o", drop_params=True) == fields
    assert sent({"logit_bias": {}, "n": 2, "seed": 1}, "m", provider="mistral", drop_params=True) == {"random_seed": 1}
    assert sent({"dimensions": 5}, "text-embedding-ada-002", endpoint="embeddings", drop_params=True) == {}
    assert sent({"dimensions": 5}, "text-embedding-3-small", endpoint="embeddings", drop_params=True) != {}


def test_defaults_of_the_file_are_dropped_too_and_extra_body_is_not() -> None:
    """U-A5: litellm drops what the file sets like what a caller sends."""
    config: dict[str, Any] = {"params": {"temperature": 0.2, "top_p": 0.5}, "extra_body": {"stop": "x"}}
    assert sent({}, "gpt-5", drop_params=True, **config) == {"stop": "x"}
    assert sent({}, "gpt-5", **config) == {"temperature": 0.2, "top_p": 0.5, "stop": "x"}


def test_what_drop_params_leaves_in() -> None:
    """U-A5: allowed_openai_params."""
    fields = {"temperature": 0.2, "top_p": 0.5}
    allowed = ("top_p", "temperature")
    assert sent(fields, "gpt-5", drop_params=True, allowed_openai_params=allowed) == fields
    assert sent(fields, "gpt-5", drop_params=True, allowed_openai_params=("top_p",)) == {"top_p": 0.5}


def test_a_wildcard_knows_the_family_of_the_model_that_is_asked_for() -> None:
    """U-A5, U-A6: `openai/*`."""
    rewriter = Rewriter(deployment("http://a", model="*", drop_params=True))
    for model, expected in (
        ("gpt-5", {"max_completion_tokens": 5}),
        ("gpt-4o", {"max_tokens": 5, "temperature": 0.5}),
        ("gpt-5", {"max_completion_tokens": 5}),
    ):
        body = json.dumps({"model": model, "max_tokens": 5, "temperature": 0.5}).encode()
        assert json.loads(rewriter.body(call(body), model)) == {"model": model, **expected}


def test_the_family_of_a_deployment_with_a_free_name() -> None:
    """U-A6: Azure's names say nothing; base_model and litellm's hints do."""
    for family in ("gpt-5", "gpt5_series/mine", "o_series/mine", "o3-mini"):
        assert sent({"max_tokens": 5}, "mine", provider="azure", family=family) == {"max_completion_tokens": 5}
    assert sent({"max_tokens": 5}, "mine", provider="azure") == {"max_tokens": 5}


@pytest.mark.parametrize(
    ("fields", "params", "expected"),
    [
        ({"max_tokens": 3}, {}, {"max_completion_tokens": 3}),
        ({"max_tokens": 3, "max_completion_tokens": 4}, {}, {"max_completion_tokens": 4}),
        ({"max_tokens": 3, "max_completion_tokens": None}, {}, {"max_completion_tokens": 3}),
        ({"max_tokens": 3}, {"max_completion_tokens": 9}, {"max_completion_tokens": 3}),
        ({"max_completion_tokens": 3}, {"max_tokens": 9}, {"max_completion_tokens": 3}),
        ({}, {"max_tokens": 9}, {"max_completion_tokens": 9}),
        ({}, {"max_tokens": 9, "max_completion_tokens": 8}, {"max_completion_tokens": 8}),
    ],
)
def test_the_limit_of_tokens_has_the_name_that_the_model_knows(fields: Any, params: Any, expected: Any) -> None:
    """U-A6: max_completion_tokens for gpt-5 and the o-series, whatever the caller and the file call it."""
    for model in ("gpt-5", "o3-mini"):
        assert sent(fields, model, params=params) == expected
    assert sent({"max_tokens": 3}, "gpt-5", endpoint="completions") == {"max_tokens": 3}


def test_the_limit_of_tokens_of_servers_that_know_the_older_name() -> None:
    """U-A6: the reverse."""
    for provider in ("ollama", "groq", "custom_openai", "poe"):
        assert sent({"max_completion_tokens": 3}, "m", provider=provider) == {"max_tokens": 3}
        assert sent({"max_completion_tokens": 3, "max_tokens": 4}, "m", provider=provider) == {"max_tokens": 4}


def test_a_default_under_the_other_name_gives_way_to_the_callers() -> None:
    """U-A6: OpenAI answers 400 to a call that has both."""
    assert sent({"max_completion_tokens": 3}, "gpt-4o", params={"max_tokens": 9}) == {"max_completion_tokens": 3}
    assert sent({"max_tokens": 3}, "gpt-4o", params={"max_completion_tokens": 9}) == {"max_tokens": 3}


TEXTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
IMAGE = [*TEXTS, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]


@pytest.mark.parametrize("stream", [False, True])
def test_messages_as_the_provider_takes_them(stream: bool) -> None:
    """U-B13: the role `developer` and lists of texts, where an API refuses them; nothing else of a message changes."""
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": TEXTS},
        {"role": "user", "content": IMAGE},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"arguments": '{"a":1E2}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": TEXTS},
        {"role": "user", "content": 'the word "developer"', "n": 1.0},
    ]
    fields = {"messages": messages, "stream": stream}
    mapped = [dict(message) for message in messages]
    mapped[0]["role"] = "system"
    assert sent(fields, "m", provider="groq")["messages"] == mapped
    mapped[0]["content"] = mapped[3]["content"] = "ab"
    assert sent(fields, "m", provider="mistral")["messages"] == mapped
    assert sent(fields, "m", provider="deepseek")["messages"] == mapped
    body = json.dumps({"model": "m", **fields}).encode()
    assert rewritten(body, "m", provider="openai") == body


def test_messages_that_a_provider_takes_are_not_written_anew() -> None:
    """U-B13: only where needed."""
    body = b'{"model":"m", "messages": [ {"role":"user","content":"a \\"developer\\" text"} ]}'
    assert rewritten(body, "m", provider="deepseek") == body
    for odd in (b'"x"', b'[{"role":"developer"},1]', b'[{"role":"user","content":[{"type":"text"}]}]'):
        body = b'{"model":"m","messages":' + odd + b"}"
        assert rewritten(body, "m", provider="deepseek") == body


def test_what_other_providers_answers_have_is_not_sent_to_mistral() -> None:
    """U-B13: Mistral answers 422 to `reasoning_content` in a conversation that is continued."""
    messages = [{"role": "assistant", "content": "x", "reasoning_content": "r"}]
    assert sent({"messages": messages}, "m", provider="mistral")["messages"] == [{"role": "assistant", "content": "x"}]
