"""Running wrk, the load generator for fast gateways, on the load core."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks import install
from benchmarks.client import Load, Target
from benchmarks.process import Failed

_SCRIPT = Path(__file__).with_name("post.lua")


def run(target: Target, body: Path, *, connections: int, seconds: float) -> Load:
    """POST the file `body` over so many connections for at least so many seconds (wrk counts whole ones).

    Raises:
        Failed: wrk is missing or did not work.
    """
    headers = [f"{name}: {value}" for name, value in target.headers.items()]
    command = [str(install.system("wrk")), "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout=10s"]
    command += ["-s", str(_SCRIPT), target.url, "--", str(body), *headers]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30.0)
    except subprocess.TimeoutExpired as error:
        raise Failed("wrk did not end") from error
    return parse(done.stdout, done.stderr)


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
