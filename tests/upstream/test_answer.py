"""A response that is collected while it arrives."""

from __future__ import annotations

import subprocess
import sys


def test_an_answer_for_which_there_is_no_memory_ends_its_request_only() -> None:
    """U-F1: its request gets a 503 before memory runs out; no deployment is blamed, and nothing is retried."""
    program = """
import asyncio, resource
from gatewayd.errors import ServerBusy, Verdict
from gatewayd.upstream.answer import Answer
resource.setrlimit(resource.RLIMIT_DATA, (300 * 2**20, 300 * 2**20))

async def main():
    held = []
    for _ in range(30):
        answer = Answer(asyncio.get_running_loop().create_future())
        held.append(answer)
        for _ in range(40):
            answer.push(b"x" * (256 * 1024))
            if answer.ready.done():
                error = answer.ready.exception()
                assert error.verdict is Verdict.FATAL and not error.blames_deployment
                return print(error.status, error.code, error.retry_after)
        answer.finish(True)
        assert len(answer.body) == 40 * 256 * 1024

asyncio.run(main())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "503 server_busy 1.0\n"
