"""From a path to a `Result`: in this process, or in a child process that may crash without harm.

A starting daemon and `gatewayd check` read in their own process. A serving daemon reads in a child process, because
parsing a large file blocks the interpreter for a second, and a malicious one could end it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from subprocess import DEVNULL, PIPE, Popen

from gatewayd.config.channel import HEADER, Assembler, ChannelError, body_length
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import Problem
from gatewayd.config.result import Result
from gatewayd.gc_tuning import gc_paused
from gatewayd.tasks import Yielder, spawn

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = "import sys; sys.path.append(sys.argv.pop(1)); from gatewayd.config.child import child_main; child_main()"
"""`-m gatewayd.config.child` would not find a gatewayd that runs from a source tree instead of site-packages."""

_MANY_FRAMES = 8
"""About five hundred deployments."""
_NICENESS = 5
"""Added to the daemon's own: on a full machine requests go first, and reading still gets a quarter of a core."""


def load(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str],
    keep: str | None = None,
    overrides: Overrides | None = None,
) -> Result:
    """Reads and validates in this process. Never raises for a bad file. `keep`: see `config.lastgood`."""
    if keep is not None:
        from gatewayd.config.lastgood import check_and_keep

        return check_and_keep(os.fspath(path), environ, keep, overrides).packed()
    from gatewayd.config.validator import ConfigValidator  # pydantic: the parent of a child process goes without it

    return ConfigValidator(environ=environ, overrides=overrides).check(path).packed()


async def load_in_child(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str],
    timeout: float = 30.0,
    settled: Callable[[], Awaitable[None]] | None = None,
    keep: str | None = None,
    overrides: Overrides | None = None,
) -> Result:
    """The same in a fresh process, which gets `environ` as its environment and at most `timeout` seconds.

    The child reads the file after `settled()` has ended. It starts up meanwhile, which takes as long as reading. Raises
    only for cancellation, which kills the child. A child that crashes, hangs or sends invalid data gives one problem,
    `config_reader_failed`. The result is assembled in steps of about a millisecond.
    """
    # -P: do not import modules from the daemon's working directory.
    command = [sys.executable, "-P", "-c", _START, _ROOT, os.fspath(path), json.dumps(asdict(overrides or Overrides()))]
    command += [] if keep is None else [keep]
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
        ours, theirs = socket.socketpair()  # uvloop closes a pipe's descriptor twice, and the second may be reused
        with theirs:
            try:
                # Not with uvloop, which copies the large page tables of this process; subprocess shares them (vfork).
                child = Popen(  # noqa: ASYNC220  # blocks for a millisecond, whatever the size
                    command,
                    stdin=PIPE if settled else DEVNULL,
                    stdout=theirs.fileno(),
                    stderr=DEVNULL,
                    env=dict(environ),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
    except (OSError, ValueError) as error:
        return failure(f"could not be started: {type(error).__name__}")
    try:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS)
        async with _reading(ours) as reader:
            if settled is not None and child.stdin is not None:
                await settled()
                child.stdin.close()
            async with asyncio.timeout(timeout):
                try:
                    result = await _receive(reader)
                except (asyncio.IncompleteReadError, ConnectionError):
                    return failure(_ended(await asyncio.to_thread(child.wait)))
                await asyncio.to_thread(child.wait)
                return result
    except TimeoutError:
        return failure(f"was stopped: it did not finish within {timeout:g} seconds")
    except ChannelError as error:
        return failure(f"sent an invalid result: {error}")
    finally:
        # In its own task, so that a second cancellation does not leave a zombie.
        await asyncio.shield(spawn(asyncio.to_thread(_reap, child), name="reap config child"))


@asynccontextmanager
async def _reading(sock: socket.socket) -> AsyncIterator[asyncio.StreamReader]:
    """What comes through `sock`, which is closed afterwards."""
    try:
        reader, writer = await asyncio.open_unix_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        yield reader
    finally:
        writer.close()


async def _receive(reader: asyncio.StreamReader) -> Result:
    """Raises ChannelError, asyncio.IncompleteReadError, ConnectionError."""
    assembler, yielder = Assembler(), Yielder()
    with ExitStack() as stack:
        for count in itertools.count(1):
            length = body_length(await reader.readexactly(HEADER.size))
            result = assembler.feed(await reader.readexactly(length))
            if result is not None:
                return result
            if count == _MANY_FRAMES:
                stack.enter_context(gc_paused())
            await yielder()  # readexactly does not yield while it has enough data
    raise AssertionError("itertools.count has no end")


def _reap(child: Popen[bytes]) -> None:
    child.kill()  # does nothing if it has ended
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code} and no result"
