from __future__ import annotations

import inspect
import logging
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai
import pytest

import gatewayd
from gatewayd import (
    ConfigurationError,
    GatewayConfig,
    LiteLLMGateway,
    batch_generate,
    batch_generate_async,
    configure_gateway,
    create_gateway,
    generate_embeddings,
    generate_embeddings_async,
    generate_text,
    generate_text_async,
    stream_text,
    stream_text_async,
)
from gatewayd.client import functions
from tests.client.upstreams import VECTOR, Upstream, entry, polite, upstream
from tests.fakeup import Received
from tests.replies import Reply, error_reply


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAYD_BASE_URL", "GATEWAYD_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """OpenAI, as far as the environment says."""
    with upstream() as up:
        monkeypatch.setenv("OPENAI_BASE_URL", up.base_url)
        yield up


@pytest.fixture
def gateway(up: Upstream) -> Iterator[LiteLLMGateway]:
    with create_gateway(
        providers=["openai"], default_model="gpt-4", api_keys={"openai": "sk-up"}, retry_delay=0.1
    ) as gateway:
        yield gateway


# --- one function for each thing ----------------------------------------------------------------------------------


def test_of_threads(gateway: LiteLLMGateway, up: Upstream) -> None:
    assert generate_text(gateway, "Hello, world!", model="gpt-4", temperature=0.7) == "gpt-4: Hello, world!"
    assert "".join(stream_text(gateway, "Tell me")) == "gpt-4: Tell me"
    assert generate_embeddings(gateway, "a", model="text-embedding-ada-002") == [VECTOR]
    assert batch_generate(gateway, ["a", "b"], model="gpt-4o") == ["gpt-4o: a", "gpt-4o: b"]
    assert up.requests[0].json()["temperature"] == 0.7
    assert up.requests[0].headers["authorization"] == "Bearer sk-up"


async def test_of_coroutines(gateway: LiteLLMGateway) -> None:
    assert await generate_text_async(gateway, prompt="Hi", model="gpt-4") == "gpt-4: Hi"
    assert "".join([piece async for piece in stream_text_async(gateway, "Tell me")]) == "gpt-4: Tell me"
    assert len(await generate_embeddings_async(gateway, ["a", "b"], model="text-embedding-ada-002")) == 2
    assert await batch_generate_async(gateway, ["a", "b"]) == ["gpt-4: a", "gpt-4: b"]


def test_five_hundred_prompts_past_an_upstream_that_stumbles(up: Upstream) -> None:
    dice = random.Random(7)

    def stumble(request: Received) -> Reply:
        if dice.random() < 0.15:
            headers = [("retry-after", "0")] if dice.random() < 0.5 else []
            return error_reply(dice.choice([429, 500]), headers=headers)
        return polite(request)

    up.then(stumble)
    prompts = [f"prompt {i}" for i in range(500)]
    with create_gateway(
        default_model="gpt-4", api_keys={"openai": "sk-up"}, max_retries=10, retry_delay=0.1
    ) as gateway:
        assert batch_generate(gateway, prompts, max_concurrency=50) == [f"gpt-4: {prompt}" for prompt in prompts]
    assert len(up.requests) > 500


def test_a_retry_after_of_the_only_deployment_is_waited_for_by_all(up: Upstream) -> None:
    first = threading.Event()

    def once(request: Received) -> Reply:
        if first.is_set():
            return polite(request)
        first.set()
        return error_reply(429, headers=[("retry-after", "1")])

    up.then(once)
    with create_gateway(default_model="gpt-4", api_keys={"openai": "sk-up"}, retry_delay=0.1) as gateway:
        assert batch_generate(gateway, ["a", "b", "c"]) == ["gpt-4: a", "gpt-4: b", "gpt-4: c"]


def test_errors_are_those_of_the_sdk(gateway: LiteLLMGateway, up: Upstream) -> None:
    up.then(error_reply(400, "too odd", type="invalid_request_error"))
    with pytest.raises(openai.BadRequestError, match="too odd"):
        generate_text(gateway, "Hi")
    results = batch_generate(gateway, ["a"], return_exceptions=True)
    assert isinstance(results[0], openai.BadRequestError)


# --- create_gateway -----------------------------------------------------------------------------------------------


def test_keys_alone_are_enough(up: Upstream) -> None:
    with create_gateway(api_keys={"openai": "key"}, default_model="gpt-4") as gateway:
        assert generate_text(gateway, "Hi") == "gpt-4: Hi"
        assert gateway.config is not None


def test_several_providers_and_fallbacks(up: Upstream) -> None:
    with (
        upstream(error_reply(500)) as bad,
        create_gateway(
            providers=["openai", "groq"],
            default_model="groq/llama-3.1-8b-instant",
            api_keys={"openai": "sk-openai-key", "groq": "sk-groq-key"},
            fallbacks=["gpt-3.5-turbo"],
            api_bases={"groq": bad.base_url},
            max_retries=0,
        ) as gateway,
    ):
        assert generate_text(gateway, "Hi") == "gpt-3.5-turbo: Hi"
        assert generate_text(gateway, "Hi", model="gpt-4o") == "gpt-4o: Hi"
    assert bad.requests[0].headers["authorization"] == "Bearer sk-groq-key"
    assert up.requests[0].headers["authorization"] == "Bearer sk-openai-key"


def test_an_address_alone_is_enough(up: Upstream) -> None:
    with create_gateway(default_model="my-model", api_bases={"hosted_vllm": up.base_url}) as gateway:
        assert generate_text(gateway, "Hi") == "my-model: Hi"


def test_a_base_url_attaches(up: Upstream) -> None:
    with create_gateway(
        base_url=up.base_url, api_key="sk-mine", default_model="m", max_retries=1, timeout=9
    ) as gateway:
        assert gateway.config is None
        assert generate_text(gateway, "Hi") == "m: Hi"
        assert (gateway.openai.max_retries, gateway.openai.timeout) == (1, 9.0)
    assert up.requests[0].headers["authorization"] == "Bearer sk-mine"


def test_the_environments_base_url_comes_before_providers_and_says_so(
    up: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GATEWAYD_BASE_URL", up.base_url)
    monkeypatch.setenv("GATEWAYD_API_KEY", "sk-mine")
    with (
        caplog.at_level(logging.WARNING, "gatewayd.client"),
        create_gateway(["openai"], "gpt-4", {"openai": "sk-secret"}, fallbacks=["gpt-4o"]) as gateway,
    ):
        assert gateway.config is None
        assert generate_text(gateway, "Hi") == "gpt-4: Hi"
    assert "providers, api_keys, fallbacks" in caplog.text
    assert "sk-secret" not in caplog.text


class _Daemon:
    """Something that lives at an address, or not."""

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/livez" else 500)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> _Daemon:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_whether_a_daemon_lives_at_an_address() -> None:
    with _Daemon(200) as daemon:
        assert functions.daemon_lives(daemon.base_url)
    assert not functions.daemon_lives(daemon.base_url)
    with _Daemon(404) as other:
        assert not functions.daemon_lives(other.base_url)


def test_where_to_attach() -> None:
    nowhere = "http://127.0.0.1:1/v1"
    with _Daemon(200) as daemon:
        environ = {"GATEWAYD_BASE_URL": "http://there/v1"}
        assert functions.address("http://x/v1", True, environ=environ) == "http://x/v1"
        assert functions.address(None, True, environ=environ) == "http://there/v1"
        assert functions.address(None, False, environ=environ, default=daemon.base_url) == "http://there/v1"
        assert functions.address(None, False, environ={}, default=daemon.base_url) == daemon.base_url
        assert functions.address(None, True, environ={}, default=daemon.base_url) is None
        assert functions.address(None, False, environ={}, default=nowhere) is None


def test_whose_key_the_environment_holds() -> None:
    environ = {"OPENAI_API_KEY": "sk-secret"}
    assert functions.provider_with_key("gpt-4", environ=environ) == "openai"
    assert functions.provider_with_key("ollama/llama3", environ={}) == "ollama"
    with pytest.raises(ConfigurationError) as caught:
        functions.provider_with_key("claude-sonnet-4-5", environ=environ)
    assert caught.value.config_key == "api_keys.anthropic"
    for remedy in ("gatewayd run", "GATEWAYD_BASE_URL", "api_keys={'anthropic': ...}", "ANTHROPIC_API_KEY"):
        assert remedy in str(caught.value)


@pytest.mark.parametrize("model", [None, "nobody-knows"])
def test_with_nothing_to_go_by_the_three_remedies_are_named(model: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        functions.provider_with_key(model, environ={"OPENAI_API_KEY": "sk-secret"})
    assert caught.value.config_key == "default_model"
    for remedy in ("gatewayd run", "GATEWAYD_BASE_URL", "api_keys=", "OPENAI_API_KEY"):
        assert remedy in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"timeout": 0.5}, "timeout"),
        ({"timeout": 301}, "timeout"),
        ({"timeout": "60"}, "timeout"),
        ({"max_retries": 11}, "max_retries"),
        ({"max_retries": -1}, "max_retries"),
        ({"retry_delay": 0.05}, "retry_delay"),
        ({"default_model": "gpt 4"}, "default_model"),
        ({"default_model": ["gpt-4"]}, "default_model"),
        ({"providers": ["opnai"]}, "providers[0]"),
        ({"providers": ["anthropic"]}, "api_keys.anthropic"),
        ({"default_model": "claude-sonnet-4-5"}, "default_model"),
        ({"fallbacks": ["claude-sonnet-4-5"]}, "fallbacks"),
        ({"cooldown_time": "soon"}, "router_settings.cooldown_time"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"base_url": "nonsense"}, "base_url"),
    ],
)
def test_what_create_gateway_refuses(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_gateway(**{"api_keys": {"openai": "sk-secret"}, **given})
    assert caught.value.config_key == key
    assert "sk-secret" not in f"{caught.value} {caught.value.invalid_value}"


# --- configure_gateway --------------------------------------------------------------------------------------------


def test_a_configuration_of_ones_own(up: Upstream) -> None:
    config = configure_gateway(
        model_list=[{"model_name": "gpt-4", "litellm_params": {"model": "openai/gpt-4", "api_key": "sk-..."}}],
        fallbacks=["gpt-3.5-turbo"],
        timeout=120.0,
        max_retries=5,
    )
    assert isinstance(config, GatewayConfig)
    assert config.groups == ["gpt-4", "gpt-3.5-turbo"]
    assert (config.timeout, config.max_retries, config.fallbacks) == (120.0, 5, ["gpt-3.5-turbo"])
    with LiteLLMGateway(config=config) as gateway:
        assert gateway.default_model == "gpt-4"


@pytest.mark.parametrize(
    ("wrong", "key", "meant"),
    [
        ({"model_nam": "a", "litellm_params": {"model": "openai/x", "api_key": "sk-1"}}, "model_nam", "model_name"),
        ({"model_name": "a", "litellm_parms": {"model": "openai/x"}}, "litellm_parms", "litellm_params"),
        (
            {"model_name": "a", "litellm_params": {"model": "openai/x", "api_key": "sk-1"}, "model_inf": {}},
            "model_inf",
            "model_info",
        ),
    ],
)
def test_a_mistyped_key_of_an_entry_is_reported_with_the_right_one(wrong: dict[str, Any], key: str, meant: str) -> None:
    """U-E3"""
    with pytest.raises(ConfigurationError) as caught:
        configure_gateway([wrong])
    assert caught.value.config_key == f"model_list[0].{key}"
    assert caught.value.suggestion == f"did you mean '{meant}'?"
    assert "None" not in str(caught.value)


def test_a_configuration_is_validated_as_a_file_would_be(up: Upstream) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure_gateway([entry(up, rpm="many")])
    assert caught.value.config_key == "model_list[0].litellm_params.rpm"
    with pytest.raises(ConfigurationError, match="nobody-knows"):
        configure_gateway([entry(up)], fallbacks=["nobody-knows"])
    with pytest.raises(ConfigurationError, match="NOT_THERE"):
        configure_gateway([entry(up, api_key="os.environ/NOT_THERE")])


# --- names --------------------------------------------------------------------------------------------------------


def test_functions_and_methods_take_the_same_arguments() -> None:
    pairs: list[tuple[Any, Any]] = [
        (generate_text, LiteLLMGateway.generate),
        (generate_text_async, LiteLLMGateway.generate_async),
        (stream_text, LiteLLMGateway.stream),
        (stream_text_async, LiteLLMGateway.stream_async),
        (generate_embeddings, LiteLLMGateway.embed),
        (generate_embeddings_async, LiteLLMGateway.embed_async),
        (batch_generate, LiteLLMGateway.batch),
        (batch_generate_async, LiteLLMGateway.batch_async),
    ]
    for function, method in pairs:
        first, *ours = inspect.signature(function).parameters.values()
        _, *theirs = inspect.signature(method).parameters.values()
        assert first.name == "gateway"
        assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]
        assert inspect.iscoroutinefunction(function) is inspect.iscoroutinefunction(method)


def test_every_function_has_its_asynchronous_twin() -> None:
    assert {name for name in gatewayd.__all__ if name.endswith("_async")} == {
        f"{name}_async" for name in ("batch_generate", "generate_embeddings", "generate_text", "stream_text")
    }
