"""Gateways in front of a stand-in: attached straight to it, and private daemons."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gatewayd.client.config import GatewayConfig
from gatewayd.client.gateway import DEFAULT_BASE_URL, Health, LiteLLMGateway
from gatewayd.client.models import to_name
from gatewayd.errors import ConfigurationError
from tests.client.upstreams import VECTOR, Upstream, completion, entry, eventually, upstream
from tests.replies import HANG, body_reply, chat_events, error_reply, json_reply, sse_reply


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as up:
        yield up


@pytest.fixture
def private(up: Upstream) -> Iterator[LiteLLMGateway]:
    with LiteLLMGateway(GatewayConfig([entry(up)], max_retries=1, retry_delay=0.1)) as gateway:
        yield gateway


@pytest.fixture(params=["private", "attached"])
def gateway(request: pytest.FixtureRequest, up: Upstream) -> Iterator[LiteLLMGateway]:
    """A gateway of either kind, whose default model is gpt-4."""
    if request.param == "private":
        made = LiteLLMGateway(GatewayConfig([entry(up)], max_retries=1, retry_delay=0.1))
    else:
        made = LiteLLMGateway(base_url=up.base_url, api_key="sk-up", default_model="gpt-4")
    with made:
        yield made


# --- every call ---------------------------------------------------------------------------------------------------


def test_calls_of_threads(gateway: LiteLLMGateway) -> None:
    assert gateway.generate("Hi") == "gpt-4: Hi"
    assert gateway.generate([{"role": "user", "content": "Ho"}], model="gpt-4") == "gpt-4: Ho"
    assert "".join(gateway.stream("one two")) == "gpt-4: one two"
    assert gateway.embed(["a", "b"]) == [VECTOR, [2 * x for x in VECTOR]]
    assert gateway.batch(["a", "b", "c"], max_concurrency=2) == ["gpt-4: a", "gpt-4: b", "gpt-4: c"]


async def test_calls_of_coroutines(gateway: LiteLLMGateway) -> None:
    assert await gateway.generate_async("Hi") == "gpt-4: Hi"
    assert "".join([piece async for piece in gateway.stream_async("one two")]) == "gpt-4: one two"
    assert await gateway.embed_async("a") == [VECTOR]
    assert await gateway.batch_async(["a", "b"]) == ["gpt-4: a", "gpt-4: b"]
    await gateway.aclose()


async def test_blocking_calls_inside_a_running_loop(gateway: LiteLLMGateway) -> None:
    assert gateway.generate("Hi") == "gpt-4: Hi"
    assert "".join(gateway.stream("Hi")) == "gpt-4: Hi"
    assert gateway.batch(["a", "b"]) == ["gpt-4: a", "gpt-4: b"]


def test_loops_one_after_the_other_and_threads_side_by_side(gateway: LiteLLMGateway) -> None:
    for _ in range(3):
        assert asyncio.run(gateway.generate_async("Hi")) == "gpt-4: Hi"
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(gateway.generate("Hi"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["gpt-4: Hi"] * 8


def test_the_ready_made_clients(gateway: LiteLLMGateway) -> None:
    messages: Any = [{"role": "user", "content": "Hi"}]
    made = gateway.openai.chat.completions.create(model="gpt-4", messages=messages)
    assert made.choices[0].message.content == "gpt-4: Hi"

    async def awaited() -> str | None:
        made = await gateway.async_openai.chat.completions.create(model="gpt-4", messages=messages)
        return made.choices[0].message.content

    assert asyncio.run(awaited()) == "gpt-4: Hi"


def test_health(gateway: LiteLLMGateway) -> None:
    assert gateway.health() == Health(True, ("gpt-4",))


def test_health_of_a_server_that_refuses() -> None:
    with upstream(error_reply(401, "who are you?")) as up, LiteLLMGateway(base_url=up.base_url) as gateway:
        health = gateway.health()
        assert not health
        assert health.reason == f"{up.base_url} answered 401: who are you?"


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"{}", b'{"data": null}', b'{"data": {"a": 1}}'])
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_health_of_a_server_that_speaks_something_else(body: bytes, content_type: str) -> None:
    with upstream(body_reply(body, content_type=content_type)) as up, LiteLLMGateway(base_url=up.base_url) as gateway:
        assert gateway.health() == Health(False, reason=f"{up.base_url} answers, but not with OpenAI's API")


def test_in_a_batch_errors_are_raised_or_stand_in_the_result() -> None:
    answers = [error_reply(400, "as scripted"), json_reply({"choices": [{"message": {"content": "ok"}}]})]
    with upstream(*answers) as up, LiteLLMGateway(GatewayConfig([entry(up)])) as gateway:
        results = gateway.batch(["a", "b"], max_concurrency=1, return_exceptions=True)
        assert isinstance(results[0], openai.BadRequestError)
        assert results[1] == "ok"
        up.then(*answers)
        with pytest.raises(openai.BadRequestError, match="as scripted"):
            gateway.batch(["a", "b"], max_concurrency=1)


def test_a_progress_bar(private: LiteLLMGateway, capsys: pytest.CaptureFixture[str]) -> None:
    private.batch(["a", "b"], progress=True)
    assert "2/2" in capsys.readouterr().err


# --- the private daemon -------------------------------------------------------------------------------------------


def test_the_daemon_retries_and_the_client_does_not(up: Upstream, private: LiteLLMGateway) -> None:
    up.then(error_reply(500))
    with pytest.raises(openai.InternalServerError):
        private.generate("Hi")
    assert len(up.requests) == 2  # max_retries=1
    assert private.openai.max_retries == 0


def test_a_fallback_answers(up: Upstream) -> None:
    with upstream(error_reply(500)) as bad:
        config = GatewayConfig([entry(bad), entry(up, "b", "openai/b")], ["b"], max_retries=0)
        with LiteLLMGateway(config) as gateway:
            assert gateway.generate("Hi") == "b: Hi"


def test_a_timeout_is_an_error_of_the_sdk() -> None:
    with upstream(sse_reply([HANG])) as up:
        config = GatewayConfig([entry(up)], timeout=1, max_retries=0)
        with LiteLLMGateway(config) as gateway, pytest.raises(openai.APIStatusError) as caught:
            gateway.generate("Hi")
        assert caught.value.status_code == 504
        assert caught.value.code == "upstream_timeout"


def test_any_model_of_a_wildcards_provider_can_be_named(up: Upstream) -> None:
    config = GatewayConfig([entry(up), entry(up, "openai/*", "openai/*")])
    with LiteLLMGateway(config) as gateway:
        assert gateway.generate("Hi", model="gpt-4o") == "gpt-4o: Hi"
        assert gateway.generate("Hi", model="openai/gpt-4o") == "gpt-4o: Hi"
        assert gateway.embed("Hi", model="text-embedding-ada-002") == [VECTOR]
        for unknown in ("claude-sonnet-4-5", "nobody-knows"):
            with pytest.raises(openai.NotFoundError, match=unknown):
                gateway.generate("Hi", model=unknown)
    assert up.requests[-1].json()["model"] == "text-embedding-ada-002"


def test_others_on_the_machine_cannot_use_it(private: LiteLLMGateway) -> None:
    stranger = openai.OpenAI(base_url=private.base_url, api_key="sk-guess", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_cut_stream_raises(up: Upstream, private: LiteLLMGateway) -> None:
    """A-01"""
    up.then(sse_reply(chat_events("one ", "two")[:2], framing="close"))
    pieces = private.stream("Hi")
    assert next(pieces) == "one "
    assert next(pieces) == "two"
    with pytest.raises(openai.APIError) as caught:
        next(pieces)
    assert caught.value.code == "upstream_incomplete"


@pytest.mark.parametrize("awaited", [False, True])
def test_a_stream_left_early_is_cancelled_upstream(up: Upstream, private: LiteLLMGateway, awaited: bool) -> None:
    """A-20"""
    up.then(sse_reply([chat_events("one")[0], HANG]))

    async def leave() -> None:
        async for _ in private.stream_async("Hi"):
            break

    if awaited:
        asyncio.run(leave())
    else:
        pieces = private.stream("Hi")
        next(pieces)
        pieces.close()
        up.then(json_reply(completion("Hello")))
        assert private.generate("Hi") == "Hello"  # what is asked afterwards is answered later
        assert up.peers[-2].gone.is_set()
        return
    eventually(up.peers[-1].gone.is_set)


# --- what cannot be used ------------------------------------------------------------------------------------------


def test_a_bad_configuration_is_told_without_keys() -> None:
    bad: Any = {"model_name": "a", "litellm_params": {"api_key": "sk-secret-key"}}
    with pytest.raises(ConfigurationError) as caught:
        LiteLLMGateway(GatewayConfig([bad]))
    assert caught.value.config_key == "model_list[0].litellm_params.model"
    assert "sk-secret-key" not in str(caught.value)


def test_all_problems_are_told_at_once(up: Upstream) -> None:
    config = GatewayConfig([entry(up)], ["nobody"], router_settings={"cooldown_time": "soon"})
    with pytest.raises(ConfigurationError) as caught:
        LiteLLMGateway(config)
    assert "nobody" in str(caught.value)
    assert "cooldown_time" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"config": {"model_list": []}}, "config"),
        ({"config": GatewayConfig([]), "base_url": "http://127.0.0.1:1"}, "base_url"),
        ({"config": GatewayConfig([])}, "model_list"),
        ({"base_url": "127.0.0.1:4000"}, "base_url"),
        ({"base_url": "http://127.0.0.1:1", "api_key": "sk-\n"}, "api_key"),
        ({"base_url": "http://127.0.0.1:1", "timeout": 0}, "timeout"),
        ({"base_url": "http://127.0.0.1:1", "max_retries": 11}, "max_retries"),
        ({"base_url": "http://127.0.0.1:1", "default_model": ""}, "default_model"),
    ],
)
def test_wrong_arguments(given: Any, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LiteLLMGateway(**given)
    assert caught.value.config_key == key
    assert "sk-" not in str(caught.value)


# --- attaching ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["gatewayd.yaml", Path("gatewayd.yaml")])
def test_a_path_is_answered_with_how_to_read_a_file(config: Any) -> None:
    """U-E4"""
    with pytest.raises(ConfigurationError) as caught:
        LiteLLMGateway(config=config)
    assert caught.value.suggestion == "GatewayConfig.from_file('gatewayd.yaml') reads a file"


def test_a_daemons_file(up: Upstream, tmp_path: Path) -> None:
    """U-E4: its includes, relative secret files and settings hold; its key and its listeners do not."""
    (tmp_path / "key").write_text("sk-from-a-file")
    (tmp_path / "models.yaml").write_text(
        "model_list: [{model_name: a, litellm_params: {model: openai/gpt-4, "
        f"api_key: 'file:key', api_base: '{up.base_url}'}}}}]\n"
    )
    file = tmp_path / "gatewayd.yaml"
    file.write_text(
        "include: [models.yaml]\ngeneral_settings: {master_key: sk-0123456789abcdef}\n"
        "router_settings: {num_retries: 0}\ngatewayd: {listen: '0.0.0.0:4000', timeouts: {total: 30}}\n"
    )
    config = GatewayConfig.from_file(file)
    assert (config.groups, config.default_model) == (["a"], "a")
    assert config.to_dict()["router_settings"] == {"num_retries": 0}
    with LiteLLMGateway(config) as gateway:
        assert gateway.generate("Hi", model="a") == "gpt-4: Hi"
    assert up.requests[-1].headers["authorization"] == "Bearer sk-from-a-file"


def test_a_daemons_file_that_is_wrong(tmp_path: Path) -> None:
    """U-E4"""
    file = tmp_path / "gatewayd.yaml"
    for text in ("model_list: []\nmodel_list: []\n", "x: [", None):
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigurationError):
            GatewayConfig.from_file(file if text is not None else tmp_path / "nothing.yaml")


def test_a_call_without_any_model_says_default_model(up: Upstream) -> None:
    """U-E4"""
    config = GatewayConfig([entry(up, "openai/*", "openai/*")])
    with LiteLLMGateway(config) as gateway, pytest.raises(ConfigurationError) as caught:
        gateway.generate("Hi")
    assert caught.value.config_key == "default_model"
    assert not up.requests


@pytest.mark.parametrize(
    ("target", "model", "allowed"),
    [
        ("openai/*", "anthropic/claude-x", False),
        ("openai/*", "gpt-9", True),
        ("groq/*", "openai/gpt-oss-20b", True),
        ("openrouter/*", "anthropic/claude-x", True),
    ],
)
def test_a_model_of_another_provider_is_not_sent_to_the_only_one(target: str, model: str, allowed: bool) -> None:
    """U-E4"""
    config = GatewayConfig([{"model_name": "*", "litellm_params": {"model": target, "api_key": "sk-0123456789"}}])
    if allowed:
        assert to_name(config, None, model) == model
        return
    with pytest.raises(ConfigurationError, match="serves openai only"):
        to_name(config, None, model)


@pytest.mark.parametrize(("prompts", "kind"), [(None, "NoneType"), (3, "int"), ({"a": 1}, "dict"), (b"x", "bytes")])
def test_prompts_of_a_wrong_type(prompts: Any, kind: str, private: LiteLLMGateway) -> None:
    """U-E4"""
    with pytest.raises(TypeError, match=f"prompts is a list of prompts, not {kind}"):
        private.batch(prompts)


def test_where_an_attached_gateway_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAYD_BASE_URL", raising=False)
    monkeypatch.setenv("GATEWAYD_API_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-us")
    with LiteLLMGateway() as gateway:
        assert gateway.base_url == DEFAULT_BASE_URL
        assert gateway.openai.api_key == "sk-mine"
    monkeypatch.setenv("GATEWAYD_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("GATEWAYD_API_KEY")
    with LiteLLMGateway(max_retries=4, timeout=7) as gateway:
        assert gateway.base_url == "http://127.0.0.1:1/v1"
        assert gateway.openai.api_key != "sk-not-for-us"
        assert (gateway.openai.max_retries, gateway.openai.timeout) == (4, 7.0)
    with LiteLLMGateway(base_url="http://127.0.0.1:2/v1", api_key="sk-other") as gateway:
        assert gateway.base_url == "http://127.0.0.1:2/v1"
        assert gateway.openai.api_key == "sk-other"
        assert "sk-other" not in repr(gateway)


def test_nobody_there() -> None:
    with LiteLLMGateway(base_url="http://127.0.0.1:1", max_retries=0) as gateway:
        with pytest.raises(openai.APIConnectionError):
            gateway.generate("Hi", model="m")
        health = gateway.health()
        assert not health
        assert health.reason is not None
        assert "does not answer" in health.reason


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_closed_gateway_says_so(up: Upstream) -> None:
    gateway = LiteLLMGateway(GatewayConfig([entry(up)]))
    gateway.generate("Hi")
    gateway.close()
    gateway.close()
    asyncio.run(gateway.aclose())
    with pytest.raises(RuntimeError, match="the gateway is closed"):
        gateway.generate("Hi")
    assert gateway.health() == Health(False, reason="the gateway is closed")  # U-E4
    assert "closed" in repr(gateway)
    eventually(lambda: all(peer.gone.is_set() for peer in up.peers))


async def test_as_an_asynchronous_context(up: Upstream) -> None:
    def threads() -> int:
        """Without those of this loop's executor, which come as it likes and go with the loop."""
        return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())

    before = threads()
    async with LiteLLMGateway(GatewayConfig([entry(up)])) as gateway:
        assert await gateway.generate_async("Hi") == "gpt-4: Hi"
    await asyncio.to_thread(lambda: None)
    assert not [thread for thread in threading.enumerate() if thread.name == "gatewayd"]
    assert threads() <= before


def test_many_at_once(up: Upstream) -> None:
    gateways = [LiteLLMGateway(GatewayConfig([entry(up, f"g{i}")])) for i in range(10)]
    assert len({gateway.base_url for gateway in gateways}) == 10
    assert [gateway.generate("Hi", model=f"g{i}") for i, gateway in enumerate(gateways)] == ["gpt-4: Hi"] * 10
    for gateway in gateways:
        gateway.close()


def test_a_copy_of_a_configuration_makes_an_equal_gateway(up: Upstream) -> None:
    config = GatewayConfig([entry(up)])
    with LiteLLMGateway(copy.deepcopy(config)) as one, LiteLLMGateway(config) as other:
        assert one.config == other.config
        assert one.base_url != other.base_url


def _in_a_child(gateway: LiteLLMGateway, answers: Any) -> None:
    answers.put([os.getpid(), gateway.base_url, gateway.generate("Hi"), asyncio.run(gateway.generate_async("Ho"))])
    gateway.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_gets_a_daemon_and_connections_of_its_own(gateway: LiteLLMGateway, up: Upstream) -> None:
    assert gateway.generate("Hi") == "gpt-4: Hi"
    fork = multiprocessing.get_context("fork")
    answers: Any = fork.SimpleQueue()
    child = fork.Process(target=_in_a_child, args=(gateway, answers))
    child.start()
    pid, base_url, text, awaited = answers.get()
    child.join(20)
    assert child.exitcode == 0
    assert pid == child.pid
    assert (text, awaited) == ("gpt-4: Hi", "gpt-4: Ho")
    assert (base_url != gateway.base_url) is (gateway.config is not None)
    assert gateway.generate("Hi") == "gpt-4: Hi"  # the parent's is untouched
