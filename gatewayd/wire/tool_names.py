"""Tools of one dialect in another: names that are too long or in namespaces, and tools that take free text.

A request alone determines how its tools are called elsewhere. So whoever writes the request for a provider and whoever
writes the answer for the caller agree without passing anything on.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gatewayd.wire.conversation import (
    Block,
    Choice,
    CustomTool,
    Json,
    Request,
    ServerTool,
    ToolKind,
    ToolUseBlock,
)
from gatewayd.wire.converting import flat_name
from gatewayd.wire.events import BlockStart, BlockStop, Delta, StreamEvent
from gatewayd.wire.openai import encode

FREE_TEXT: Final = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)
"""The schema of a function that stands for a tool of free text."""
_Asked = tuple[str, str | None, ToolKind]


class ToolNames:
    """The tools of a request by their flat names, where those are not what the caller calls them."""

    def __init__(self, request: Request) -> None:
        self._asked: dict[str, _Asked] = {}
        for tool in request.tools or ():
            if isinstance(tool, ServerTool):
                continue
            kind: ToolKind = "custom" if isinstance(tool, CustomTool) else "function"
            flat = flat_name(tool.name, tool.namespace)
            if flat != tool.name or kind == "custom":
                self._asked.setdefault(flat, (tool.name, tool.namespace, kind))

    @property
    def idle(self) -> bool:
        """Whether every tool is called what the caller calls it."""
        return not self._asked

    def restored(self, block: ToolUseBlock) -> ToolUseBlock:
        """A call of an answer, in the caller's words."""
        asked = self._asked.get(block.name)
        if asked is None:
            return block
        name, namespace, kind = asked
        arguments = block.arguments if block.kind == kind else free_text(block.arguments)
        return msgspec.structs.replace(block, name=name, namespace=namespace, kind=kind, arguments=arguments)

    def restored_choice(self, choice: Choice) -> Choice:
        if self.idle:
            return choice
        blocks: tuple[Block, ...] = tuple(
            self.restored(block) if isinstance(block, ToolUseBlock) else block for block in choice.blocks
        )
        return msgspec.structs.replace(choice, blocks=blocks)


class RestoredTools:
    """The same for the events of a stream. Free text is given whole, because it comes inside JSON."""

    def __init__(self, request: Request) -> None:
        self._names = ToolNames(request)
        self._texts: dict[tuple[int, int], list[str]] = {}

    @property
    def idle(self) -> bool:
        """Whether every event passes as it is."""
        return self._names.idle

    def feed(self, event: StreamEvent) -> list[StreamEvent]:
        if self._names.idle:
            return [event]
        match event:
            case BlockStart(index, ToolUseBlock() as block, choice):
                begun = self._names.restored(block)
                if begun.kind == "custom" and block.kind != "custom":
                    self._texts[choice, index] = [block.arguments]
                    begun = msgspec.structs.replace(begun, arguments="")
                return [BlockStart(index, begun, choice)]
            case Delta(index, "arguments", text, choice) if (choice, index) in self._texts:
                self._texts[choice, index].append(text)
                return []
            case BlockStop(index, choice) if (choice, index) in self._texts:
                text = free_text("".join(self._texts.pop((choice, index))))
                return [Delta(index, "arguments", text, choice), event]
            case _:
                return [event]


def free_text(arguments: str) -> str:
    """What a function that stands for a tool of free text was called with."""
    try:
        members = msgspec.json.decode(arguments, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments
    return next(iter(members.values())) if len(members) == 1 else arguments


def json_arguments(block: ToolUseBlock) -> Json:
    """A call's arguments as a JSON object, for dialects that have no text there. Nothing is lost: what is no object is
    carried inside of one."""
    if block.kind == "custom":
        return msgspec.Raw(encode({"input": block.arguments}))
    if not block.arguments.strip():
        return msgspec.Raw(b"{}")
    try:
        msgspec.json.decode(block.arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return msgspec.Raw(encode({"arguments": block.arguments}))
    return msgspec.Raw(block.arguments.encode())
