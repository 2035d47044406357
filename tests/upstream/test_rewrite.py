"""What configuration changes in a body, and that it changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.upstream.base import Call
from gatewayd.upstream.rewrite import Rewriter
from gatewayd.wire.openai import peek
from tests.upstream.doubles import call, deployment

BODY = (
    b'{ "model" : "gpt", "messages": [{"role":"user", "content":"\\u00e9 \xc3\xa9"}], "temperature": 1.0 ,"seed":1E2}'
)


def rewritten(
    body: bytes, model: str = "gpt-real", renames: Any = (), endpoint: str = "chat/completions", **config: Any
) -> bytes:
    one = deployment("http://a", model=model, **config)
    return Rewriter(one, renames).body(call(body, endpoint=endpoint), model)


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
    assert Rewriter(deployment("http://a", model="gpt")).body(Call("embeddings", intent, "r"), "gpt") == (
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
    assert json.loads(rewritten(body, renames=RENAMES, params=params)) == {"model": "gpt-real", **expected}
    assert json.loads(rewritten(body, renames=RENAMES, endpoint="embeddings")) == {"model": "gpt-real", **fields}


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
            renames=RENAMES if renamed else (),
        )
    )
    want = {name: value for name, value in {**params, **sent}.items() if name not in dropped}
    if renamed:
        for ours, theirs in RENAMES:
            if ours in want:
                value = want.pop(ours)
                if theirs not in sent and theirs not in dropped:
                    want[theirs] = value
    assert out == {"model": "gpt-real", **want, **extra}
