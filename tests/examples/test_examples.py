"""Every program in examples/, run as users run it, in front of stand-ins that the environment names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.client.process import daemon
from tests.client.upstreams import polite, upstream
from tests.e2e.process import environment
from tests.fakeup import Received
from tests.replies import Reply, error_reply
from tests.stand_ins import anthropic

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

EXPECTED: Mapping[str, list[str]] = {
    "basic.py": [
        "gpt-4o-mini: Say hello in five words.",
        "gpt-4o: What is a gateway?",
        "no such model: model_not_found",
    ],
    "streaming.py": [
        "gpt-4o-mini: Tell me a story about a lighthouse.",
        "gpt-4o-mini: Tell me a story about a harbour.",
        "gpt-4o-mini: Count to  ... enough",
    ],
    "embeddings.py": ["1.000  A lighthouse shows ships where the land begins."],
    "batch.py": [
        "machine learning: gpt-4o-mini: What is machine learning? One sentence.",
        "a gradient: gpt-4o-mini: What is a gradient? One sentence.",
        "4 answers, 1 failures",
    ],
    "multi_provider.py": ["Good day to you.\nGood day to you.\ngpt-4.1: Say hello."],
    "custom_configuration.py": ["Say hello.", "('smart', 'sorry')", "api_key: os.environ/OPENAI_API_KEY", "revision "],
}


def openai_stand_in(request: Received) -> Reply:
    """Answers politely, but for what the examples want to see failing."""
    body = request.json()
    said = str(body.get("messages", [{}])[-1].get("content"))
    match body["model"]:
        case "a-model-that-is-not-there":
            return error_reply(404, "no such model", code="model_not_found")
        case "gpt-4o-mini" if said == "Say hello.":
            return error_reply(500)  # so that the fallback answers
        case "gpt-4o" if "neural" in said:
            return error_reply(400, "too odd")
    return polite(request)


def run(name: str, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", str(EXAMPLES / name)],
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def example() -> Iterator[Callable[[str], str]]:
    with upstream(openai_stand_in) as openai, upstream(anthropic.answer) as claude:
        environ = {
            "OPENAI_API_KEY": "sk-openai",
            "OPENAI_BASE_URL": openai.base_url,
            "ANTHROPIC_API_KEY": "sk-anthropic",
            "ANTHROPIC_API_BASE": anthropic.base_url(claude),
        }
        yield lambda name: run(name, environ)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_with_a_gateway_of_its_own(name: str, example: Callable[[str], str]) -> None:
    printed = example(name)
    for text in EXPECTED[name]:
        assert text in printed
    assert "sk-" not in printed


def test_the_example_that_attaches(tmp_path: Path) -> None:
    config = (ROOT / "configs" / "quickstart.yaml").read_text().replace("0.03", "0.001")
    with daemon(tmp_path, config) as base_url:
        printed = run("attach.py", {"GATEWAYD_BASE_URL": base_url})
    assert "demo" in printed.splitlines()[0]
    assert printed.count("Hello from gatewayd!") == 3


def test_without_a_key_an_example_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "multi_provider.py")], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_example_is_run_and_listed() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    assert programs == {*EXPECTED, "attach.py"}
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"[{name}]({name})" in listed for name in programs)
