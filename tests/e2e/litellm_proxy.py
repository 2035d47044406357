"""The real LiteLLM proxy as an upstream: its own process, its own file, mock answers, no network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "sk-litellm-0123456789abcdef"
TEXT = "Hello from the LiteLLM proxy."
VECTOR = [0.25, -0.5, 1.0]

_CONFIG = f"""
model_list:
  - model_name: chat
    litellm_params: {{model: openai/mock, api_key: none, mock_response: "{TEXT}"}}
  - model_name: tools
    litellm_params:
      model: openai/mock
      api_key: none
      mock_response: ""
      mock_tool_calls:
        - id: call_1
          type: function
          function: {{name: weather, arguments: '{{"city": "Bern"}}'}}
  - model_name: embed
    litellm_params: {{model: openai/mock-embedding, api_key: none, mock_response: {VECTOR}}}
    model_info: {{mode: embedding}}
  - model_name: limited
    litellm_params: {{model: openai/mock, api_key: none, mock_response: "litellm.RateLimitError"}}
router_settings: {{num_retries: 0, disable_cooldowns: true}}
litellm_settings: {{num_retries: 0, telemetry: false}}
general_settings: {{master_key: {KEY}}}
"""


@contextmanager
def litellm_proxy(folder: Path) -> Iterator[str]:
    """Base URL of a running proxy. Starting it takes litellm's ten seconds."""
    config = folder / "config.yaml"
    config.write_text(_CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environ = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_DOCS": "True",
    }
    command = [str(Path(sys.executable).parent / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environ) as process:
        try:
            deadline = time.monotonic() + 90
            while not _lives(port):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the LiteLLM proxy is not ready after a minute and a half"
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def _lives(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2):
            return True
    except OSError:
        return False
