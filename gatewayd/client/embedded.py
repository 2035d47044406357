"""A daemon inside the program that uses it: in a background thread with an event loop of its own, on a loopback port.

It requires a random key, so that no other program on the machine can use the program's keys through it. It has no admin
listener and never reads a file. It ends when it is closed, when nothing refers to it any more, and with the
interpreter.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import secrets
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from gatewayd.config.problems import Problem, errors, warnings
from gatewayd.daemon import Daemon
from gatewayd.errors import ConfigInvalid, ConfigurationError
from gatewayd.process import loop_factory

_OF_LISTENERS = ("listen", "admin", "tls", "keys", "teams", "log")
STOP_TIMEOUT = 10.0
"""Seconds that closing waits for the thread; requests in flight are ended immediately."""

# A library says nothing on stderr unless the program wants it: without this, logging prints warnings of its own accord.
logging.getLogger("gatewayd").addHandler(logging.NullHandler())


class PrivateDaemon:
    """Starts at once; `base_url` and `api_key` say how to call it. Raises ConfigurationError."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.api_key = secrets.token_urlsafe(32)
        private = {
            **tree,
            "general_settings": {**tree.get("general_settings", {}), "master_key": self.api_key},
            "gatewayd": {**_shared(tree.get("gatewayd")), "listen": "127.0.0.1:0", "admin": "off"},
        }
        self._life = _Life(private)
        try:
            self.base_url = self._life.begin()
        except ConfigInvalid as error:
            raise as_configuration_error(error) from None
        # The garbage collector may run while its thread holds a lock that the daemon's needs: it never waits.
        weakref.finalize(self, self._life.halt).atexit = False

    def close(self) -> None:
        """Ends requests in flight and returns when the thread has ended. May be called again."""
        self._life.end()


def _shared(own: object) -> dict[str, Any]:
    """What of a file's own section holds for a daemon that serves one program only."""
    return {name: value for name, value in own.items() if name not in _OF_LISTENERS} if isinstance(own, Mapping) else {}


class _Life:
    """The thread, apart from the handle: the handle's end must be seen while the thread still runs."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree
        self._pid = os.getpid()
        self._started: Future[str] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._halted: asyncio.Event | None = None
        self._unwanted = False
        # A daemon thread, for the interpreter waits for others before it calls what `atexit` knows.
        self._thread = threading.Thread(target=self._run, name="gatewayd", daemon=True)

    def begin(self) -> str:
        """Returns the address, or raises what `Daemon.start` raised."""
        try:
            self._thread.start()
            address = self._started.result()
            atexit.register(self.end)
        except BaseException:  # an interrupt: the caller does not get the handle
            self._unwanted = True
            self.halt()
            raise
        return address

    def halt(self) -> None:
        """Has the daemon stop; returns at once."""
        if os.getpid() != self._pid or self._loop is None or self._halted is None:
            return  # a forked child has a copy of the loop, but not the thread that runs it
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._halted.set)

    def end(self) -> None:
        """Has the daemon stop and waits for its thread."""
        if os.getpid() == self._pid:
            self.halt()
            self._thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
        finally:
            atexit.unregister(self.end)

    async def _serve(self) -> None:
        self._loop, self._halted = asyncio.get_running_loop(), asyncio.Event()
        if self._unwanted:
            return
        daemon = Daemon(self._tree)
        await daemon.start()
        try:
            self._started.set_result(f"http://{daemon.addresses[0]}/v1")
            await self._halted.wait()
        finally:
            await daemon.stop(drain=0.0)


def typos(problems: Sequence[Problem]) -> list[Problem]:
    """Warnings about keys that are nearly right: a program that has them is wrong, and its warnings are rarely read."""
    return [p for p in warnings(problems) if p.code == "unknown_key" and p.hint and "did you mean" in p.hint]


def as_configuration_error(error: ConfigInvalid) -> ConfigurationError:
    """All problems as one exception; the first error among them gives `config_key` and `suggestion`."""
    found = [*errors(error.problems), *typos(error.problems)]
    first = typos(error.problems)[0] if typos(error.problems) else found[0]
    message = "\n".join(problem.as_text() for problem in found)
    if len(found) == 1:
        message = f"{first.path}: {first.message}" if first.path else first.message
    refused = ConfigurationError(
        message, config_key=first.path or None, suggestion=first.hint if len(found) == 1 else None
    )
    refused.suggestion = first.hint
    return refused
