"""Reads the corpora: what each bad file is expected to earn, and what each good file is expected to mean."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gatewayd.config.snapshot import Address
from gatewayd.secret import Secret

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = sorted(path for path in (HERE / "good").glob("*.yaml") if not path.name.endswith(".facts.yaml"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

ENVIRON = {"KEY": "sk-0123456789abcdef0123"}
_EXPECT = re.compile(r"^# expect: (?P<code>\S+) (?P<path>.*) @(?P<line>\d+):(?P<column>\d+)$", re.MULTILINE)
_VARIABLE = re.compile(r"^# environ: (\w+)=(.*)$", re.MULTILINE)

# Depends on how the files were checked out, or on the day, and has a test of its own.
ABOUT_PERMISSIONS = ("secret_readable", "file_writable", "retired_model")


@dataclass(frozen=True, order=True)
class Expected:
    code: str
    path: str
    line: int
    column: int


def expectations(path: Path) -> tuple[list[Expected], dict[str, str]]:
    """(what the first comments announce, the environment)"""
    text = path.read_text(encoding="utf-8")
    found = [Expected(m["code"], m["path"], int(m["line"]), int(m["column"])) for m in _EXPECT.finditer(text)]
    return sorted(found), {**ENVIRON, **dict(_VARIABLE.findall(text))}


def facts(path: Path) -> Mapping[str, Any]:
    """`environ`, `warnings` (`code path`) and `facts` (place in the snapshot → value) of a good file."""
    loaded: Mapping[str, Any] = yaml.safe_load(path.with_suffix(".facts.yaml").read_text(encoding="utf-8"))
    return loaded


def look_up(value: Any, place: str) -> Any:
    """`deployments[0].api_key` of a snapshot, as plain data: secrets as `secret:TEXT`, tuples as lists."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
        value = value[int(index)] if index else value[name] if isinstance(value, Mapping) else getattr(value, name)
    return plain(value)


def plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return f"secret:{value.reveal()}"
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, Mapping):
        return {key.value if isinstance(key, enum.Enum) else key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value
