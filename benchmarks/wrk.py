"""Running wrk, the load generator for fast gateways."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import install
from benchmarks.client import Load, Target
from benchmarks.process import Failed
from benchmarks.turns import Generator

_SCRIPT = Path(__file__).with_name("post.lua")
_STOPPED = ("sh", "-c", 'kill -STOP $$; exec "$@"', "sh")
"""Runs what follows, once the process is told to go on."""


def generator(target: Target, body: Path, *, connections: int) -> Generator:
    """POST the file `body` over so many connections.

    Raises:
        Failed: wrk is missing.
    """
    headers = [f"{name}: {value}" for name, value in target.headers.items()]
    # It is stopped while others have their turn, and that counts as waiting for an answer.
    command = [str(install.system("wrk")), "-t1", f"-c{connections}", "-d3600s", "--timeout=600s"]
    command += ["-s", str(_SCRIPT), target.url, "--", str(body), *headers]
    return Generator([*_STOPPED, *command], parse)


def parse(output: str, errors: str = "") -> Load:
    """Read the line that post.lua prints last.

    Raises:
        Failed: it is not there.
    """
    line = output.rstrip().rpartition("\n")[2]
    try:
        seen = json.loads(line)
    except ValueError:
        raise Failed(f"wrk said: {(line or errors).strip()[:300]}") from None
    failed = seen["status"] + seen["socket"]
    error = f"{seen['status']} answers were no 200, {seen['socket']} socket errors" if failed else ""
    return Load(int(seen["requests"]), seen["seconds"], seen["p50"], seen["p99"], errors=int(failed), error=error)
