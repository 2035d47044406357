"""The private daemon's life: it leaves nothing behind, however it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import openai
import pytest

from gatewayd.client import embedded
from gatewayd.client.config import GatewayConfig
from gatewayd.client.embedded import PrivateDaemon, as_configuration_error
from gatewayd.client.gateway import LiteLLMGateway
from gatewayd.config.problems import Problem
from gatewayd.errors import ConfigInvalid, ConfigurationError
from tests.client.upstreams import Upstream, entry, eventually, upstream
from tests.replies import HANG, chat_events, sse_reply

ROOT = Path(__file__).parents[2]


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as up:
        yield up


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def daemons() -> int:
    return sum(thread.name == "gatewayd" for thread in threading.enumerate())


def use(config: GatewayConfig) -> None:
    with LiteLLMGateway(config) as gateway:
        assert gateway.generate("Hi") == "gpt-4: Hi"
        assert "".join(gateway.stream("Hi")) == "gpt-4: Hi"
        assert asyncio.run(gateway.generate_async("Hi")) == "gpt-4: Hi"


def test_a_hundred_in_a_row_leave_nothing(up: Upstream) -> None:
    config = GatewayConfig([entry(up)])
    for _ in range(5):
        use(config)
    up.forget()
    gc.collect()
    tracemalloc.start()
    try:
        threads, files, memory = threading.active_count(), fds(), tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            use(config)
        up.forget()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - memory
    finally:
        tracemalloc.stop()
    assert threading.active_count() == threads
    eventually(lambda: fds() <= files)
    assert grown < 100 * 4096, f"{grown} bytes are still held"


def test_one_that_nobody_refers_to_ends(up: Upstream) -> None:
    gateway = LiteLLMGateway(GatewayConfig([entry(up)]))
    assert gateway.generate("Hi") == "gpt-4: Hi"
    assert daemons() == 1
    del gateway
    gc.collect()
    eventually(lambda: daemons() == 0)


def test_one_that_never_was_used_ends_without_the_collector(up: Upstream) -> None:
    gc.disable()
    try:
        gateway = LiteLLMGateway(GatewayConfig([entry(up)]))
        assert daemons() == 1
        del gateway
        eventually(lambda: daemons() == 0)
    finally:
        gc.enable()


def test_it_lives_as_long_as_a_client_taken_out_of_the_gateway(up: Upstream) -> None:
    client = LiteLLMGateway(GatewayConfig([entry(up)])).openai.with_options(timeout=5)
    gc.collect()
    made = client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hi"}])
    assert made.choices[0].message.content == "gpt-4: Hi"
    client.close()
    del client, made
    gc.collect()
    eventually(lambda: daemons() == 0)


def test_closing_ends_what_is_under_way(up: Upstream) -> None:
    up.then(sse_reply([chat_events("one")[0], HANG]))
    gateway = LiteLLMGateway(GatewayConfig([entry(up)]))
    pieces = gateway.stream("Hi")
    assert next(pieces) == "one"
    gateway.close()
    assert daemons() == 0
    eventually(up.peers[0].gone.is_set)
    with pytest.raises(openai.APIError):
        next(pieces)


def test_a_refused_configuration_leaves_nothing() -> None:
    files = fds()
    with pytest.raises(ConfigurationError):
        PrivateDaemon({"model_list": []})
    assert daemons() == 0
    eventually(lambda: fds() <= files)


def test_an_interrupt_while_it_starts_leaves_nothing(up: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Future[str]):
        def result(self, timeout: float | None = None) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        LiteLLMGateway(GatewayConfig([entry(up)]))
    eventually(lambda: daemons() == 0)


def test_its_key_is_its_own_whatever_the_environment_says(up: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """U-A2: a master key meant for a server changes nothing inside a program."""
    monkeypatch.setenv("LITELLM_MASTER_KEY", "short")
    use(GatewayConfig([entry(up)]))


def test_several_problems_as_one_exception() -> None:
    problems = [
        Problem("a", "odd", "x", severity="warning"),
        Problem("b", "wrong", "y.z", hint="right it"),
        Problem("c", "bad", "w"),
    ]
    error = as_configuration_error(ConfigInvalid(problems))
    assert (error.config_key, error.suggestion) == ("y.z", "right it")
    assert "wrong" in str(error)
    assert "bad" in str(error)
    assert "odd" not in str(error)
    assert str(as_configuration_error(ConfigInvalid(problems[1:2]))) == "y.z: wrong\n  hint: right it"


EVERYTHING = """
import asyncio, threading
never_used, left, in_a_cycle, used = (LiteLLMGateway(config) for _ in range(4))
used.generate("Hi")
asyncio.run(used.generate_async("Hi"))
thread = threading.Thread(target=used.generate, args=("Hi",))
thread.start()
thread.join()
pieces = left.stream("one two three")
next(pieces)
in_a_cycle.me = in_a_cycle
in_a_cycle.generate("Hi")
del in_a_cycle
raise SystemExit(0)
"""
FORK = """
import os
gateway = LiteLLMGateway(config)
gateway.generate("Hi")
child = os.fork()
gateway.generate("Hi")
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("script", [EVERYTHING, FORK], ids=["whatever was done", "after a fork"])
def test_the_interpreter_ends_in_silence(up: Upstream, script: str) -> None:
    head = f"from gatewayd import GatewayConfig, LiteLLMGateway\nconfig = GatewayConfig([{entry(up)!r}])\n"
    command = [sys.executable, "-W", "default::ResourceWarning", "-W", "default::RuntimeWarning", "-c", head + script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
