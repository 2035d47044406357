"""Compares what gatewayd and litellm make of the same conversation: which fields differ, by their paths."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def ask_litellm(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What litellm sends and answers for each `{"model", "asked", "answered"}`; it takes ten seconds to load."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.wire.ask_litellm_dialects"],
        cwd=ROOT,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Paths of values that differ; members of lists have no numbers."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name), theirs.get(name), f"{path}.{name}" if path else name)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from differences(one, other, f"{path}[]")
    elif ours != theirs:
        yield path


def message_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What clients read of a chat answer, without what is empty and without ids that are made."""
    (choice,) = answer["choices"]
    message = {name: value for name, value in choice["message"].items() if value not in (None, [], "")}
    for call in message.get("tool_calls", ()):
        call.pop("index", None)
        call["id"] = "call" if call["id"].startswith("call_") else call["id"]
        call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    counts = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    details = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens")
    return {"message": message, "finish_reason": choice["finish_reason"], "usage": counts, "cached": details or 0}
