"""`include:`: one configuration from several files, merged as in litellm.

The including file comes first, then the files that it names, in order, then the files that those name. Lists under the
same top-level key are joined. A later file replaces any other value, and mappings entirely. This module knows nothing
of bytes or YAML text.
"""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gatewayd.config.nodes import AnyNode, MappingNode, Node, ScalarNode, SequenceNode
from gatewayd.config.problems import Problem, Severity
from gatewayd.config.rawfile import Unreadable

MAX_FILES = 1000

_KEY = "include"

Load = Callable[[str, str], MappingNode | None]
"""`load(shown, path)`: the root of another file; None when its problems have been noted. Raises Unreadable."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """`shown` is the name for messages, `path` the absolute path with its links."""

    shown: str
    path: str
    chain: frozenset[str]
    """Real paths of this file and of all files that include it."""


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    node: Node
    path: str
    file: SourceFile


def merge_includes(shown: str, path: str, root: MappingNode, load: Load, problems: list[Problem]) -> tuple[str, ...]:
    """Merges everything that `root`, the main file's, includes into `root`, and removes the key `include` from it.

    `path` is absolute. Findings are added to `problems`; an entry with an error is left out. Returns the patterns among
    the entries, absolute: a file that appears there belongs to the configuration.
    """
    merger = _Merger(SourceFile(shown, path, frozenset((os.path.realpath(path),))), root, load, problems)
    merger.run()
    return tuple(dict.fromkeys(merger.patterns))


class _Merger:
    def __init__(self, main: SourceFile, root: MappingNode, load: Load, problems: list[Problem]) -> None:
        self._main = main
        self._root = root
        self._load = load
        self._problems = problems
        self._seen = set(main.chain)
        self._joined: set[str] = set()
        self.patterns: list[str] = []
        # Configuration folders often have many links (Kubernetes volumes, stow, Nix). A file is inside if its real
        # path is below the folder of the main file's name, or below the main file's real folder.
        self._folders = {os.path.realpath(os.path.dirname(main.path))} | {os.path.dirname(p) for p in main.chain}

    def run(self) -> None:
        waiting = deque(self._entries(self._main, self._root))
        for part in (self._root.value, self._root.children, self._root.keys):
            part.pop(_KEY, None)
        while waiting:
            entry = waiting.popleft()
            for file in self._files(entry):
                if len(self._seen) > MAX_FILES:
                    self._report("config_limit", entry, f"the configuration has more than {MAX_FILES} files")
                    return
                if (root := self._open(entry, file)) is not None:
                    self._merge(root)
                    waiting.extend(self._entries(file, root))

    def _entries(self, file: SourceFile, root: MappingNode) -> list[_Entry]:
        node = root.children.get(_KEY)
        if node is None:
            return []
        entries: list[_Entry] = []
        items: list[AnyNode] = node.children if isinstance(node, SequenceNode) else [node]
        for index, item in enumerate(items):
            entry = _Entry("", item, f"{_KEY}[{index}]" if isinstance(node, SequenceNode) else _KEY, file)
            if not isinstance(node, SequenceNode):
                self._report("include_invalid", entry, "must be a list of file names", "write include: [models.yaml]")
            elif not isinstance(item, ScalarNode) or not isinstance(item.value, str) or "\0" in item.value:
                self._report("include_invalid", entry, "must be a file name")
            else:
                entries.append(_Entry(item.value, item, entry.path, file))
        return entries

    def _files(self, entry: _Entry) -> Iterator[SourceFile]:
        """The files an entry names that have not been read yet, each checked to be allowed."""
        here = os.path.dirname(entry.file.path)
        if glob.has_magic(entry.text) and not os.path.exists(os.path.join(here, entry.text)):
            names = self._matches(entry, here)
        else:
            names = [self._name(entry, here)]
        for name in names:
            path = os.path.normpath(os.path.join(here, name))
            real = os.path.realpath(path)
            if not any(real.startswith(os.path.join(folder, "")) for folder in self._folders):
                hint = "move it there; `include` reaches no files outside"
                self._report("include_outside", entry, f"{name} is outside the folder of the main file", hint)
            elif real in entry.file.chain and name == entry.text:
                self._report("include_cycle", entry, f"{name} includes itself, directly or through other files")
            elif real not in self._seen:
                self._seen.add(real)
                shown = os.path.normpath(os.path.join(os.path.dirname(entry.file.shown), name))
                yield SourceFile(shown, path, entry.file.chain | {real})

    def _matches(self, entry: _Entry, here: str) -> list[str]:
        if os.path.isabs(entry.text) or ".." in entry.text.split("/"):
            self._report("include_outside", entry, "a pattern must stay in the folder of its file")
            return []
        self.patterns.append(os.path.join(glob.escape(here), entry.text))
        names = sorted(glob.glob(entry.text, root_dir=here))
        if not names:
            self._report("include_no_match", entry, "no file matches this pattern", severity="warning")
        return names

    def _name(self, entry: _Entry, here: str) -> str:
        """litellm once resolved nested entries relative to the main file, and still looks there."""
        above = os.path.dirname(self._main.path)
        if os.path.exists(os.path.join(here, entry.text)) or not os.path.exists(os.path.join(above, entry.text)):
            return entry.text
        self._report(
            "include_elsewhere",
            entry,
            f"{entry.text} was found beside the main file, not beside {entry.file.shown}",
            "write the path relative to the file that includes it",
            "warning",
        )
        return os.path.relpath(os.path.join(above, entry.text), here)

    def _open(self, entry: _Entry, file: SourceFile) -> MappingNode | None:
        try:
            return self._load(file.shown, file.path)
        except Unreadable as error:
            code = "include_missing" if error.code == "config_missing" else error.code
            self._report(code, entry, f"the included file {file.shown} {error.message}", error.hint)
            return None

    def _merge(self, extra: MappingNode) -> None:
        base = self._root
        for name, new in extra.children.items():
            if name == _KEY:
                continue
            old = base.children.get(name)
            if isinstance(old, SequenceNode) and isinstance(new, SequenceNode):
                if name not in self._joined:
                    # An alias may share the list, so extend a copy.
                    old = SequenceNode(list(old.value), old.file, old.line, old.column, list(old.children))
                    self._joined.add(name)
                    base.children[name], base.value[name] = old, old.value
                old.value.extend(new.value)
                old.children.extend(new.children)
                continue
            key = extra.keys[name]
            if isinstance(old, MappingNode | SequenceNode) and old.children:
                first = base.keys[name]
                message = f"this replaces all of `{name}` in {first.file}, line {first.line}"
                hint = "gatewayd does not merge sections key by key; keep each section in one file"
                self._problems.append(
                    Problem("include_replaced", message, name, key.file, key.line, key.column, hint, "warning")
                )
            self._joined.discard(name)
            base.children[name], base.keys[name], base.value[name] = new, key, new.value

    def _report(
        self, code: str, entry: _Entry, message: str, hint: str | None = None, severity: Severity = "error"
    ) -> None:
        at = entry.node
        self._problems.append(Problem(code, message, entry.path, at.file, at.line, at.column, hint, severity))
