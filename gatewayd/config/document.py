"""A configuration as read: one merged plain tree, and for every node of it the place it came from.

The tree is YAML 1.1 as PyYAML's safe loader resolves it, includes merged, references (`os.environ/NAME`, ...) still
references. Places and the original spelling of scalars are looked up on demand from the YAML nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatewayd.config.problems import Problem
from gatewayd.text import printable

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """File name as the user gave it, line and column counted from 1; line 0 = no place (a dict from code)."""

    file: str = ""
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Document:
    tree: dict[str, Any]
    revision: str
    """First 12 hex digits of the SHA-256 over all bytes read (each file prefixed by its name's and its own length)."""
    files: tuple[str, ...] = ()
    """Absolute paths of all files read, the main one first."""
    patterns: tuple[str, ...] = ()
    """Absolute glob patterns under `include`, for which other files may match later."""
    problems: list[Problem] = field(default_factory=list)
    """Findings of the reading itself; any error here means that `tree` may be incomplete."""
    directory: str = "."
    """Folder of the main file: what relative paths in it are relative to."""
    locate: Callable[[Path, bool], Position] = lambda path, key: Position()
    """`locate(path, key=False)`: place of a value, or with `key=True` of its key; of the nearest ancestor if absent."""
    spelling: Callable[[Path], str | None] = lambda path: None
    """How a plain (unquoted) scalar was written (`12:30`, `no`, `010`); None for quoted ones and for non-scalars."""


def dotted(path: Path) -> str:
    """`("model_list", 2, "litellm_params", "rpm")` → `model_list[2].litellm_params.rpm`, for one line of a terminal."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return printable(text, None)


def shortened(text: str) -> str:
    """The start of a text, for one line of a terminal."""
    return printable(text, 80)
