"""Loading in a child process: the same result as in process, and a `Result` whatever the child does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from gatewayd.config.loader import load, load_in_child, read_from
from gatewayd.config.result import Result
from gatewayd.secret import Secret
from tests.config.children import ENVIRON, child_with_validator, program

GOOD = """\
model_list:
  - model_name: demo
    litellm_params: {model: openai/gpt-4o, api_base: "http://127.0.0.1:1/v1", api_key: os.environ/CHILD_KEY}
general_settings: {master_key: file:key}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("sk-master-0123456789abcdef\n")
    return write(tmp_path / "gatewayd.yaml", GOOD)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


async def outcome(command: list[str], timeout: float = 60) -> Result:
    return await read_from(command, "some.yaml", environ=ENVIRON, timeout=timeout)


async def failure(command: list[str], timeout: float = 60) -> str:
    result = await outcome(command, timeout)
    assert result.snapshot is None
    (problem,) = result.problems
    assert (problem.code, problem.file, problem.severity) == ("config_reader_failed", "some.yaml", "error")
    return problem.message.removeprefix("the process that reads the configuration ")


# --- real configurations ----------------------------------------------------------------------------------------------


async def test_a_good_file_gives_the_same_snapshot_as_in_process(config: Path) -> None:
    environ = {"CHILD_KEY": "sk-child"}
    result = await load_in_child(config, environ=environ)
    assert result == load(config, environ=environ)
    assert result.snapshot is not None
    assert result.snapshot.deployments[0].api_key == Secret("sk-child")
    assert result.snapshot.server.master_key == Secret("sk-master-0123456789abcdef")


async def test_only_the_given_environment_counts(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-15."""
    monkeypatch.setenv("CHILD_KEY", "sk-of-the-parent")
    result = await load_in_child(config, environ={})
    assert result.snapshot is None
    assert [(p.code, p.line, p.file) for p in result.problems if p.severity == "error"] == [
        ("reference_unresolved", 3, str(config))
    ]


async def test_all_problems_of_a_bad_file_arrive(config: Path) -> None:
    """E-16."""
    write(config, GOOD + "general_settings: {}\nx: !!python/object y\n")
    result = await load_in_child(config, environ={"CHILD_KEY": "x"})
    assert result == load(config, environ={"CHILD_KEY": "x"})
    assert {p.code for p in result.problems} >= {"yaml_duplicate_key", "yaml_tag"}


async def test_a_bomb_is_refused(config: Path) -> None:
    """E-08."""
    write(config, "model_list: " + "[" * 30_000)
    result = await load_in_child(config, environ={})
    assert [p.code for p in result.problems] == ["config_limit"]


async def test_a_missing_file_with_a_name_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-05."""
    monkeypatch.chdir(tmp_path)
    result = await load_in_child("-c", environ={})
    assert [(p.code, p.file) for p in result.problems] == [("config_missing", "-c")]


async def test_the_file_is_not_read_before_it_has_settled(config: Path) -> None:
    """E-03: the process starts while the file may still be half-written."""
    write(config, GOOD[:-30])

    async def settled() -> None:
        await asyncio.sleep(0)
        write(config, GOOD)

    result = await load_in_child(config, environ={"CHILD_KEY": "x"}, settled=settled)
    assert result == load(config, environ={"CHILD_KEY": "x"})
    assert result.snapshot is not None


async def test_cancelling_while_the_file_settles_kills_the_child(config: Path) -> None:
    waiting = asyncio.Event()

    async def settled() -> None:
        waiting.set()
        await asyncio.sleep(600)

    task = asyncio.get_running_loop().create_task(load_in_child(config, environ={}, settled=settled))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_modules_beside_the_configuration_are_not_imported(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config.parent / "yaml.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(config.parent)
    assert (await load_in_child("gatewayd.yaml", environ={"CHILD_KEY": "x"})).snapshot is not None


# --- children that go wrong -------------------------------------------------------------------------------------------


async def test_a_crash() -> None:
    """E-08: what a parser that dies of its input looks like from here."""
    assert await failure(program("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")) == "was ended by signal 11"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit(3)", "ended with exit status 3 and no result"),
        ("pass", "ended with exit status 0 and no result"),
        ("print('gwd', end='')", "ended with exit status 0 and no result"),
        ("print('garbage, but quite a lot of it')", "sent an invalid result: "),
        ("import os\nfor _ in range(1000): os.write(1, bytes(10_000))", "sent an invalid result: "),
        ("import sys; sys.stdout.write('gwd\\1\\0\\0\\0\\7garbage')", "sent an invalid result: "),
        ("import sys; sys.stdout.write('gwd\\1\\0\\0\\1\\0short')", "ended with exit status 0 and no result"),
    ],
)
async def test_nonsense(text: str, message: str) -> None:
    assert (await failure(program(text))).startswith(message)


async def test_a_child_that_hangs_is_killed() -> None:
    """E-09: whatever computes for ever in the child ends with it."""
    assert (
        await failure(program("import time; time.sleep(600)"), 0.3)
        == "was stopped: it did not finish within 0.3 seconds"
    )


async def test_a_program_that_cannot_be_started() -> None:
    assert await failure(["/no/such/python"]) == "could not be started: FileNotFoundError"
    result = await load_in_child("x", environ={"A\0": "b"})
    assert [p.code for p in result.problems] == ["config_reader_failed"]


async def test_stray_output_is_no_harm() -> None:
    assert await outcome(child_with_validator("print('x' * 100_000)\nreturn Result(None)")) == Result(None)


async def test_cancelling_kills_the_child(tmp_path: Path) -> None:
    """The caller is gone (shutdown, a newer reload): no process stays behind."""
    note = tmp_path / "pid"
    text = f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()) + '.')\ntime.sleep(600)"
    task = asyncio.get_running_loop().create_task(outcome(program(text)))
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text().endswith(".")):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text().rstrip(".")), 0)


@pytest.mark.parametrize("delay", [0, 0.001, 0.05, 0.2])
async def test_cancelling_at_any_moment_leaves_nothing_behind(delay: float) -> None:
    task = asyncio.get_running_loop().create_task(outcome(child_with_validator("return Result(None)")))
    await asyncio.sleep(delay)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_requests_go_first() -> None:
    """E-30: on a machine without a core to spare, reading must not take turns with them as an equal."""
    check = "from gatewayd.config.problems import Problem\nreturn Result(None, (Problem(str(os.nice(0)), ''),))"
    result = await outcome(child_with_validator(check))
    assert int(result.problems[0].code) == min(19, os.nice(0) + 5)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_descriptor_stays_open_and_none_is_closed_twice(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """E-26: the second time it can be anybody's."""
    children = {
        "good": (child_with_validator("return Result(None)"), 60.0),
        "nothing": (program("pass"), 60.0),
        "garbage": (program("import os\nfor _ in range(1000): os.write(1, bytes(10_000))"), 60.0),
        "slow": (program("import time; time.sleep(600)"), 0.3),
        "slower than we are": (program("pass"), 0.0),
    }

    async def all_of_them() -> None:
        for command, timeout in children.values():
            await outcome(command, timeout)
        for delay in (0.0, 0.001, 0.1):
            task = asyncio.get_running_loop().create_task(outcome(children["good"][0]))
            await asyncio.sleep(delay)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for _ in range(20):  # the loop closes its end a turn later
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(all_of_them())  # what is opened once and kept
        before = set(os.listdir("/proc/self/fd"))
        runner.run(all_of_them())
        assert set(os.listdir("/proc/self/fd")) <= before
    gc.collect()  # a descriptor that was closed under a file object makes that complain, which is an error here


# --- large results ----------------------------------------------------------------------------------------------------

LARGE = """
from gatewayd.config.snapshot import Deployment
return Result(Snapshot("r", tuple(Deployment(f"d{i}", "", "m", "forward", "openai", "x") for i in range(20_000))))
"""


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
async def test_others_run_while_a_large_result_is_put_together() -> None:
    """E-30."""
    turns = itertools.count()

    async def other() -> None:
        while True:
            next(turns)
            await asyncio.sleep(0)

    frozen = gc.get_freeze_count()
    task = asyncio.get_running_loop().create_task(other())
    result = await outcome(child_with_validator(LARGE))
    task.cancel()
    assert result.snapshot is not None
    assert len(result.snapshot.deployments) == 20_000
    assert next(turns) > 20_000 / 64
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen + 20_000


@pytest.mark.usefixtures("thawed")
async def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        assert (await outcome(child_with_validator(LARGE))).snapshot is not None
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (child_with_validator("return Result(Snapshot('r', ()))"), None),
        (program("import time; time.sleep(600)"), "config_reader_failed"),
        (program("import os\nfor _ in range(1000): os.write(1, bytes(10_000))"), "config_reader_failed"),
    ],
)
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_on_both_kinds_of_loop(
    loop: Callable[[], asyncio.AbstractEventLoop], command: list[str], code: str | None
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        result = runner.run(outcome(command, 60 if code is None else 0.5))
    assert [p.code for p in result.problems] == ([] if code is None else [code])
