"""Starts `gatewayd` commands as forks of a process that has imported gatewayd: a start costs a tenth of the CPU time.

Such a process is a real one, with its own environment, directory, standard streams, signals and exit code. Only its
imports were done before. What depends on the start of the interpreter itself (variables such as PYTHONPATH, little
memory, signals during imports) needs a process started from scratch: `tests.e2e.process` decides.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_MESSAGE = 1 << 18
_STREAMS = 3
_MOST_DESCRIPTORS = 64
_HIGH = 1000
_DESCRIPTORS = 4096


class Forked:
    """A process. `returncode` is as in `subprocess`."""

    def __init__(self, pid: int, exit_pipe: int) -> None:
        self.pid = pid
        self._exit_pipe = exit_pipe
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        self._look(0)
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def join(self, seconds: float) -> int:
        """Waits for the end. Raises TimeoutError."""
        self._look(seconds)
        if self._code is None:
            raise TimeoutError
        return self._code

    async def wait(self) -> int:
        """`join` for an event loop."""
        if self.returncode is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._exit_pipe, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._exit_pipe)
        return self.join(0)

    def _look(self, seconds: float) -> None:
        if self._code is None and select.select([self._exit_pipe], [], [], seconds)[0]:
            told = os.read(self._exit_pipe, 16)
            os.close(self._exit_pipe)
            assert told, "the process that forks has ended"
            self._code = int(told)


def fork(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    streams: Sequence[int | None],
    sockets: Sequence[socket.socket] = (),
) -> Forked:
    """Runs `gatewayd ARGUMENTS`. `streams`: descriptors of standard input, output and error (None: /dev/null).
    `sockets`: listening ones that it inherits, as from a service manager (sd_listen_fds(3))."""
    nothing = os.open(os.devnull, os.O_RDWR)
    exit_pipe, theirs = os.pipe()
    order = {"arguments": [*arguments], "environ": {**environ}, "cwd": str(cwd or Path.cwd())}
    descriptors = [nothing if stream is None else stream for stream in streams]
    descriptors += [sock.fileno() for sock in sockets]
    try:
        socket.send_fds(_server(), [json.dumps(order).encode()], [theirs, *descriptors])
        pid = int(_server().recv(16))
    finally:
        os.close(nothing)
        os.close(theirs)
    return Forked(pid, exit_pipe)


@cache
def _server() -> socket.socket:
    """The process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # not a file, which Python's text layer would seek in
            cwd=Path(__file__).parents[1],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.communicate()

    atexit.register(end)
    return ours


def _serve(channel: socket.socket) -> list[str] | None:
    """Returns in each fork the arguments of its command, and in this process None when the tests have ended."""
    running: dict[int, tuple[int, int]] = {}
    ready = select.poll()
    ready.register(channel, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor in running:
                ready.unregister(descriptor)
                pid, exit_pipe = running.pop(descriptor)
                os.write(exit_pipe, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(exit_pipe)
                os.close(descriptor)
                continue
            order, received, _, _ = socket.recv_fds(channel, _MESSAGE, _MOST_DESCRIPTORS)
            if not order:
                return None
            if (pid := os.fork()) == 0:
                channel.detach()
                return _become(json.loads(order), received[1:])
            channel.send(b"%d" % pid)
            for inherited in received[1:]:
                os.close(inherited)
            pidfd = os.pidfd_open(pid)
            running[pidfd] = pid, received[0]
            ready.register(pidfd, select.POLLIN)


def _become(order: dict[str, object], descriptors: Sequence[int]) -> list[str]:
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH) for descriptor in descriptors]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
    os.closerange(len(high), _DESCRIPTORS)
    match order:
        case {"arguments": list(arguments), "environ": dict(environ), "cwd": str(cwd)}:
            os.environ.clear()
            os.environ.update(environ)
            if len(high) > _STREAMS:
                os.environ.setdefault("LISTEN_PID", str(os.getpid()))
                os.environ["LISTEN_FDS"] = str(len(high) - _STREAMS)
            os.chdir(cwd)
            return arguments
        case _:
            raise ValueError(order)


if __name__ == "__main__":
    import gatewayd.cli.check
    import gatewayd.cli.remote
    import gatewayd.cli.run
    import gatewayd.config.source
    import gatewayd.config.validator

    command = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(0 if command is None else gatewayd.cli.main(command))
