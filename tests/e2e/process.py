"""A real daemon as a test sees it: a process, its start-up text, its signals, its listening."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.forked import Forked, fork

PATIENCE = 30.0
"""Seconds within which anything that is waited for must have happened, on however busy a machine."""

_ANNOUNCED = re.compile(r"^  (data|admin) +(\S+)$")
_ENDED = "(the process ended)"
_LEFT_OUT = ("GATEWAYD_", "NOTIFY_SOCKET", "WATCHDOG_", "PYTHONDONTWRITEBYTECODE", "XDG_CONFIG_HOME", "LISTEN_")

_LIMIT = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Memory of its own that a process may have (private and written to), as in a small container."""


def limited(megabytes: int | None) -> tuple[str, ...]:
    """What to put between the interpreter and its arguments so that the process may have only so much memory."""
    return () if megabytes is None else ("-c", _LIMIT, str(megabytes << 20))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer a daemon, and without providers' keys."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_LEFT_OUT) and not name.endswith("_API_KEY")
    }
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **(extra or {})}


def depends_on_interpreter(environ: Mapping[str, str] | None) -> bool:
    """Whether one of the variables means something to the interpreter or the linker, and so only to a new process."""
    return any(name.startswith(("PYTHON", "LD_")) for name in environ or ())


async def command(
    *arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[int, str, str]:
    """Runs `gatewayd ARGUMENTS` to its end: exit code, standard output, standard error."""
    if depends_on_interpreter(environ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gatewayd", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(environ),
            cwd=cwd,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
            return await process.wait(), out.decode(), err.decode()
    (out_pipe, out_end), (err_pipe, err_end) = os.pipe(), os.pipe()
    forked = fork(arguments, environ=environment(environ), cwd=cwd, streams=(None, out_end, err_end))
    os.close(out_end)
    os.close(err_end)
    async with asyncio.timeout(PATIENCE):
        out, err = await asyncio.gather(*[(await _reader(pipe))[0].read() for pipe in (out_pipe, err_pipe)])
        return await forked.wait(), out.decode(), err.decode()


async def _reader(pipe: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    """What comes out of a pipe, and what closes it before its end."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    return reader, transport


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Waits until something about another process has become so."""
    async with asyncio.timeout(PATIENCE):
        while not await is_so():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.02)


def of_edit(outcome: Any, saved: float) -> Any:
    """What a reload tells of a file saved at that monotonic time: "applied" as well if the file's event was faster."""
    if outcome["result"] == "unchanged" and outcome["live_seconds"] < time.monotonic() - saved:
        outcome["result"] = "applied"
    return outcome


class Daemon:
    """`gatewayd run` on a configuration file, serving as soon as the context is entered."""

    def __init__(
        self,
        config: Path | None,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        wait: bool = True,
        sockets: Sequence[socket.socket] = (),
        memory_mb: int | None = None,
        stdout: int | None = None,
        python: str = sys.executable,
        cold: bool = False,
    ) -> None:
        """`sockets`: listening ones that it is handed over, as systemd does. `memory_mb`: what it may take at most.
        `stdout`: a descriptor. `cold`: with an interpreter of its own (see `tests.forked`)."""
        self._file = config
        self._arguments = [*(() if config is None else ("--config", str(config))), *arguments]
        self._environ = environment(environ)
        self._cwd = cwd
        self._wait = wait
        self._sockets = sockets
        self._memory_mb = memory_mb
        self._stdout = stdout
        self._python = python
        self._cold = cold or bool(memory_mb or python != sys.executable or depends_on_interpreter(environ))
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | Forked
        self._stderr: asyncio.StreamReader
        self._stderr_pipe: asyncio.BaseTransport
        self._reading: asyncio.Task[None]
        self.session: aiohttp.ClientSession
        self.log: list[str] = []
        self.data = ""
        """`http://HOST:PORT/v1`, or `unix:/PATH/v1`."""
        self.admin = ""

    async def __aenter__(self) -> Self:
        pipe, end = os.pipe()
        try:
            self._process = await self._start(end)
        finally:
            os.close(end)
        self._stderr, self._stderr_pipe = await _reader(pipe)
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=4 * PATIENCE), connector=aiohttp.TCPConnector(limit=0)
        )
        if self._wait:
            await self.serving()
        return self

    async def _start(self, stderr: int) -> asyncio.subprocess.Process | Forked:
        if not self._cold:
            arguments, streams = ("run", *self._arguments), (None, self._stdout, stderr)
            environ, cwd, sockets = self._environ, self._cwd, self._sockets
            return fork(arguments, environ=environ, cwd=cwd, streams=streams, sockets=sockets)
        assert not self._sockets
        return await asyncio.create_subprocess_exec(
            *(self._python, *limited(self._memory_mb), "-m", "gatewayd", "run", *self._arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL if self._stdout is None else self._stdout,
            stderr=stderr,
            env=self._environ,
            cwd=self._cwd,
        )

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.wait([self._reading])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_stderr(self) -> None:
        """Whoever reads the log goes away."""
        self._reading.cancel()
        self._stderr_pipe.close()

    async def exit_code(self) -> int:
        """Waits for the process to end."""
        async with asyncio.timeout(PATIENCE):
            code = await self._process.wait()
            await self._reading
            return code

    async def serving(self) -> None:
        """Waits for the start-up text."""
        await self.logged("  models  ", _ENDED)
        assert self.log[-1] != _ENDED, "\n".join(self.log)

    async def logged(self, *texts: str, times: int = 1) -> str:
        """Waits until a line with one of the texts has been logged `times` times; returns the last."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = [line for line in self.log if any(text in line for text in texts)]
                if len(found) >= times:
                    return found[-1]
                self._news.clear()
                await self._news.wait()

    async def chat(self, model: str, *, key: str | None = None, **fields: Any) -> tuple[int, Any]:
        """Asks and returns status and answer; the text of the answer if it is a good one."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        async with self.session.post(f"{self.data}/chat/completions", json=body, headers=headers) as response:
            answer = await response.json()
            return response.status, answer["choices"][0]["message"]["content"] if response.ok else answer

    async def answers(self, model: str) -> None:
        """Waits until a model group answers."""

        async def it_does() -> bool:
            return (await self.chat(model))[0] == 200

        await eventually(it_does)

    async def status(self) -> Any:
        async with self.session.get(f"{self.admin}/status") as response:
            return await response.json()

    async def reload(self) -> Any:
        async with self.session.post(f"{self.admin}/reload") as response:
            return await response.json()

    async def edit(self, text: str) -> Any:
        """Saves the file and returns the outcome (see `of_edit`)."""
        assert self._file is not None
        saved = time.monotonic()
        self._file.write_text(text)
        return of_edit(await self.reload(), saved)

    async def metrics(self) -> str:
        async with self.session.get(f"{self.admin}/metrics") as response:
            return await response.text()

    async def _read(self) -> None:
        async for line in self._stderr:
            text = line.decode().rstrip("\n")
            self.log.append(text)
            if found := _ANNOUNCED.match(text):
                setattr(self, found[1], found[2])
            self._news.set()
        self.log.append(_ENDED)
        self._news.set()


def config(*models: str, own: str = "", **sections: str) -> str:
    """A configuration of scripted model groups on ports of the system's choice; `NAME=ANSWER` gives the answer's text.

    `own`: lines of the `gatewayd` section in place of the addresses. `sections`: further sections, as written.
    """
    lines = ["model_list:"]
    for model in models:
        name, _, text = model.partition("=")
        params = {"model": f"openai/{name}", "mock_response": text or f"Hello from {name}"}
        lines += [f"  - model_name: {json.dumps(name)}", f"    litellm_params: {json.dumps(params)}"]
    own = own or "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0"
    lines += ["gatewayd:", *(f"  {line}" for line in own.splitlines())]
    for name, text in sections.items():
        lines.append(f"{name}: {text}")
    return "\n".join(lines) + "\n"
