from __future__ import annotations

import asyncio
import builtins
import threading
from typing import Any

import pytest

from gatewayd.client import batch
from gatewayd.client.calls import Prompt
from gatewayd.errors import ConfigurationError
from tests.client.upstreams import eventually


class Calls:
    """Answers after a moment, later ones sooner; counts how many are under way at once."""

    def __init__(self, *wrong: int) -> None:
        self.under_way = self.most = self.cancelled = 0
        self._wrong = wrong

    async def __call__(self, prompt: Prompt) -> str:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(20 - int(str(prompt))):
                await asyncio.sleep(0)
            if int(str(prompt)) in self._wrong:
                raise LookupError(prompt)
            return f"<{prompt}>"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


def gather(calls: Calls, prompts: list[Any], **options: Any) -> Any:
    given = {"max_concurrency": 4, "return_exceptions": False, "tick": lambda: None, **options}
    return batch.run_all(calls, prompts, **given)


async def test_order_is_kept_and_concurrency_bounded() -> None:
    calls = Calls()
    ticks: list[int] = []
    prompts = [str(i) for i in range(20)]
    results = await gather(calls, prompts, tick=lambda: ticks.append(1))
    assert results == [f"<{i}>" for i in range(20)]
    assert calls.most == 4
    assert len(ticks) == 20


async def test_nothing_to_do() -> None:
    assert await gather(Calls(), []) == []


async def test_the_first_error_is_raised_as_itself_and_ends_the_rest() -> None:
    calls = Calls(3)
    with pytest.raises(LookupError, match="3"):
        await gather(calls, [str(i) for i in range(20)])
    assert calls.under_way == 0
    assert calls.cancelled > 0


async def test_errors_stand_where_answers_would() -> None:
    results = await gather(Calls(1, 2), [str(i) for i in range(4)], return_exceptions=True)
    assert [type(result) for result in results] == [str, LookupError, LookupError, str]


async def test_cancelling_cancels_every_call() -> None:
    calls = Calls()
    task = asyncio.get_running_loop().create_task(gather(calls, ["0"] * 4))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.cancelled == 4


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_in_a_thread_of_its_own_with_ticks_in_the_callers() -> None:
    before = threads()
    where: list[int] = []
    results = batch.run_in_thread(
        lambda tick: gather(Calls(), ["1", "2"], tick=tick), lambda: where.append(threading.get_ident())
    )
    assert results == ["<1>", "<2>"]
    assert where == [threading.get_ident()] * 2
    assert threads() <= before


async def test_in_a_thread_of_its_own_inside_a_running_loop() -> None:
    assert batch.run_in_thread(lambda tick: gather(Calls(), ["1"], tick=tick), lambda: None) == ["<1>"]


def test_an_error_in_the_thread_reaches_the_caller() -> None:
    with pytest.raises(LookupError):
        batch.run_in_thread(lambda tick: gather(Calls(1), ["1"], tick=tick), lambda: None)


def test_an_interrupt_ends_the_thread() -> None:
    before = threads()
    calls = Calls()

    def interrupted() -> None:
        raise KeyboardInterrupt

    async def endless(prompt: Prompt) -> str:
        if prompt == "0":
            return "first"
        try:
            await asyncio.Event().wait()
        finally:
            calls.cancelled += 1
        return "never"

    def work(tick: batch.Tick) -> Any:
        return batch.run_all(endless, ["0", "1", "2"], max_concurrency=3, return_exceptions=False, tick=tick)

    with pytest.raises(KeyboardInterrupt):
        batch.run_in_thread(work, interrupted)
    assert calls.cancelled == 2
    assert threads() <= before


def test_an_interrupt_that_comes_when_all_is_done() -> None:
    """While a bar is still drawn, say."""

    def interrupted() -> None:
        eventually(lambda: all(thread.name != "gatewayd-batch" for thread in threading.enumerate()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.run_in_thread(lambda tick: gather(Calls(), ["1"], tick=tick), interrupted)


@pytest.mark.parametrize("value", [0, 1001, 2.5, "8"])
def test_bounds_of_concurrency(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        batch.checked(["a"], value)
    assert caught.value.config_key == "max_concurrency"


def test_one_text_is_no_list_of_prompts() -> None:
    with pytest.raises(TypeError, match="list of prompts"):
        batch.checked("a prompt", 8)
    assert batch.checked((p for p in ["a", "b"]), 8) == (["a", "b"], 8)


def test_the_bar_counts_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with batch.progress_bar(True, 3) as tick:
        for _ in range(3):
            tick()
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert captured.out == ""


def test_no_bar_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    with batch.progress_bar(False, 3) as tick:
        tick()
    assert capsys.readouterr().err == ""


def test_without_tqdm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"gatewayd\[progress\]"), batch.progress_bar(True, 1):
        pass
