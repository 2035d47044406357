"""From a path to a `Result`: in this process, or in a child process that may crash without harm.

A daemon that is starting, and `gatewayd check`, read in process. A serving daemon reads in a child: parsing a large
file holds the interpreter for a second, and a hostile one could end it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from gatewayd.config.channel import HEADER, Assembler, ChannelError, body_length
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.tasks import spawn

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = "import sys; sys.path.append(sys.argv.pop(1)); from gatewayd.config.child import main; main()"
"""`-m gatewayd.config.child` would not find a gatewayd that runs from a source tree instead of site-packages."""

_MANY_FRAMES = 32
"""About a thousand deployments, each of which comes twice: in the snapshot and in its effective tree."""


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str]) -> Result:
    """Reads and validates in this process. Never raises for a bad file."""
    from gatewayd.config.validator import ConfigValidator  # pydantic: the parent of a child process goes without it

    return ConfigValidator(environ=environ).check(path)


async def load_in_child(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str],
    timeout: float = 30.0,
    settled: Callable[[], Awaitable[None]] | None = None,
) -> Result:
    """The same in a fresh process, which gets `environ` as its environment and at most `timeout` seconds.

    The file is not read before `settled()` is over: the process starts up meanwhile, which takes as long as reading.
    Never raises but for cancellation, which kills the child: a child that crashes, hangs or talks nonsense yields one
    problem, `config_reader_failed`. The result is put together in steps of about a millisecond.
    """
    # -P: the folder the daemon was started in is no place to import modules from.
    command = [sys.executable, "-P", "-c", _START, _ROOT, os.fspath(path)]
    return await read_from(command, os.fspath(path), environ=environ, timeout=timeout, settled=settled)


async def read_from(
    command: Sequence[str],
    path: str,
    *,
    environ: Mapping[str, str],
    timeout: float,
    settled: Callable[[], Awaitable[None]] | None = None,
) -> Result:
    """Runs `command`, a process that waits for the end of standard input and then writes one result to standard output
    as `channel` frames.

    `path` only names the configuration in problems.
    """

    def failure(what: str) -> Result:
        message = f"the process that reads the configuration {what}"
        hint = "`gatewayd check` reads the file in its own process and may say more"
        return Result(None, (Problem("config_reader_failed", message, file=path, hint=hint),))

    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE if settled else DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return failure(f"could not be started: {type(error).__name__}")
    try:
        if settled is not None and child.stdin is not None:
            await settled()
            child.stdin.close()
        async with asyncio.timeout(timeout):
            try:
                result = await _receive(child)
            except asyncio.IncompleteReadError:
                return failure(_ended(await child.wait()))
            # It ends by itself now. Popen.kill() would race with asyncio's own waiting for it, which then complains.
            await child.communicate()
            return result
    except TimeoutError:
        return failure(f"was stopped: it did not finish within {timeout:g} seconds")
    except ChannelError as error:
        return failure(f"sent something that is no result: {error}")
    finally:
        await _reap(child)


async def _receive(child: Process) -> Result:
    assert child.stdout is not None
    assembler = Assembler()
    with ExitStack() as stack:
        for count in itertools.count(1):
            length = body_length(await child.stdout.readexactly(HEADER.size))
            result = assembler.feed(await child.stdout.readexactly(length))
            if result is not None:
                return result
            if count == _MANY_FRAMES:
                stack.enter_context(_out_of_collection())
            await asyncio.sleep(0)  # readexactly does not let others run while it has enough
    raise AssertionError("itertools.count has no end")


@contextmanager
def _out_of_collection() -> Iterator[None]:
    """Keeps the garbage collector away from everything made inside, now and later.

    The snapshot of 10,000 deployments is 80,000 objects the collector would walk again and again, 35 ms each time with
    the event loop standing still. They hold no cycles, so counting references frees them. What is garbage already is
    collected first, because freezing would keep it for ever.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def _reap(child: Process) -> None:
    if child.returncode is None:
        try:
            child.kill()
        except ProcessLookupError:
            pass
    # communicate() reads what is left: with a full pipe, wait() alone would never return. In a task of its own, for
    # a second cancellation must not leave a zombie behind.
    await asyncio.shield(spawn(child.communicate(), name="reap config child"))


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code} and no result"
