"""What every process that serves does once, whether it is the daemon or one of its workers."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: its sockets cost half of asyncio's."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


_FILES = 65_536
"""As many as the systemd unit allows."""


def take_open_files() -> None:
    """Takes as many open files as the system would give, for the daemon and the workers it starts. Shells and container
    engines start programs with 1,024, so that those that use select(2) survive, and leave it to all others to take
    more: 448 clients would be few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # not allowed: then these have to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def begin_start() -> None:
    """Nearly all of what a start makes stays: collecting again and again would find nothing."""
    gc.disable()


def end_start() -> None:
    """To be called when serving begins, or when the start has failed."""
    # What lives from here on lives long: the collector need not look at it again and again, which would stall streams.
    gc.collect()
    gc.freeze()
    gc.enable()
    # A request makes some thirty objects that count and leaves next to no cycles: with the default threshold of 700 the
    # collector would look, and find nothing, after every twenty requests.
    gc.set_threshold(20_000, 10, 10)


class Exports:
    """The configuration's `environment_variables` in this process's environment, taken back when an edit drops them."""

    def __init__(self, base: Mapping[str, str]) -> None:
        self._base = base
        self._exported: frozenset[str] = frozenset()

    def apply(self, wanted: Mapping[str, str]) -> None:
        for name in self._exported - wanted.keys():
            if name in self._base:
                os.environ[name] = self._base[name]
            else:
                os.environ.pop(name, None)
        os.environ.update(wanted)
        self._exported = frozenset(wanted)
