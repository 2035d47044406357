"""The content of a YAML file: plain values with their places.

Every node has its plain value, so the tree of a file is the root's `value`, and places cost nothing until they are
looked up. This module knows neither files nor YAML's grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gatewayd.config.document import Path, Position


@dataclass(slots=True)
class Node:
    """`line` and `column` count from 1. `size` is the number of nodes in it and `height` the levels below it, both with
    aliases expanded."""

    value: Any
    file: str
    line: int
    column: int

    @property
    def position(self) -> Position:
        return Position(self.file, self.line, self.column)


@dataclass(slots=True)
class ScalarNode(Node):
    text: str | None
    """The scalar as written when it was plain, else None."""

    size: ClassVar[int] = 1
    height: ClassVar[int] = 0


@dataclass(slots=True)
class MergeKeyNode(ScalarNode):
    """A plain `<<`: a merge when it is a key, the text itself anywhere else."""


@dataclass(slots=True)
class SequenceNode(Node):
    value: list[Any]
    children: list[AnyNode]
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class MappingNode(Node):
    """Merged keys (`<<`) are in `value`, `children` and `keys` too, with their own places."""

    value: dict[str, Any]
    children: dict[str, AnyNode]
    keys: dict[str, ScalarNode]
    size: int = 1
    height: int = 1


AnyNode = ScalarNode | SequenceNode | MappingNode


class Places:
    """Looks up the nodes below `root`; its two methods are `Document.locate` and `Document.spelling`."""

    __slots__ = ("_root",)

    def __init__(self, root: MappingNode) -> None:
        self._root = root

    def locate(self, path: Path, key: bool = False) -> Position:
        """Place of the value at `path`, or of its key; of the nearest ancestor if there is no such path.

        A list item and the root have no key, so the place of the value is used. An aliased value is at its anchor.
        """
        node: AnyNode = self._root
        found: Node = node
        for part in path:
            below = _child(node, part)
            if below is None:
                break
            found = node.keys[part] if key and isinstance(node, MappingNode) and isinstance(part, str) else below
            node = below
        return found.position

    def spelling(self, path: Path) -> str | None:
        """The plain scalar at `path` as it is written; None for anything else."""
        node: AnyNode = self._root
        for part in path:
            below = _child(node, part)
            if below is None:
                return None
            node = below
        return node.text if isinstance(node, ScalarNode) else None


def _child(node: AnyNode, part: str | int) -> AnyNode | None:
    if isinstance(node, MappingNode) and isinstance(part, str):
        return node.children.get(part)
    if isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.children):
        return node.children[part]
    return None
