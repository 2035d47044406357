"""Reads a configuration into a `Document`, from its file with all included files or from a mapping.

This module does not know what the keys mean. Every mistake becomes a `Problem`; nothing here raises for bad input.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import date
from typing import Any

from gatewayd.config.document import Document, Path, dotted
from gatewayd.config.include import merge_includes
from gatewayd.config.nodes import MappingNode, Places
from gatewayd.config.problems import Problem, Severity
from gatewayd.config.rawfile import Unreadable, read_regular
from gatewayd.config.yaml_reader import MAX_CONFIG_BYTES, MAX_DEPTH, MAX_NODES, Budget, read_yaml

_MAX_BITS = 400
"""No setting needs a longer integer; in a file it would be text (`yaml_scalars`)."""


def read(path: str | os.PathLike[str], data: bytes | None = None) -> Document:
    """The configuration at `path`, includes merged. Never raises; see `Document.problems`.

    `data`: the bytes, if they do not come from a file of this name."""
    return _Reading(os.fspath(path), data).document()


def from_mapping(mapping: Mapping[str, Any]) -> Document:
    """A configuration made in code: the same tree as from a file, copied, without places. Never raises."""
    return _Copying().document(mapping)


class _Reading:
    """One configuration on its way from files to a tree."""

    def __init__(self, path: str, data: bytes | None) -> None:
        self._data = data
        self._shown = os.fsencode(path).decode("utf-8", "replace")
        try:
            self._path = os.path.abspath(path)
        except OSError:  # the working directory does not exist any more
            self._path = path
        self._budget = Budget()
        self._digest = hashlib.sha256()
        self._files: list[str] = []
        self._problems: list[Problem] = []

    def document(self) -> Document:
        patterns: tuple[str, ...] = ()
        try:
            root = self._load(self._shown, self._path)
        except Unreadable as error:
            root = None
            self._problems.append(Problem(error.code, f"the file {error.message}", file=self._shown, hint=error.hint))
        else:
            if root is not None:
                patterns = merge_includes(self._shown, self._path, root, self._load, self._problems)
        document = Document(
            tree={} if root is None else root.value,
            revision=self._digest.hexdigest()[:12],
            files=tuple(self._files),
            patterns=patterns,
            problems=self._problems,
            directory=os.path.dirname(self._path),
        )
        if root is not None:
            places = Places(root)
            document.locate, document.spelling = places.locate, places.spelling
        return document

    def _load(self, shown: str, path: str) -> MappingNode | None:
        """The root of one file; None when its problems have been noted. Raises Unreadable."""
        self._files.append(path)
        try:
            data = self._read(path, MAX_CONFIG_BYTES - self._budget.bytes)
        except Unreadable as error:
            if error.code == "config_too_large":
                limit = f"is too large: the files of a configuration may hold {MAX_CONFIG_BYTES >> 20} MiB together"
                raise Unreadable(error.code, limit) from None
            raise
        self._budget.bytes += len(data)
        # Named relative to the main file, so that a moved folder keeps its revision.
        name = os.fsencode(os.path.relpath(path, os.path.dirname(self._path)) if path != self._path else "")
        self._digest.update(b"%d:%d:%b%b" % (len(name), len(data), name, data))
        root, problems = read_yaml(data, shown, self._budget)
        self._problems.extend(problems)
        if isinstance(root, MappingNode):
            return root
        if root is None or root.value is None:
            if not problems:
                hint = "gatewayd refuses an empty file, because it may be half-written"
                self._problems.append(Problem("config_empty", "the file has no value", "", shown, 1, 1, hint))
        else:
            message = "the top level must be `key: value` pairs"
            self._problems.append(
                Problem("config_not_mapping", message, "", shown, root.line, root.column, "begin with model_list:")
            )
        return None

    def _read(self, path: str, limit: int) -> bytes:
        if self._data is None or path != self._path:
            return read_regular(path, limit)
        if len(self._data) > limit:
            raise Unreadable("config_too_large", "")
        return self._data


class _Copying:
    """Copies a mapping from code, and checks that its values are possible in a file."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._nodes = 0
        self._stopped = False
        self._above: set[int] = set()
        """The containers around the value being copied."""

    def document(self, mapping: Mapping[str, Any]) -> Document:
        tree = self._copy(mapping, ())
        if "include" in tree:
            message = "only a configuration file can include other files"
            self._report("include_invalid", ("include",), message, "give the path of a file instead of a mapping")
            del tree["include"]
        text = json.dumps(tree, sort_keys=True, default=str)
        revision = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return Document(tree=tree, revision=revision, problems=self._problems)

    def _copy(self, value: Any, path: Path) -> Any:
        self._nodes += 1
        if isinstance(value, Mapping | list | tuple):
            if id(value) in self._above:
                self._report("config_value", path, "this value contains itself")
                return None
            if len(path) >= MAX_DEPTH or self._nodes > MAX_NODES:
                if not self._stopped:
                    self._stopped = True
                    limits = f"more than {MAX_DEPTH} levels of nesting or {MAX_NODES} values"
                    self._report("config_limit", path[:1], limits)
                return None
            self._above.add(id(value))
            try:
                if isinstance(value, Mapping):
                    return self._copy_mapping(value, path)
                return [self._copy(item, (*path, index)) for index, item in enumerate(value)]
            finally:
                self._above.remove(id(value))
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            self._report("config_value", path, "a number with so many digits is not allowed in a configuration")
        elif value is None or isinstance(value, str | int | float | date):
            return value
        else:
            self._report(
                "config_value", path, f"a value of type {type(value).__name__} is not allowed in a configuration"
            )
        return None

    def _copy_mapping(self, mapping: Mapping[Any, Any], path: Path) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for key, value in mapping.items():
            name = str(key)
            if type(key) is int:
                self._report("yaml_key", (*path, name), "the key is a number; it is used as text", severity="warning")
            elif not isinstance(key, str):
                message = f"the key is not text but of type {type(key).__name__}"
                self._report("yaml_key", (*path, name), message)
                continue
            copy[name] = self._copy(value, (*path, name))
        return copy

    def _report(
        self, code: str, path: Path, message: str, hint: str | None = None, severity: Severity = "error"
    ) -> None:
        self._problems.append(Problem(code, message, dotted(path), hint=hint, severity=severity))
