"""The process that reads a configuration for a running daemon.

A file can crash a parser, exhaust its memory or keep it busy. Here that ends one short-lived process, not the daemon.
The environment is the configuration's environment. Reading begins when standard input ends. The `Result` is written to
standard output as `channel` frames. Only `gatewayd.config.loader` starts this process.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from datetime import UTC, datetime

from gatewayd.config import channel
from gatewayd.config.problems import Problem
from gatewayd.config.rawfile import is_being_written
from gatewayd.config.result import Result

PATIENCE = 3.0
"""Seconds to wait for a process that has the file open and wrote to it within this time, because half of the file may
be valid too."""


def child_main() -> None:
    """Reads the file named by the first argument, writes the frames and ends the process.

    The second argument holds the `Overrides`, as JSON. A third one says where a copy of what is valid is kept
    (`config.lastgood`).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain every secret
    gc.disable()  # the process ends before garbage could matter; collecting doubles the time of large files
    pipe = os.dup(1)
    os.dup2(2, 1)  # whatever else writes to standard output must not get between the frames
    path = sys.argv[1]
    try:
        from gatewayd.config.overrides import Overrides
        from gatewayd.config.validator import ConfigValidator  # here, so that a failing import is reported too

        while os.read(0, 1024):  # that import was the slow part of the start; the caller says when the file has settled
            pass
        overrides = Overrides(**json.loads(sys.argv[2]))
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        deadline = time.monotonic() + PATIENCE
        while True:
            while _is_busy(path) and time.monotonic() < deadline:
                time.sleep(0.01)
            before = _stamp(path)
            if sys.argv[3:]:
                from gatewayd.config.lastgood import check_and_keep

                result = check_and_keep(path, os.environ, sys.argv[3], overrides)
            else:
                result = ConfigValidator(environ=os.environ, overrides=overrides).check(path)
            if time.monotonic() >= deadline or (_stamp(path) == before and not _is_busy(path)):
                break
        frames = list(channel.dump(result.packed()))
    except Exception as error:
        frames = list(channel.dump(failed(path, error)))
    with os.fdopen(pipe, "wb") as out:
        out.writelines(frames)
    os._exit(0)  # without freeing hundreds of thousands of nodes


def _is_busy(path: str) -> bool:
    stamp = _stamp(path)
    # The time first: some network file systems cannot tell whether there is a writer and say yes.
    return stamp is not None and datetime.now(UTC).timestamp() - stamp[2] / 1e9 < PATIENCE and is_being_written(path)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def failed(path: str, error: Exception) -> Result:
    """The problem for a bug in gatewayd, without the error's message, which may quote the configuration."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    message = f"reading the configuration failed with {type(error).__name__}{place}"
    return Result(None, (Problem("config_reader_failed", message, file=path, hint="this is a bug of gatewayd"),))
