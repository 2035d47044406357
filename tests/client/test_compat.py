"""The promises of an attached gateway, in this environment and in those that `$GATEWAYD_TEST_PYTHONS` names.

That variable lists further interpreters, separated by `:`, in whose environments another version of `openai` is
installed. The daemon is a real process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.process import daemon
from tests.e2e.process import environment

CONFIG = """
model_list:
- {model_name: demo, litellm_params: {model: openai/x, mock_response: Good day to you}}
- {model_name: cut, litellm_params: {model: openai/x, mock_response: {text: Good day to you, cut_after: 1}}}
- {model_name: silent, litellm_params: {model: openai/x, mock_response: {text: Good day to you, hang_after: 2}}}
- {model_name: failing, litellm_params: {model: openai/x, mock_response: {fail: {status: 500}}}}
router_settings: {num_retries: 0}
general_settings: {master_key: sk-of-the-daemon}
"""
PYTHONS = [sys.executable, *filter(None, os.environ.get("GATEWAYD_TEST_PYTHONS", "").split(":"))]


@pytest.mark.parametrize("python", PYTHONS)
def test_an_attached_gateway_keeps_its_promises(python: str, tmp_path: Path) -> None:
    with daemon(tmp_path, CONFIG) as base_url:
        command = [python, "-W", "error", str(Path(__file__).with_name("compat.py")), base_url, "sk-of-the-daemon"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all promises kept\n")
