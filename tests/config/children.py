"""Programs that stand in for the config child process, and commands to run them."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import gatewayd

ENVIRON = {**os.environ, "PYTHONPATH": str(Path(gatewayd.__file__).parent.parent)}


def program(text: str) -> list[str]:
    """A command that runs `text` in a fresh interpreter."""
    return [sys.executable, "-c", textwrap.dedent(text)]


def child_with_validator(check: str) -> list[str]:
    """The real child program, with a validator whose `check(path)` has the body `check`."""
    body = textwrap.indent(textwrap.dedent(check), "    ")
    return [sys.executable, "-c", _CHILD.replace("    BODY", body), "some.yaml", "{}"]


_CHILD = """
import os, sys, types
from gatewayd.config.result import Result
from gatewayd.config.snapshot import Snapshot

def check(path):
    BODY

class ConfigValidator:
    def __init__(self, *, environ, overrides):
        assert environ is os.environ

    def check(self, path):
        return check(path)

fake = types.ModuleType("gatewayd.config.validator")
fake.ConfigValidator = ConfigValidator
sys.modules[fake.__name__] = fake

from gatewayd.config.child import child_main
child_main()
"""
