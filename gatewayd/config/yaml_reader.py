"""From the bytes of one YAML file to nodes. Only this module uses PyYAML's parser.

It does not use PyYAML's composer and constructor, because both recurse, and the C composer kills the process at 30,000
nested brackets. It builds nodes from the parser's events with its own stack, and resolves values by the rules of
`yaml.safe_load` (YAML 1.1). A limit takes effect at the event that exceeds it, before memory grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from gatewayd.config.document import Path, dotted
from gatewayd.config.nodes import AnyNode, MappingNode, MergeKeyNode, Node, ScalarNode, SequenceNode
from gatewayd.config.problems import Problem, Severity
from gatewayd.config.yaml_hints import explain_syntax_error
from gatewayd.config.yaml_scalars import MERGE, PREFIX, TEXT_TAGS, TYPED_TAGS, construct, tag_of
from gatewayd.config.yaml_text import Undecodable, decode

MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_ALIASES = 1000
MAX_NODES = 600_000
"""Keys and values of all files: twice what 10,000 deployments with a dozen keys each have, and read within seconds."""
MAX_KEYS = 100_000
"""Of one mapping, or entries of one list: a hundred times more than usual, and still read within seconds."""
MAX_PROBLEMS = 100

LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser, if PyYAML was built with it: ten times faster."""

_MAPPING_TAGS = (None, "!", f"{PREFIX}map")
_SEQUENCE_TAGS = (None, "!", f"{PREFIX}seq")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*")
_KINDS: dict[type, str] = {int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


@dataclass(slots=True)
class Budget:
    """Limits for all files of one configuration together; each reading uses up a part."""

    bytes: int = 0
    nodes: int = 0
    aliases: int = 0
    errors: int = 0
    warnings: int = 0


class _Stop(Exception):
    """The rest of the file cannot be read."""


@dataclass(slots=True)
class _Open:
    """A collection that is not complete yet."""

    node: MappingNode | SequenceNode
    anchor: str | None
    key: AnyNode | None = None
    """The last key of a mapping, until its value is read."""
    merge_key: MergeKeyNode | None = None
    merges: list[MappingNode] = field(default_factory=list)
    """The mappings after `<<`, lowest precedence first."""


def read_yaml(
    data: bytes, file: str, budget: Budget, *, loader: type[Any] = LOADER
) -> tuple[AnyNode | None, list[Problem]]:
    """The root node of the only document in `data`, and all its problems. Never raises.

    None if there is no document or it cannot be read. If there are errors, the node may be incomplete. `file` is the
    name in positions.
    """
    reader = _Reader(file, budget, loader)
    try:
        return reader.build(decode(data)), reader.problems
    except Undecodable as error:
        found = error.explanation
        return None, [Problem(error.code, found.message, "", file, found.line, found.column, found.hint)]
    except _Stop:
        return None, reader.problems


class _Reader:
    def __init__(self, file: str, budget: Budget, loader: type[Any]) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._budget = budget
        self._loader = loader
        self._stack: list[_Open] = []
        self._anchors: dict[str, AnyNode | None] = {}
        """None: a collection that is still open."""

    # --- events ---------------------------------------------------------------------------------------------------

    def build(self, text: str) -> AnyNode | None:
        root: AnyNode | None = None
        documents = 0
        for event in self._events(text):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                node: AnyNode = self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, kind is yaml.MappingStartEvent)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                node = self._close()
            elif kind is yaml.AliasEvent:
                node = self._alias(event)
            elif kind is yaml.DocumentStartEvent and (documents := documents + 1) > 1:
                hint = "remove the line `---`, or move what follows into another file"
                self._report("yaml_documents", "a second document begins here", *_at(event), hint)
                break
            else:
                continue
            if self._stack:
                self._attach(node)
            else:
                root = node
        return root

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=self._loader)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # The pure Python scanner lets errors of int() and chr() through, on `%YAML` lines and in escapes.
            found = explain_syntax_error(error, text.splitlines())
            self._stop("yaml_syntax", found.message, found.line, found.column, found.hint)

    # --- collections ----------------------------------------------------------------------------------------------

    def _open(self, event: Any, is_mapping: bool) -> None:
        line, column = _at(event)
        if len(self._stack) >= MAX_DEPTH:
            self._stop("config_limit", f"more than {MAX_DEPTH} levels of nesting", line, column)
        self._count(1, event)
        if event.tag not in (_MAPPING_TAGS if is_mapping else _SEQUENCE_TAGS):
            self._bad_tag(event)
        node: MappingNode | SequenceNode
        if is_mapping:
            node = MappingNode({}, self._file, line, column, {}, {})
        else:
            node = SequenceNode([], self._file, line, column, [])
        self._anchor(event, None)
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> AnyNode:
        top = self._stack.pop()
        node = top.node
        if top.merges and isinstance(node, MappingNode):
            parts = [*top.merges, MappingNode(node.value, "", 0, 0, node.children, node.keys)]
            node.value, node.children, node.keys = {}, {}, {}
            for part in parts:
                node.value.update(part.value)
                node.children.update(part.children)
                node.keys.update(part.keys)
        if top.anchor is not None:
            self._anchors[top.anchor] = node
        return node

    def _attach(self, node: AnyNode) -> None:
        top = self._stack[-1]
        parent = top.node
        parent.size += node.size
        if len(parent.value) >= MAX_KEYS:
            message = f"more than {MAX_KEYS} keys or entries in one place"
            self._stop("config_limit", message, node.line, node.column)
        if node.height >= parent.height:
            parent.height = node.height + 1
        if isinstance(parent, SequenceNode):
            parent.children.append(node)
            parent.value.append(node.value)
        elif top.key is None:
            top.key = node
        else:
            key, top.key = top.key, None
            if isinstance(key, MergeKeyNode):
                self._merge(top, key, node)
            elif isinstance(key, ScalarNode) and (name := self._key_name(key)) is not None:
                if (first := parent.keys.get(name)) is not None:
                    self._duplicate(name, first, key)
                parent.keys[name] = key
                parent.children[name] = node
                parent.value[name] = node.value
            elif not isinstance(key, ScalarNode):
                kind = "a mapping" if isinstance(key, MappingNode) else "a list"
                self._report(
                    "yaml_key",
                    f"{kind} cannot be a key",
                    key.line,
                    key.column,
                    "quote text that begins with { or [; gatewayd does not fill in templates such as {{ NAME }}",
                )

    def _key_name(self, key: ScalarNode) -> str | None:
        """The key as a string. A decimal number keeps its spelling, as with a JSON encoder."""
        if type(key.value) is str:
            return key.value
        text = key.text
        severity: Severity = "error"
        message = f"the key is not text: YAML reads it as {_KINDS.get(type(key.value), 'a date')}"
        if text is not None and type(key.value) is int and _DECIMAL.fullmatch(text):
            severity, message = "warning", "the key is a number; it is used as text"
        self._report("yaml_key", message, key.line, key.column, "quote it", (text or "",), severity)
        return text

    def _duplicate(self, name: str, first: Node, second: Node) -> None:
        self._report(
            "yaml_duplicate_key",
            f"the mapping has the key twice: on line {first.line} and again on line {second.line}",
            second.line,
            second.column,
            "merge the two; YAML would silently drop the first",
            (name,),
        )

    def _merge(self, top: _Open, key: MergeKeyNode, node: AnyNode) -> None:
        if top.merge_key is not None:
            self._duplicate("<<", top.merge_key, key)
        top.merge_key = key
        sources = list(reversed(node.children)) if isinstance(node, SequenceNode) else [node]
        top.merges = [source for source in sources if isinstance(source, MappingNode)]
        if len(top.merges) != len(sources):
            message = "`<<` needs a mapping or a list of mappings"
            self._report("yaml_merge", message, key.line, key.column, "write <<: *name or <<: [*one, *two]", ("<<",))

    # --- anchors and aliases --------------------------------------------------------------------------------------

    def _anchor(self, event: Any, node: AnyNode | None) -> None:
        name = event.anchor
        if name is not None:
            if name in self._anchors:
                self._report("yaml_alias", f"the anchor {name} is defined a second time", *_at(event), "rename one")
            self._anchors[name] = node

    def _alias(self, event: Any) -> AnyNode:
        budget, name = self._budget, event.anchor
        budget.aliases += 1
        if budget.aliases > MAX_ALIASES:
            self._stop("config_limit", f"more than {MAX_ALIASES} aliases", *_at(event))
        node = self._anchors.get(name)
        if node is None:
            if name in self._anchors:
                self._report("yaml_alias", f"the alias {name} is inside the value that it repeats", *_at(event))
            else:
                hint = 'define it before, as &name; a value that begins with * must be quoted: "*"'
                self._report("yaml_alias", f"there is no anchor {name}", *_at(event), hint)
            return ScalarNode(None, self._file, *_at(event), None)
        if len(self._stack) + node.height > MAX_DEPTH:
            self._stop("config_limit", f"more than {MAX_DEPTH} levels of nesting, aliases followed", *_at(event))
        self._count(node.size, event)
        return node

    # --- scalars --------------------------------------------------------------------------------------------------

    def _scalar(self, event: Any) -> ScalarNode:
        self._count(1, event)
        text, tag, plain = event.value, tag_of(event), not event.style
        make = ScalarNode
        value: Any = text
        if tag == MERGE:
            make = MergeKeyNode
        elif tag in TYPED_TAGS:
            try:
                value = construct(tag, text)
            except ValueError as error:
                self._report("yaml_value", str(error), *_at(event), "quote it if it is text")
        elif tag not in TEXT_TAGS:
            self._bad_tag(event)
        elif not plain and _SURROGATE.search(text):
            # libyaml refuses these escapes; the pure Python parser turns them into strings that cannot be encoded.
            self._report("yaml_character", "an escape is half of a surrogate pair", *_at(event))
        node = make(value, self._file, *_at(event), text if plain else None)
        self._anchor(event, node)
        return node

    # --- findings -------------------------------------------------------------------------------------------------

    def _bad_tag(self, event: Any) -> None:
        tag = str(event.tag)
        shown = f"!!{tag.removeprefix(PREFIX)}" if tag.startswith(PREFIX) else tag
        shown = "".join(char if char.isprintable() else "?" for char in shown[:60])
        self._report(
            "yaml_tag",
            f"the tag {shown} is not supported",
            *_at(event),
            "remove it; write os.environ/NAME or file:/path for a secret, `include:` for another file",
        )

    def _count(self, nodes: int, event: Any) -> None:
        self._budget.nodes += nodes
        if self._budget.nodes > MAX_NODES:
            self._stop("config_limit", f"more than {MAX_NODES} values, aliases followed", *_at(event))

    def _path(self) -> Path:
        path: list[str | int] = []
        for top in self._stack:
            if isinstance(top.node, SequenceNode):
                path.append(len(top.node.children))
            elif isinstance(top.key, ScalarNode):
                path.append(top.key.value if isinstance(top.key.value, str) else top.key.text or "")
        return tuple(path)

    def _report(
        self,
        code: str,
        message: str,
        line: int,
        column: int,
        hint: str | None = None,
        below: Path = (),
        severity: Severity = "error",
    ) -> None:
        if severity == "warning":
            self._budget.warnings += 1
            if self._budget.warnings > MAX_PROBLEMS:
                return
        else:
            self._budget.errors += 1
            if self._budget.errors > MAX_PROBLEMS:
                self._stop("config_limit", f"more than {MAX_PROBLEMS} problems; the rest is not listed", line, column)
        path = dotted(self._path() + below)
        self.problems.append(Problem(code, message, path, self._file, line, column, hint, severity))

    def _stop(self, code: str, message: str, line: int, column: int, hint: str | None = None) -> NoReturn:
        self.problems.append(Problem(code, message, "", self._file, line, column, hint))
        raise _Stop


def _at(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
