from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatewayd.config.snapshot import Deployment
from gatewayd.errors import InvalidRequest, Verdict
from gatewayd.secret import Secret
from gatewayd.upstream.litellm.arguments import FIELDS, NO_KEY, Arguments
from gatewayd.upstream.litellm.translate import TranslateUpstream
from gatewayd.wire.dialect import CHAT
from gatewayd.wire.openai import FORBIDDEN_FIELDS
from tests.fakeup import FakeUpstream
from tests.stand_ins import anthropic, bedrock, cohere, gemini
from tests.upstream.doubles import call, deployment
from tests.upstream.litellm.direct_and_litellm import CALLED, of
from tests.upstream.litellm.translating import KNOWN_WARNINGS, MESSAGES, TOOL, translating

pytestmark = KNOWN_WARNINGS


def claude(api_base: str | None = "http://upstream", **changes: Any) -> Deployment:
    values: dict[str, Any] = {"kind": "translate", "provider": "anthropic", "model": "claude-x"}
    return replace(deployment("http://upstream"), **{**values, "api_base": api_base, **changes})


def arguments(deployment: Deployment | None = None, **fields: Any) -> dict[str, Any]:
    return Arguments(deployment or claude()).of(call(**fields))


def test_what_litellm_is_given() -> None:
    given = arguments(messages=MESSAGES, temperature=0.5)
    assert given.pop("timeout") == 20.0
    assert given == {
        "model": "anthropic/claude-x",
        "messages": MESSAGES,
        "temperature": 0.5,
        "api_base": "http://upstream",
        "api_key": "sk-upstream-canary",
        "drop_params": False,
        "max_retries": 0,
        "num_retries": 0,
    }


def test_only_known_fields_of_a_body_become_arguments() -> None:
    """A body cannot steer litellm, whose functions have hundreds of names for that."""
    steering: dict[str, Any] = {
        "follow_redirects": True, "litellm_metadata": {"a": 1}, "metadata": {"tags": ["x"]}, "drop_params": True,
        "additional_drop_params": ["tools"], "complete_response": True, "cache": {"no-cache": True}, "logger_fn": "os",
        "prompt_id": "p", "context_window_fallback_dict": {"a": "b"}, "shared_session": 1, "region_name": "eu",
        "gigachat_auth_url": "http://evil", "engine": "x", "deployment_id": "x", "extra_body": {"a": 1},
        "text_completion": True, "rust": True, "no-log": True, "litellm_logging_obj": {}, "use_litellm_proxy": True,
        "ignore_eos": True, "store": True, "max_retries": 9,
    }  # fmt: skip
    refused = {name for name in steering if name in FORBIDDEN_FIELDS}  # before they come here
    for name in refused:
        with pytest.raises(InvalidRequest):
            arguments(messages=MESSAGES, **{name: steering[name]})
    passed = {name: value for name, value in steering.items() if name not in refused}
    assert arguments(messages=MESSAGES, **passed) == arguments(messages=MESSAGES)
    assert not any(name in FIELDS[CHAT] for name in steering)


def test_what_the_operator_configured() -> None:
    configured = claude(
        params={"max_tokens": 99, "temperature": 0.1},
        extra_body={"container": {"id": "c"}, "max_tokens": 77},
        extra_headers={"x-tenant": Secret("blue")},
        litellm_params={"aws_secret_access_key": Secret("s"), "vertex_credentials": {"key": Secret("k")}},
        api_version="2023-06-01",
        organization="org",
        drop_params=True,
        additional_drop_params=("logit_bias",),
    )
    given = arguments(configured, messages=MESSAGES, temperature=0.9)
    assert given["max_tokens"] == 77  # the body's
    assert given["temperature"] == 0.9  # the caller's wins
    assert given["container"] == {"id": "c"}
    assert given["extra_headers"] == {"x-tenant": "blue"}
    assert given["aws_secret_access_key"] == "s"
    assert given["vertex_credentials"] == {"key": "k"}
    assert (given["api_version"], given["organization"]) == ("2023-06-01", "org")
    assert (given["drop_params"], given["additional_drop_params"]) == (True, ["logit_bias"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["anthropic", "gemini", "cohere_chat", "bedrock"])
async def test_extra_body_is_merged_into_the_body(provider: str, stream: bool) -> None:
    async with FakeUpstream() as up:
        stand_in, api_base = {
            "anthropic": (anthropic, anthropic.base_url(up)),
            "gemini": (gemini, gemini.base_url(up)),
            "cohere_chat": (cohere, cohere.chat_url(up)),
            "bedrock": (bedrock, bedrock.base_url(up)),
        }[provider]
        up.then(stand_in.answer)
        aws = {"aws_access_key_id": "a", "aws_secret_access_key": "s", "aws_region_name": "us-east-1"}
        changes: dict[str, Any] = {"api_key": None, "litellm_params": aws} if provider == "bedrock" else {}
        made = claude(api_base, provider=provider, model="converse/x" if provider == "bedrock" else "x", **changes)
        reply = await TranslateUpstream(replace(made, extra_body={"odd": {"a": 1}})).open(
            call(messages=MESSAGES, stream=stream)
        )
        reply.close()
        body = up.requests[0].json()
        assert body.get("additionalModelRequestFields", body)["odd"] == {"a": 1}
        assert b"extra_body" not in up.requests[0].body


def test_a_clients_headers_that_mean_something_go_on() -> None:
    headers = [("anthropic-beta", "context-1m"), ("openai-beta", "x"), ("anthropic-version", "2099-01-01")]
    given = Arguments(claude()).of(call(messages=MESSAGES, headers=headers))
    assert given["extra_headers"] == {"anthropic-beta": "context-1m"}


def test_what_a_wildcard_caught_fills_the_model() -> None:
    given = Arguments(claude(model="claude-*")).of(call(messages=MESSAGES, capture="sonnet"))
    assert given["model"] == "anthropic/claude-sonnet"


@pytest.mark.parametrize(
    ("provider", "api_base", "key"),
    [
        ("anthropic", "http://upstream", NO_KEY),
        ("anthropic", None, None),  # its own host: litellm may look into its own variables
        ("bedrock", "http://upstream", None),  # signs with an account's credentials
    ],
)
def test_a_configured_host_is_never_sent_a_key_from_the_environment(
    provider: str, api_base: str | None, key: str | None
) -> None:
    """F10."""
    given = arguments(claude(api_base, provider=provider, api_key=None), messages=MESSAGES)
    assert given.get("api_key") == key


async def test_the_environments_keys_do_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10, on the wire."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "sk-environment-canary")
    async with FakeUpstream(anthropic.answer) as up:
        await translating(up, api_key=None).open(call(messages=MESSAGES))
        assert up.requests[0].headers["x-api-key"] == NO_KEY
        assert b"environment-canary" not in up.requests[0].head


@pytest.mark.parametrize(
    ("endpoint", "fields", "param"),
    [
        ("chat/completions", {}, "messages"),
        ("chat/completions", {"messages": "hello"}, "messages"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}, "y"]}, "messages[1]"),
        ("chat/completions", {"messages": [{"content": "x"}]}, "messages[0]"),
        ("completions", {"prompt": ["a", "b"]}, "prompt"),
        ("completions", {}, "prompt"),
        ("embeddings", {"input": [[1, 2], [3]]}, "input"),
        ("embeddings", {"input": []}, "input"),
        ("embeddings", {}, "input"),
    ],
)
def test_what_cannot_be_translated_is_the_callers_fault(endpoint: str, fields: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        arguments(endpoint=endpoint, **fields)
    assert caught.value.param == param


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
def test_a_text_completion_is_asked_as_a_chat(prompt: str | list[str]) -> None:
    """LangChain and others send lists, of one prompt too."""
    given = arguments(endpoint="completions", prompt=prompt, stream=True)
    assert given["messages"] == [{"role": "user", "content": "Once"}]
    assert given["stream_options"] == {"include_usage": True}
    assert "prompt" not in given


def test_embeddings_do_not_stream_and_are_packed_here() -> None:
    given = arguments(endpoint="embeddings", input="x", stream=True, encoding_format="base64")
    assert "stream" not in given
    assert "encoding_format" not in given


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("blank", ["", " \n", None, [], [{"type": "text", "text": " "}]])
@pytest.mark.parametrize("family", ["anthropic", "bedrock"])
async def test_a_blank_text_beside_tool_calls_is_left_out(family: str, blank: Any, direct: bool) -> None:
    """U-B10: litellm put a sentence of its own there."""
    stand_in: Any = {"anthropic": anthropic, "bedrock": bedrock}[family]
    turn = {"role": "assistant", "content": blank, "tool_calls": [CALLED]}
    result = {"role": "tool", "tool_call_id": CALLED["id"], "content": "rain"}
    async with FakeUpstream(stand_in.answer) as up:
        upstream = TranslateUpstream(of(family, up), direct=direct)
        (await upstream.open(call(messages=[*MESSAGES, turn, result], tools=[TOOL]))).close()
        await upstream.aclose()
        (content,) = [one["content"] for one in up.requests[0].json()["messages"] if one["role"] == "assistant"]
        assert len(content) == 1
        assert "text" not in content[0]
        assert "sanitised" not in up.requests[0].body.decode()


def test_an_assistant_turn_that_says_nothing_is_left_out() -> None:
    """U-B10: beside other texts, and alone."""
    texts = [{"type": "text", "text": text} for text in ("", "a", " ")]
    given = arguments(
        messages=[*MESSAGES, {"role": "assistant", "content": ""}, {"role": "assistant", "content": texts}]
    )
    assert given["messages"] == [*MESSAGES, {"role": "assistant", "content": texts[1:2]}]


AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
VIDEO = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}


@pytest.mark.parametrize(
    ("provider", "model", "part", "taken"),
    [
        ("anthropic", "claude-x", AUDIO, False),
        ("anthropic", "claude-x", VIDEO, False),
        ("bedrock", "amazon.nova-x", AUDIO, False),
        ("vertex_ai", "claude-x", AUDIO, False),
        ("gemini", "gemini-x", AUDIO, True),
        ("gemini", "gemini-x", VIDEO, False),
        ("moonshot", "m", AUDIO, True),
        ("anthropic", "claude-x", {"type": "text", "text": '"input_audio"'}, True),
    ],
)
def test_a_part_that_would_be_left_out_silently_is_refused(
    provider: str, model: str, part: dict[str, Any], taken: bool
) -> None:
    deployed = deployment("http://127.0.0.1:1", kind="translate", provider=provider, model=model)
    asked = call(messages=[*MESSAGES, {"role": "user", "content": [part]}])
    if taken:
        assert Arguments(deployed).of(asked)["messages"][2]["content"] == [part]
        return
    with pytest.raises(InvalidRequest) as caught:
        Arguments(deployed).of(asked)
    assert (caught.value.param, caught.value.verdict) == ("messages[2].content", Verdict.ELSEWHERE)
