"""docs/python.md: its code runs, as a notebook would run it, and every public name is on it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import gatewayd
from tests.client.process import daemon
from tests.client.upstreams import polite, upstream
from tests.e2e.process import environment
from tests.fakeup import Received
from tests.replies import Reply, error_reply
from tests.stand_ins import anthropic

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

NOTEBOOK = """
import ast, asyncio, inspect, sys

async def run(cells):
    names = {}
    for number, cell in enumerate(cells, 1):
        code = compile(cell, f"cell {number} of docs/python.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result

asyncio.run(run(sys.stdin.read().split("\\0")))
"""
CONFIG = """
model_list:
- {model_name: demo, litellm_params: {model: openai/x, mock_response: Hello from the daemon}}
general_settings: {master_key: sk-of-the-daemon}
"""


def openai_stand_in(request: Received) -> Reply:
    body = request.json()
    if body["model"] == "a-model-that-is-not-there":
        return error_reply(404, "no such model", code="model_not_found")
    if body["model"] == "gpt-5.5" and "Hello" in str(body["messages"]):
        return error_reply(500)  # so that the fallback answers
    return polite(request)


def test_the_code_runs(tmp_path: Path) -> None:
    assert len(BLOCKS) > 10
    with (
        daemon(tmp_path, CONFIG) as base_url,
        upstream(openai_stand_in) as openai,
        upstream(anthropic.answer) as claude,
    ):
        environ = {
            "OPENAI_API_KEY": "sk-openai",
            "OPENAI_BASE_URL": openai.base_url,
            "ANTHROPIC_API_BASE": anthropic.base_url(claude),
        }
        cells = "\0".join(BLOCKS).replace("http://127.0.0.1:4000/v1", base_url)
        cells = cells.replace("max_retries=5", "max_retries=5, retry_delay=0.1")
        done = subprocess.run(
            [sys.executable, "-W", "default::ResourceWarning", "-c", NOTEBOOK],
            input=cells,
            cwd=tmp_path,
            env=environment(environ),
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    for text in (
        "gpt-4o-mini: Say hello in five words.",
        "providers[0] opnai did you mean 'openai'?",
        "model_not_found",
        "A: gpt-4o-mini: What is NLP?",
        "Hello from the daemon",
        "model_list",
    ):
        assert text in done.stdout
    assert [request.headers["x-api-key"] for request in claude.requests] == ["sk-anthropic-key"]


def test_every_public_name_and_argument_is_on_the_page() -> None:
    for name in set(gatewayd.__all__) - {"__version__"}:
        assert f"`{name}" in PAGE, name
        value = getattr(gatewayd, name)
        if inspect.isfunction(value):
            for parameter in inspect.signature(value).parameters:
                assert re.search(rf"\b{parameter}\b", PAGE), f"{name}({parameter})"
    methods = [name for name in vars(gatewayd.LiteLLMGateway) if not name.startswith("_")]
    assert [name for name in methods if not re.search(rf"`(await )?\.{name}\b", PAGE)] == []
