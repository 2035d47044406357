"""Blocks and turns of Anthropic's Messages API, written from the neutral form. Part of `gatewayd.wire.messages`.

The API refuses what others take: empty text, ids with other characters, results of tools behind other blocks, thoughts
that another model had. All of that is put right here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from gatewayd.wire.conversation import (
    AudioBlock,
    Block,
    Citation,
    FileBlock,
    ImageBlock,
    RawBlock,
    RedactedThinkingBlock,
    RefusalBlock,
    Request,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from gatewayd.wire.converting import DropList, cache_control, flat_name, quoted_system
from gatewayd.wire.messages_tools import API
from gatewayd.wire.tool_names import json_arguments

_NOT_HERE: Final = f"which cannot be expressed in {API}"
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")


class BlockWriter:
    """The blocks of one request."""

    def __init__(self, request: Request, losses: DropList) -> None:
        self._own = request.dialect == "messages"
        self._losses = losses
        self._ids: dict[str, str] = {}

    def write(self, blocks: Sequence[Block]) -> list[Any]:
        return [found for block in blocks if (found := self._block(block)) is not None]

    def _block(self, block: Block) -> Any:
        match block:
            case TextBlock(text):
                return self._text(block) if text else None
            case ThinkingBlock():
                return self._thinking(block)
            case RedactedThinkingBlock(data=data, origin=origin):
                if origin in (None, "messages"):
                    return {"type": "redacted_thinking", "data": data}
                self._losses.drop("messages.thinking")
                return None
            case ToolUseBlock():
                return self._tool_use(block)
            case ToolResultBlock():
                return self._tool_result(block)
            case RefusalBlock(text):
                return {"type": "text", "text": text} if text else None
            case ImageBlock():
                if block.detail is not None:
                    self._losses.drop("messages.detail")
                return self._finished(block, {"type": "image", "source": self._image(block)})
            case FileBlock():
                return self._document(block)
            case RawBlock(dialect="messages", raw=raw):
                return raw
            case RawBlock(type=kind):
                self._losses.refuse("messages", f"has content of type '{kind}', {_NOT_HERE}")
                return None
            case AudioBlock(data=None):
                self._losses.drop("messages.audio")
                return {"type": "text", "text": block.transcript} if block.transcript else None
            case AudioBlock():
                self._losses.refuse("messages", f"has audio, {_NOT_HERE}")
                return None

    def _finished(self, block: Any, written: dict[str, Any]) -> dict[str, Any]:
        if block.cache is not None:
            written["cache_control"] = cache_control(block.cache)
        if block.extra:
            if self._own:
                written.update(block.extra)
            else:
                self._losses.parts("messages", block.extra)
        return written

    def _text(self, block: TextBlock) -> dict[str, Any]:
        written: dict[str, Any] = {"type": "text", "text": block.text}
        if block.citations and self._own:
            written["citations"] = [citation.extra for citation in block.citations]
        return self._finished(block, written)

    def _thinking(self, block: ThinkingBlock) -> Any:
        """Thoughts without Anthropic's own signature are refused, and a conversation goes on without them."""
        if block.signature and block.origin in (None, "messages"):
            return {"type": "thinking", "thinking": block.text, "signature": block.signature}
        self._losses.drop("messages.thinking")
        return None

    def _tool_use(self, block: ToolUseBlock) -> dict[str, Any]:
        name = block.name if self._own else flat_name(block.name, block.namespace)
        call = {"type": "tool_use", "id": self._id(block.call_id), "name": name, "input": json_arguments(block)}
        return self._finished(block, call)

    def _tool_result(self, block: ToolResultBlock) -> dict[str, Any]:
        written: dict[str, Any] = {"type": "tool_result", "tool_use_id": self._id(block.call_id)}
        content = self.write(block.blocks)
        if content:
            written["content"] = flat(content)
        if block.is_error is not None:
            written["is_error"] = block.is_error
        return self._finished(block, written)

    def _id(self, call_id: str) -> str:
        """An id as Anthropic takes it; different ones stay different."""
        known = self._ids.get(call_id)
        if known is None:
            known = clean = _NOT_IN_IDS.sub("_", call_id) or "call"
            while known in self._ids.values():
                known = f"{clean}_{len(self._ids)}"
            self._ids[call_id] = known
        return known

    def _image(self, block: ImageBlock) -> dict[str, Any]:
        if block.data is not None:
            return {"type": "base64", "media_type": block.media_type or "image/png", "data": block.data}
        if block.file_id is not None:
            return {"type": "file", "file_id": block.file_id}
        return {"type": "url", "url": block.url or ""}

    def _document(self, block: FileBlock) -> dict[str, Any] | None:
        if block.data is not None:
            if not self._own and (block.media_type or "").startswith("image/"):
                image = ImageBlock(data=block.data, media_type=block.media_type, cache=block.cache)
                return self._finished(image, {"type": "image", "source": self._image(image)})
            media_type = block.media_type or "application/pdf"
            source: dict[str, Any] = {"type": "base64", "media_type": media_type, "data": block.data}
        elif block.text is not None:
            source = {"type": "text", "media_type": block.media_type or "text/plain", "data": block.text}
        elif block.file_id is not None:
            source = {"type": "file", "file_id": block.file_id}
        else:
            source = {"type": "url", "url": block.url or ""}
        written: dict[str, Any] = {"type": "document", "source": source}
        if block.name is not None:
            written["title"] = block.name
        if block.context is not None:
            written["context"] = block.context
        if block.cite is not None:
            written["citations"] = {"enabled": block.cite}
        return self._finished(block, written)


def write_citation(citation: Citation) -> dict[str, Any] | None:
    """A citation in an answer. One of another API has an address, and is a search result here."""
    if "type" in citation.extra:
        return dict(citation.extra)
    if citation.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": citation.cited or "",
        "encrypted_index": "",
    }


def write_turns(turns: Sequence[Turn], blocks: BlockWriter, *, own: bool, in_place: bool) -> list[dict[str, Any]]:
    """Messages; but for Anthropic's own, their roles take turns. `in_place`: system turns may stand among them. Else
    they are words on the user's side, at their place: in front they would say something else, and break the cache."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        role: str = turn.role
        content = blocks.write(turn.blocks)
        if role in ("system", "developer"):
            role = "system" if in_place else "user"
            if not in_place:
                content = [_quoted(part) for part in content]
        if not content and not own:
            continue
        if messages and messages[-1]["role"] == role and not own:
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content, **(turn.extra if own else {})})
    for message in messages:
        if message["role"] == "user":
            message["content"].sort(key=lambda part: not _is(part, "tool_result"))
    if messages and messages[-1]["role"] == "assistant" and not own:
        _strip_end(messages[-1]["content"])
    for message in messages:
        message["content"] = flat(message["content"])
    return messages


def flat(content: list[Any]) -> Any:
    """A string where that says all of it."""
    if len(content) == 1 and isinstance(content[0], dict) and content[0].keys() == {"type", "text"}:
        return content[0]["text"]
    return content


def _is(part: Any, kind: str) -> bool:
    return isinstance(part, dict) and part["type"] == kind


def _quoted(part: Any) -> Any:
    return {**part, "text": quoted_system(part["text"])} if _is(part, "text") else part


def _strip_end(content: list[Any]) -> None:
    """A beginning of the answer may not end in white space."""
    if _is(content[-1], "text"):
        text = content[-1]["text"].rstrip()
        content[-1:] = [{**content[-1], "text": text}] if text else []
